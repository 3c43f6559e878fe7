//! What is held at zero for nobody comes back: its `OffsetReset` was deleted with its finalizer taken off by hand.

use k8s_openapi::api::events::v1::Event;
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use offset_reset_operator::api::Phase;
use serde_json::json;

use crate::{
    PATIENCE, Stand,
    common::{
        consumers::{Consumed, Kind, Member},
        shop::Operator,
        unique, wait_for_phase, wait_until_gone, with_namespace, within,
    },
};

pub async fn take_off_finalizer(stand: &Stand, name: &str) {
    let none = json!({"metadata": {"finalizers": null}});
    stand.api.patch(name, &PatchParams::default(), &Patch::Merge(&none)).await.unwrap();
}

/// A reset that waits for a group which does not become empty, and holds its Deployment at zero.
async fn a_hold(stand: &Stand) -> Member {
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

/// Waits until the Deployment has its replicas back, and looks whether that was said on it.
async fn it_comes_back(stand: &Stand) {
    let back = async {
        while stand.replicas().await != 2 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    within(PATIENCE, back).await.expect("it comes back");
    stand.no_leases().await;
    let said = Api::<Event>::namespaced(stand.client.clone(), &stand.namespace).list(&ListParams::default()).await.unwrap();
    let said = said.items.into_iter().find(|event| event.reason.as_deref() == Some("HeldForNobody")).expect("an Event");
    let on = said.regarding.unwrap();
    assert_eq!((on.kind.as_deref(), on.name.as_deref()), (Some("Deployment"), Some("consumer")));
    let note = said.note.unwrap();
    assert!(note.contains("put back to 2 replicas") && note.contains("OffsetReset orphan"), "{note}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_nobodys_while_the_operator_was_away_is_found_at_its_start() {
    with_namespace(async |client, namespace| {
        let stand = Stand::open(client, namespace).await;
        let operator = Operator::start(&stand.client, &stand.namespace);
        let member = a_hold(&stand).await;
        operator.kill().await;
        take_off_finalizer(&stand, "orphan").await;
        stand.api.delete("orphan", &DeleteParams::default()).await.unwrap();
        wait_until_gone(&stand.api, "orphan").await;
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
    Stand::with(async |stand| {
        let member = a_hold(stand).await;
        take_off_finalizer(stand, "orphan").await;
        stand.api.delete("orphan", &DeleteParams::default()).await.unwrap();
        wait_until_gone(&stand.api, "orphan").await;
        it_comes_back(stand).await;
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
    })
    .await;
}
