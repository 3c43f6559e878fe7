//! A Deployment that KEDA scales, its Kafka trigger active: held all the same, and scaled by KEDA again afterwards.

use std::time::{Duration, Instant};

use k8s_openapi::api::events::v1::Event;
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use offset_reset_operator::api::{Phase, Reason};
use serde_json::json;

use super::{
    Stand,
    scaled_object::{PAUSED, ScaledObject},
    stop,
};
use real_tests::{
    delete_by_force,
    shop::{Operator, status, succeeded},
    unique, wait_for, wait_for_end, wait_for_phase, wait_until_gone, with_namespace,
};

/// Nobody scales the Deployment for so long.
async fn stays_at_zero(stand: &Stand, how_long: Duration) {
    let (begin, changes) = (Instant::now(), stand.changes().await);
    while begin.elapsed() < how_long {
        assert_eq!((stand.replicas().await, stand.changes().await), (0, changes), "after {:?}", begin.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keda_leaves_a_held_deployment_at_zero_and_scales_it_afterwards() {
    Stand::with(async |stand| {
        stand.deployment().await;
        let scaled = ScaledObject::create(stand, json!({})).await;
        // Without a pause KEDA brings it back: this is what the hold is up against, and how soon it would show.
        let begin = Instant::now();
        stand.scale(0).await;
        stand.until("scaled up by KEDA", async |stand| stand.replicas().await > 0).await;
        let takes = begin.elapsed();
        stand.scale(2).await;

        let member = stand.hold("replay").await;
        assert_eq!(scaled.pause().await, (Some("true".into()), Some("replay".into())));
        assert!(!scaled.has_hpa().await, "KEDA takes it away while it is paused");
        stays_at_zero(stand, (takes * 3).max(Duration::from_secs(4))).await;
        assert_eq!(stand.committed(&stand.group).await, Some(50), "so the trigger was active all the time");

        stop(member).await;
        let done = wait_for_end(&stand.api, "replay").await;
        succeeded(&done);
        assert_eq!(stand.committed(&stand.group).await, Some(30));
        assert_eq!(stand.replicas().await, 2);
        assert_eq!(status(&done).targets[0].scaled_up_by_others, 0, "there was no fight");
        scaled.goes_on().await;
        stand.no_leases().await;

        // And KEDA does its work again.
        stand.scale(0).await;
        stand.until("scaled up by KEDA again", async |stand| stand.replicas().await > 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_owner_has_paused_stays_paused() {
    Stand::with(async |stand| {
        stand.deployment().await;
        let scaled = ScaledObject::create(stand, json!({PAUSED: "true"})).await;
        stand.apply("replay").await;
        let done = wait_for_end(&stand.api, "replay").await;
        succeeded(&done);
        assert!(status(&done).targets[0].autoscaler.as_ref().unwrap().paused_by_owner);
        assert_eq!((stand.replicas().await, stand.committed(&stand.group).await), (2, Some(30)));
        assert_eq!(scaled.pause().await, (Some("true".into()), None));
        assert_eq!(scaled.condition("Paused").await, "True");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_annotation_that_said_false_says_so_again() {
    Stand::with(async |stand| {
        stand.deployment().await;
        let scaled = ScaledObject::create(stand, json!({PAUSED: "false"})).await;
        let member = stand.hold("replay").await;
        assert_eq!(scaled.pause().await, (Some("true".into()), Some("replay".into())));
        stop(member).await;
        succeeded(&wait_for_end(&stand.api, "replay").await);
        assert_eq!(scaled.pause().await, (Some("false".into()), None));
        scaled.until("resumed", async |own| own.condition("Paused").await == "False").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_was_killed_in_the_hold_finds_its_pause_again() {
    with_namespace(async |client, namespace| {
        let stand = Stand::open(client, namespace).await;
        let operator = Operator::start(&stand.client, &stand.namespace);
        stand.deployment().await;
        let scaled = ScaledObject::create(&stand, json!({})).await;
        let member = stand.hold("replay").await;
        operator.kill().await;
        stop(member).await;
        stays_at_zero(&stand, Duration::from_secs(3)).await;
        let operator = Operator::start(&stand.client, &stand.namespace);
        succeeded(&wait_for_end(&stand.api, "replay").await);
        assert_eq!((stand.replicas().await, stand.committed(&stand.group).await), (2, Some(30)));
        scaled.goes_on().await;
        stand.no_leases().await;
        operator.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_was_lost_in_the_hold_costs_neither_replicas_nor_keda() {
    with_namespace(async |client, namespace| {
        let stand = Stand::open(client, namespace).await;
        let operator = Operator::start(&stand.client, &stand.namespace);
        stand.deployment().await;
        let scaled = ScaledObject::create(&stand, json!({})).await;
        let member = stand.hold("replay").await;
        operator.kill().await;
        let lost = json!({"status": null});
        stand.api.patch_status("replay", &PatchParams::default(), &Patch::Merge(&lost)).await.unwrap();
        let operator = Operator::start(&stand.client, &stand.namespace);
        wait_for_phase(&stand.api, "replay", Phase::Draining).await;
        assert_eq!(stand.replicas().await, 0);
        stop(member).await;
        succeeded(&wait_for_end(&stand.api, "replay").await);
        assert_eq!((stand.replicas().await, stand.committed(&stand.group).await), (2, Some(30)));
        scaled.goes_on().await;
        stand.no_leases().await;
        operator.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_is_deleted_in_the_hold_lets_keda_go() {
    Stand::with(async |stand| {
        stand.deployment().await;
        let scaled = ScaledObject::create(stand, json!({})).await;
        let member = stand.hold("replay").await;
        stand.api.delete("replay", &DeleteParams::default()).await.unwrap();
        wait_until_gone(&stand.api, "replay").await;
        assert_eq!((stand.replicas().await, scaled.pause().await), (2, (None, None)), "before it goes, all is as it was");
        scaled.goes_on().await;
        stand.no_leases().await;
        stop(member).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_whose_finalizer_was_taken_off_by_hand_leaves_nothing_paused() {
    Stand::with(async |stand| {
        stand.deployment().await;
        let scaled = ScaledObject::create(stand, json!({})).await;
        let member = stand.hold("replay").await;
        delete_by_force(&stand.api, "replay").await;
        stand.until("back", async |stand| stand.replicas().await == 2).await;
        scaled.goes_on().await;
        stand.no_leases().await;
        stop(member).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scaled_object_that_is_deleted_in_the_hold_is_no_matter() {
    Stand::with(async |stand| {
        stand.deployment().await;
        let scaled = ScaledObject::create(stand, json!({})).await;
        let member = stand.hold("replay").await;
        scaled.delete().await;
        stop(member).await;
        succeeded(&wait_for_end(&stand.api, "replay").await);
        assert_eq!((stand.replicas().await, stand.committed(&stand.group).await), (2, Some(30)));
        stand.no_leases().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_somebody_takes_off_is_set_again_and_the_group_is_never_reset_beside_consumers() {
    Stand::with(async |stand| {
        stand.deployment().await;
        let scaled = ScaledObject::create(stand, json!({})).await;
        let member = stand.hold("replay").await;
        scaled.annotate(json!({PAUSED: null})).await;
        let again = |reset: &offset_reset_operator::api::OffsetReset| {
            let target = &status(reset).targets[0];
            target.scaled_up_by_others == 1 && target.stopped && target.autoscaler.as_ref().unwrap().pauses == 2
        };
        wait_for(&stand.api, "replay", "held again", again).await;
        stays_at_zero(stand, Duration::from_secs(4)).await;
        stop(member).await;
        succeeded(&wait_for_end(&stand.api, "replay").await);
        assert_eq!((stand.replicas().await, stand.committed(&stand.group).await), (2, Some(30)));
        scaled.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_resets_that_share_a_stop_the_last_one_lets_keda_go() {
    Stand::with(async |stand| {
        stand.deployment().await;
        let scaled = ScaledObject::create(stand, json!({})).await;
        let second = unique("second");
        stand.commit(&second, 40).await;
        let member = stand.hold("first").await;
        stand.apply_for("second", &second, json!({})).await;
        // The second one's group is empty: it has reset it, and waits with the first.
        let waits = |reset: &offset_reset_operator::api::OffsetReset| {
            let found = reset.status.as_ref();
            found.is_some_and(|found| found.phase == Some(Phase::Restoring) && found.reason == Some(Reason::WaitingForOtherReset))
        };
        wait_for(&stand.api, "second", "waiting with the first", waits).await;
        assert_eq!(scaled.pause().await, (Some("true".into()), Some("first".into())));
        stays_at_zero(stand, Duration::from_secs(3)).await;
        stop(member).await;
        succeeded(&wait_for_end(&stand.api, "first").await);
        succeeded(&wait_for_end(&stand.api, "second").await);
        assert_eq!(stand.replicas().await, 2);
        scaled.goes_on().await;
        stand.no_leases().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scaled_object_that_keeps_a_count_is_refused_while_the_consumers_run() {
    Stand::with(async |stand| {
        stand.deployment().await;
        let scaled = ScaledObject::create(stand, json!({})).await;
        scaled.annotate(json!({"autoscaling.keda.sh/paused-replicas": "2"})).await;
        stand.apply("replay").await;
        let done = wait_for_end(&stand.api, "replay").await;
        assert_eq!(status(&done).reason, Some(Reason::AutoscalerNotPaused), "{:?}", status(&done).message);
        assert_eq!((stand.replicas().await, status(&done).hold.is_none()), (2, true));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_on_the_deployment_that_keda_was_paused_and_let_go() {
    Stand::with(async |stand| {
        stand.deployment().await;
        let scaled = ScaledObject::create(stand, json!({})).await;
        stand.apply("replay").await;
        succeeded(&wait_for_end(&stand.api, "replay").await);
        scaled.goes_on().await;
        let events = Api::<Event>::namespaced(stand.client.clone(), &stand.namespace);
        for reason in ["AutoscalerPaused", "AutoscalerResumed"] {
            stand
                .until(reason, async |_| {
                    let said = events.list(&ListParams::default()).await.unwrap().items;
                    said.iter().any(|event| {
                        let on = event.regarding.as_ref().and_then(|on| on.kind.as_deref());
                        event.reason.as_deref() == Some(reason) && on == Some("Deployment")
                    })
                })
                .await;
        }
    })
    .await;
}
