//! What is refused while the connector runs: a source, missing rights; and what the operator's account may not do.

use offset_reset_operator::api::{Phase, Reason};
use real_tests::shop::{ended, succeeded};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_refused_with_what_to_use() {
    Stand::with(async |stand, operator| {
        fs::write(file(&stand.name), "a line\n").unwrap();
        let config = json!({"topic": stand.topic, "file": file(&stand.name)});
        stand.create("org.apache.kafka.connect.file.FileStreamSourceConnector", None, config).await;
        stand.is_reported_as("RUNNING").await;
        let group = unique("group");
        stand.commit(&group, &stand.topic, &[(0, 10)]).await;
        stand.apply("source", &group, json!({})).await;
        let done = wait_for_end(&stand.api, "source").await;
        ended(&done, Phase::Failed, Reason::TargetNotScalable);
        let said = status(&done).explanation();
        assert!(said.contains("is a source connector") && said.contains("connector-offsets: alter"), "{said}");
        assert_eq!((stand.state().await, stand.changes().await), (None, 0));
        operator.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_rights_it_is_said_what_to_grant_and_with_them_it_works() {
    Stand::without_rights(async |stand| {
        stand.sink(None, json!({})).await;
        let operator = stand.operator().await;
        let done = stand.run("not-seen").await;
        ended(&done, Phase::Failed, Reason::TargetUnreachable);
        let said = status(&done).explanation();
        assert!(said.contains("cannot get resource") && said.contains("kubectl apply -k deploy/strimzi"), "{said}");
        stand.rights.kubectl("apply", &RIGHTS.replace("[get, patch]", "[get]")).await;
        let done = stand.run("not-stopped").await;
        ended(&done, Phase::Failed, Reason::TargetUnreachable);
        let said = status(&done).explanation();
        assert!(said.contains("cannot patch resource") && said.contains("kubectl apply -k deploy/strimzi"), "{said}");
        assert_eq!((stand.changes().await, status(&done).hold.is_none()), (0, true), "nothing was stopped");
        stand.rights.kubectl("apply", RIGHTS).await;
        succeeded(&stand.run("allowed").await);
        operator.end().await;
        stand.rights.kubectl("delete", RIGHTS).await;
    })
    .await;
}

/// Whoever may patch a connector may have it write elsewhere: a policy holds the operator's account to the state.
#[tokio::test(flavor = "multi_thread")]
async fn the_account_of_the_operator_changes_the_state_and_nothing_else() {
    Stand::with(async |stand, operator| {
        stand.sink(None, json!({})).await;
        operator.end().await;
        let stolen = connectors(&stand.rights.client().await, &stand.namespace);
        for change in [
            json!({"spec": {"config": {"file": "/tmp/elsewhere"}}}),
            json!({"spec": {"config": {"file": null}}}),
            json!({"spec": {"state": "stopped", "tasksMax": 7}}),
            json!({"spec": {"class": "org.example.Other"}}),
            json!({"spec": {"alterOffsets": {"fromConfigMap": {"name": "c"}}}}),
            json!({"metadata": {"annotations": {"strimzi.io/connector-offsets": "reset"}}}),
            json!({"metadata": {"labels": {"strimzi.io/cluster": "other"}}}),
            json!({"metadata": {"finalizers": ["tests.offsetreset.dev/kept"]}}),
        ] {
            let answer = stolen.patch(&stand.name, &PatchParams::default(), &Patch::Merge(&change)).await;
            let why = answer.expect_err("it is refused").to_string();
            assert!(why.contains("the operator changes spec.state, and nothing else"), "{change}: {why}");
        }
        for state in [json!("stopped"), json!("paused"), Value::Null] {
            stolen.patch(&stand.name, &PatchParams::default(), &Patch::Merge(&json!({"spec": {"state": state}}))).await.unwrap();
        }
    })
    .await;
}
