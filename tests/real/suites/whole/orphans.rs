//! What is held at zero for nobody comes back: its `OffsetReset` was deleted with its finalizer taken off by hand.

use std::sync::Arc;

use offset_reset_operator::api::Phase;
use serde_json::json;
use tokio::sync::Notify;

use super::{
    PATIENCE, TestEnv,
    faults::{Fault, Faulty},
};
use real_tests::{
    consumers::{Consumed, Kind, Member},
    delete_by_force, deployment, replicas,
    shop::Operator,
    unique, wait_for_phase, with_namespace, within,
};

/// A reset that waits for a group which does not become empty, and holds its Deployment at zero.
async fn a_hold(stand: &TestEnv) -> Member {
    stand.deployment().await;
    let (topic, group) = (stand.topic().await, unique("orphan"));
    stand.commit(&group, &topic, &[(0, 50)]).await;
    let member = Member::start(&group, std::slice::from_ref(&topic), &Kind::default(), 0, Consumed::default());
    stand.members(&group, 1).await;
    let entries = json!([{"topic": topic, "partition": 0, "offset": 30}]);
    stand.apply("orphan", &group, entries, json!({"targetRefs": [{"name": "consumer"}]})).await;
    wait_for_phase(&stand.api, "orphan", Phase::Draining).await;
    assert_eq!(stand.replicas().await, 0);
    member
}

async fn has_two_replicas(stand: &TestEnv, name: &str) {
    let back = async {
        while replicas(&stand.client, &stand.namespace, name).await != 2 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    within(PATIENCE, back).await.expect("it comes back");
}

/// Waits until the Deployment has its replicas back, and looks whether that was said on it.
async fn it_comes_back(stand: &TestEnv) {
    has_two_replicas(stand, "consumer").await;
    stand.no_leases().await;
    let said = stand.events(|event| event.reason.as_deref() == Some("OrphanedHold")).await.remove(0);
    let on = said.regarding.unwrap();
    assert_eq!((on.kind.as_deref(), on.name.as_deref()), (Some("Deployment"), Some("consumer")));
    let note = said.note.unwrap();
    assert!(note.contains("restored to 2 replicas") && note.contains("OffsetReset orphan"), "{note}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_nobodys_while_the_operator_was_away_is_found_at_its_start() {
    with_namespace(async |client, namespace| {
        let stand = TestEnv::open(client, namespace).await;
        let operator = Operator::start(&stand.client, &stand.namespace);
        let member = a_hold(&stand).await;
        operator.kill().await;
        delete_by_force(&stand.api, "orphan").await;
        assert_eq!(stand.replicas().await, 0, "held for nobody");

        let operator = Operator::start(&stand.client, &stand.namespace);
        it_comes_back(&stand).await;
        operator.end().await;
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_whose_finalizer_was_taken_off_by_hand_leaves_nothing_at_zero() {
    TestEnv::with(async |stand| {
        let member = a_hold(stand).await;
        delete_by_force(&stand.api, "orphan").await;
        it_comes_back(stand).await;
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
    })
    .await;
}

/// What became nobody's in the middle of its commit comes back when that has ended, and not before: it would land beside consumers.
#[tokio::test(flavor = "multi_thread")]
async fn what_became_nobodys_in_the_middle_of_its_commit_comes_back_when_that_has_ended() {
    with_namespace(async |client, namespace| {
        let stand = TestEnv::open(client, namespace).await;
        let pod = json!({"containers": [{"name": "c", "image": "nobody-runs-it"}]});
        deployment(&stand.client, &stand.namespace, "late", 2, pod).await;
        let (topic, group) = (stand.topic().await, unique("late"));
        stand.commit(&group, &topic, &[(0, 50)]).await;
        let told = Arc::new(Notify::new());
        let entries = json!([{"topic": topic, "partition": 0, "offset": 30}]);
        let apply = stand.apply("late", &group, entries, json!({"targetRefs": [{"name": "late"}]}));
        let operator = Faulty::new(Fault::Late(Arc::clone(&told))).start(&stand, apply).await;
        delete_by_force(&stand.api, "late").await;
        // Another one that became nobody's later: once that is back, the first one was looked at as well.
        let member = a_hold(&stand).await;
        delete_by_force(&stand.api, "orphan").await;
        has_two_replicas(&stand, "consumer").await;
        assert_eq!(replicas(&stand.client, &stand.namespace, "late").await, 0, "its commit may still land");
        assert_eq!(stand.committed(&group, &topic).await, [Some(50), None, None]);

        told.notify_one();
        has_two_replicas(&stand, "late").await;
        assert_eq!(stand.committed(&group, &topic).await, [Some(30), None, None]);
        stand.no_leases().await;
        operator.end().await;
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
    })
    .await;
}
