//! The same reset, deleted and created again as GitOps tools do it, never moves offsets twice.

use std::sync::Mutex;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use offset_reset_operator::api::{OffsetReset, OffsetResetStatus, PartitionOutcome, Phase, Reason};
use serde_json::{Value, json};

use super::{
    TestEnv, ended,
    faults::{Fault, Faulty, commit_and_die},
};
use real_tests::{
    consumers::{Consumed, Kind, Member},
    reset,
    shop::{Operator, status, succeeded},
    take_off_finalizer, unique, wait_for, wait_for_end, wait_for_phase, wait_until_gone, with_namespace,
};

/// With the Deployment of the stand as what is stopped.
fn with_targets() -> Value {
    json!({"targetRefs": [{"name": "consumer"}]})
}

async fn delete(stand: &TestEnv, name: &str) {
    stand.api.delete(name, &DeleteParams::default()).await.unwrap();
    wait_until_gone(&stand.api, name).await;
}

async fn receipts(stand: &TestEnv) -> Vec<ConfigMap> {
    let api = Api::<ConfigMap>::namespaced(stand.client.clone(), &stand.namespace);
    api.list(&ListParams::default().labels("offsetreset.dev/receipt=receipt")).await.unwrap().items
}

/// As a backup that is restored without status, or somebody's hand, leaves it.
async fn wipe_status(stand: &TestEnv, name: &str) {
    let mut found = stand.api.get(name).await.unwrap();
    found.status = Some(OffsetResetStatus { observed_generation: Some(-1), ..OffsetResetStatus::default() });
    stand.api.replace_status(name, &PostParams::default(), &found).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_and_created_again_it_stops_nothing_and_moves_nothing() {
    TestEnv::with(async |stand| {
        stand.deployment().await;
        let (topic, group) = (stand.topic().await, unique("again"));
        stand.commit(&group, &topic, &[(0, 50)]).await;
        let mut new = reset("again", &group, &json!([{"topic": topic, "partition": 0, "shiftBy": -10}]), &json!({}));
        new.labels_mut().insert("app.kubernetes.io/instance".into(), "a-gitops-application".into());
        stand.api.create(&PostParams::default(), &new).await.unwrap();
        let first = wait_for_end(&stand.api, "again").await;
        succeeded(&first);
        assert_eq!((stand.committed(&group, &topic).await[0], stand.changes().await), (Some(40), 2));
        let receipt = receipts(stand).await.pop().unwrap();
        assert_eq!(Some(receipt.name_any()), status(&first).receipt.as_ref().map(|receipt| receipt.config_map.clone()));
        assert!(receipt.owner_references().is_empty(), "it outlives the reset");
        assert!(!receipt.labels().contains_key("app.kubernetes.io/instance"), "and whatever prunes by the reset's labels");

        for _ in 0..2 {
            delete(stand, "again").await;
            stand.api.create(&PostParams::default(), &new).await.unwrap();
            let second = wait_for_end(&stand.api, "again").await;
            let message = ended(&second, Phase::Succeeded, Reason::AlreadyApplied);
            assert!(message.contains(&first.uid().unwrap()), "it names the first run: {message}");
            assert_eq!((stand.committed(&group, &topic).await[0], stand.changes().await), (Some(40), 2));
        }
        wipe_status(stand, "again").await;
        let wiped = wait_for_end(&stand.api, "again").await;
        ended(&wiped, Phase::Succeeded, Reason::AlreadyApplied);

        // A dry run warns of it, and its effect is not shown as that of the run.
        delete(stand, "again").await;
        let mut dry = new.clone();
        dry.spec.dry_run = true;
        stand.api.create(&PostParams::default(), &dry).await.unwrap();
        let planned = wait_for_end(&stand.api, "again").await;
        ended(&planned, Phase::Planned, Reason::DryRun);
        let found = status(&planned);
        assert!(found.warnings[0].ends_with(&format!("delete configmap {}", receipt.name_any())), "{:?}", found.warnings);
        assert!(found.totals.is_some() && found.report.is_some());
        stand.api.patch("again", &PatchParams::default(), &Patch::Merge(&json!({"spec": {"dryRun": false}}))).await.unwrap();
        let applied = wait_for(&stand.api, "again", "the end of the run", |reset| {
            reset.status.as_ref().is_some_and(|status| status.reason == Some(Reason::AlreadyApplied))
        })
        .await;
        let found = status(&applied);
        assert_eq!((found.totals, found.report.as_ref(), found.partitions.len()), (None, None, 0));
        assert_eq!((stand.committed(&group, &topic).await[0], stand.changes().await), (Some(40), 2));

        // Another run of the same, and the same under another name.
        delete(stand, "again").await;
        new.spec.run_id = Some("2".into());
        stand.api.create(&PostParams::default(), &new).await.unwrap();
        succeeded(&wait_for_end(&stand.api, "again").await);
        assert_eq!((stand.committed(&group, &topic).await[0], stand.changes().await), (Some(30), 4));
        new.metadata.name = Some("again-by-another-name".into());
        stand.api.create(&PostParams::default(), &new).await.unwrap();
        succeeded(&wait_for_end(&stand.api, "again-by-another-name").await);
        assert_eq!((stand.committed(&group, &topic).await[0], stand.changes().await), (Some(20), 6));
        assert_eq!(receipts(stand).await.len(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_before_anything_was_committed_leaves_no_receipt_and_may_run_again() {
    TestEnv::with(async |stand| {
        stand.deployment().await;
        let (topic, group) = (stand.topic().await, unique("early"));
        stand.commit(&group, &topic, &[(0, 50)]).await;
        let entries = json!([{"topic": topic, "partition": 0, "offset": 30}]);
        // A member that no target runs keeps the group from becoming empty.
        let member = Member::start(&group, std::slice::from_ref(&topic), &Kind::default(), 0, Consumed::default());
        stand.members(&group, 1).await;
        for (phase, spec) in
            [(Phase::Pending, json!({"suspend": true})), (Phase::Planned, json!({"dryRun": true})), (Phase::Draining, json!({}))]
        {
            let mut spec = spec;
            spec["targetRefs"] = with_targets()["targetRefs"].clone();
            stand.apply("early", &group, entries.clone(), spec).await;
            wait_for_phase(&stand.api, "early", phase).await;
            delete(stand, "early").await;
            assert_eq!((stand.replicas().await, receipts(stand).await.len()), (2, 0), "{phase:?}");
            assert!(stand.leases().list(&ListParams::default()).await.unwrap().items.is_empty(), "{phase:?}");
        }
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
        let done = stand.run("early", &group, entries, with_targets()).await;
        succeeded(&done);
        assert_eq!(stand.committed(&group, &topic).await[0], Some(30));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_the_broker_has_refused_leaves_no_receipt() {
    with_namespace(async |client, namespace| {
        let stand = TestEnv::open(client, namespace).await;
        stand.deployment().await;
        let (topic, group) = (stand.topic().await, unique("refused"));
        stand.commit(&group, &topic, &[(0, 50), (1, 5)]).await;
        let entries = json!([{"topic": topic, "offset": 30}]);
        let faulty = Faulty::new(Fault::MemberJoins(Mutex::default()));
        let operator = faulty.start(&stand, stand.apply("refused", &group, entries, with_targets())).await;
        wait_for_phase(&stand.api, "refused", Phase::Draining).await;
        let held = wait_for(&stand.api, "refused", "refused", |reset| status(reset).commits == 1).await;
        assert!(status(&held).partitions.iter().all(|p| p.outcome == PartitionOutcome::Planned));
        assert_eq!(receipts(&stand).await.len(), 1, "written before the commit");
        delete(&stand, "refused").await;
        assert_eq!((stand.replicas().await, receipts(&stand).await.len()), (2, 0));
        operator.end().await;
    })
    .await;
}

/// Killed between commit and status, and then something happens to the object before another operator comes.
async fn cut_short(
    meanwhile: impl AsyncFnOnce(&TestEnv, OffsetReset),
    check: impl AsyncFnOnce(&TestEnv, &str, &str, OffsetReset),
) {
    with_namespace(async |client, namespace| {
        let stand = TestEnv::open(client, namespace).await;
        stand.deployment().await;
        let (topic, group) = (stand.topic().await, unique("cut"));
        stand.commit(&group, &topic, &[(0, 50), (1, 5)]).await;
        let entries = json!([{"topic": topic, "partition": 0, "shiftBy": -3}, {"topic": topic, "partition": 1, "shiftBy": -3}]);
        commit_and_die(&stand, "cut", &group, entries, with_targets()).await;
        assert_eq!((stand.committed(&group, &topic).await, stand.replicas().await), ([Some(47), Some(2), None], 0));
        let held = stand.api.get("cut").await.unwrap();
        meanwhile(&stand, held).await;
        let operator = Operator::start(&stand.client, &stand.namespace);
        let done = wait_for_end(&stand.api, "cut").await;
        check(&stand, &group, &topic, done).await;
        assert_eq!(stand.replicas().await, 2);
        stand.no_leases().await;
        operator.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_was_wiped_after_the_commit_moves_nothing_twice() {
    cut_short(
        async |stand, _| wipe_status(stand, "cut").await,
        async |stand, group, topic, done| {
            succeeded(&done);
            assert_eq!(stand.committed(group, topic).await, [Some(47), Some(2), None], "shifted once");
            assert_eq!(status(&done).partitions.iter().map(|p| p.before).collect::<Vec<_>>(), [Some(50), Some(5)]);
            assert_eq!(status(&done).targets[0].original_replicas, 2, "from the Lease: the status had forgotten it");
        },
    )
    .await;
}

/// Deleted without its finalizer, and created again.
async fn replace_by_force(stand: &TestEnv, old: &OffsetReset) {
    take_off_finalizer(&stand.api, "cut").await;
    stand.api.delete("cut", &DeleteParams::default()).await.unwrap();
    wait_until_gone(&stand.api, "cut").await;
    let mut new = OffsetReset::new("cut", old.spec.clone());
    new.metadata.labels.clone_from(&old.metadata.labels);
    stand.api.create(&PostParams::default(), &new).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_replaced_by_force_after_the_commit_is_taken_up_where_it_stood() {
    cut_short(
        async |stand, old| replace_by_force(stand, &old).await,
        async |stand, group, topic, done| {
            succeeded(&done);
            assert_eq!(stand.committed(group, topic).await, [Some(47), Some(2), None], "shifted once");
            assert!(status(&done).partitions.iter().all(|p| p.outcome == PartitionOutcome::Reset));
            // The receipt is of this run now: the end is written into it.
            let state = receipts(stand).await.remove(0).data.and_then(|mut data| data.remove("state"));
            assert_eq!((state.as_deref(), &status(&done).warnings), (Some("Succeeded"), &vec![]));
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_consumers_came_back_after_the_commit_is_not_taken_up() {
    cut_short(
        async |stand, old| {
            // Somebody has brought the consumers back by hand, and they have consumed.
            let scale = json!({"spec": {"replicas": 2}});
            let api = Api::<k8s_openapi::api::apps::v1::Deployment>::namespaced(stand.client.clone(), &stand.namespace);
            api.patch_scale("consumer", &PatchParams::default(), &Patch::Merge(&scale)).await.unwrap();
            stand.commit(&old.spec.group, old.spec.resets[0].topic.as_ref().unwrap(), &[(0, 90)]).await;
            replace_by_force(stand, &old).await;
        },
        async |stand, group, topic, done| {
            let message = ended(&done, Phase::Failed, Reason::AlreadyApplied);
            assert!(message.contains("was interrupted") && message.contains("runId"), "{message}");
            assert_eq!(stand.committed(group, topic).await, [Some(90), Some(2), None], "nothing moved");
        },
    )
    .await;
}
