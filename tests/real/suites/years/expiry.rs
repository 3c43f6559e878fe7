//! The deletion of finished resets at the end of their time to live.

use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use offset_reset_operator::api::{Phase, Reason};
use real_tests::{
    shop::{ended, status, succeeded},
    unique, wait_for_end, wait_until_gone,
};
use serde_json::{Value, json};

use real_tests::env::TestEnv;

async fn change(stand: &TestEnv, name: &str, change: Value) {
    stand.api.patch(name, &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_reset_is_deleted_after_its_time_to_live_and_never_runs_again() {
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("ttl"));
        stand.commit(&group, &topic, &[(0, 50)]).await;
        let entries = json!([{"topic": topic, "partition": 0, "shiftBy": -10}]);
        stand.apply("ttl", &group, entries.clone(), json!({"ttlSecondsAfterFinished": 2})).await;
        succeeded(&wait_for_end(&stand.api, "ttl").await);
        wait_until_gone(&stand.api, "ttl").await;
        assert_eq!(stand.committed(&group, &topic).await[0], Some(40));

        // A GitOps tool creates it again, and later the time is shortened.
        let again = stand.run("ttl", &group, entries, json!({"ttlSecondsAfterFinished": 86_400})).await;
        ended(&again, Phase::Succeeded, Reason::AlreadyApplied);
        assert_eq!(stand.committed(&group, &topic).await[0], Some(40));
        change(stand, "ttl", json!({"spec": {"ttlSecondsAfterFinished": 0}})).await;
        wait_until_gone(&stand.api, "ttl").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_finalizer_only_delays_what_is_deleted_at_once() {
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("ttl"));
        stand.commit(&group, &topic, &[(0, 50)]).await;
        let entries = json!([{"topic": topic, "partition": 0, "offset": 30}]);
        stand.apply("kept", &group, entries, json!({"suspend": true, "ttlSecondsAfterFinished": 0})).await;
        change(stand, "kept", json!({"metadata": {"finalizers": ["tests.offsetreset.dev/kept"]}})).await;
        change(stand, "kept", json!({"spec": {"suspend": false}})).await;
        let deleting = async || {
            let found = stand.api.get("kept").await.unwrap();
            found.metadata.deletion_timestamp.is_some()
        };
        stand.until("being deleted", async |_| deleting().await).await;
        let found = stand.api.get("kept").await.unwrap();
        assert_eq!(status(&found).phase, Some(Phase::Succeeded));
        assert_eq!(found.finalizers(), ["tests.offsetreset.dev/kept"]);
        change(stand, "kept", json!({"metadata": {"finalizers": null}})).await;
        wait_until_gone(&stand.api, "kept").await;
        assert_eq!(stand.committed(&group, &topic).await[0], Some(30));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_without_a_time_to_live_stays_and_every_change_of_its_spec_is_observed() {
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("kept"));
        stand.commit(&group, &topic, &[(0, 50)]).await;
        let done = stand.run("kept", &group, json!([{"topic": topic, "partition": 0, "offset": 30}]), json!({})).await;
        succeeded(&done);
        for spec in
            [json!({"ttlSecondsAfterFinished": 86_400}), json!({"ttlSecondsAfterFinished": null}), json!({"suspend": true})]
        {
            change(stand, "kept", json!({"spec": spec})).await;
            let observed = async || {
                let found = stand.api.get("kept").await.unwrap();
                found.metadata.generation == status(&found).observed_generation
            };
            stand.until("observed", async |_| observed().await).await;
        }
        let found = stand.api.get("kept").await.unwrap();
        assert_eq!((status(&found).phase, status(&found).commits), (Some(Phase::Succeeded), status(&done).commits));
    })
    .await;
}
