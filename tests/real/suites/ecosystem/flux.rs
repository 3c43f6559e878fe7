//! A Deployment that Flux applies: whoever owns `spec.replicas` in Git puts it back, and that is never a fight that lasts.

use std::time::{Duration, Instant};

use offset_reset_operator::{
    api::{OffsetReset, Phase, Reason, Restored},
    machine::MAX_REHOLDS,
};
use serde_json::{Value, json};

use super::{Stand, source::Kustomization, stop};
use real_tests::{
    reset,
    shop::{status, succeeded},
    wait_for, wait_for_end, wait_for_phase,
};

/// The Deployment as it stands in Git, with a count or without.
fn manifest(replicas: Option<i32>) -> Value {
    let mut manifest = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "consumer"},
        "spec": {
            "selector": {"matchLabels": {"app": "consumer"}},
            "template": {
                "metadata": {"labels": {"app": "consumer"}},
                "spec": {"containers": [{"name": "c", "image": "nobody-runs-it"}]},
            },
        },
    });
    if let Some(replicas) = replicas {
        manifest["spec"]["replicas"] = json!(replicas);
    }
    manifest
}

/// Its Deployment was scaled down again so often, and is at zero.
fn held_again(times: i32) -> impl Fn(&OffsetReset) -> bool {
    move |reset| {
        let found = reset.status.as_ref();
        found.is_some_and(|found| {
            found.phase == Some(Phase::Draining)
                && found.targets.iter().all(|target| target.scaled_up_by_others == times && target.stopped)
        })
    }
}

/// Nobody changes the Deployment any more: as long as Flux would need to come by several times.
async fn is_quiet(stand: &Stand, how_long: Duration) {
    let (begin, changes) = (Instant::now(), stand.changes().await);
    while begin.elapsed() < how_long {
        assert_eq!(stand.changes().await, changes, "after {:?}", begin.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flux_that_owns_the_replicas_wins_after_a_few_times_and_nothing_is_reset() {
    Stand::with(async |stand| {
        let flux = Kustomization::create(stand, &[manifest(Some(2))], json!({"interval": "1s"})).await;
        flux.is_ready().await;
        let member = stand.member(&stand.group).await;
        stand.apply("replay").await;
        let done = wait_for_end(&stand.api, "replay").await;
        let message = status(&done).explanation();
        assert_eq!(
            (status(&done).phase, status(&done).reason),
            (Some(Phase::Failed), Some(Reason::ScaledUpByOthers)),
            "{message}"
        );
        assert_eq!(status(&done).targets[0].scaled_up_by_others, MAX_REHOLDS + 1);
        assert!(message.contains("No offset was changed"), "{message}");
        assert_eq!((stand.replicas().await, stand.committed(&stand.group).await), (2, Some(50)));
        is_quiet(stand, Duration::from_secs(4)).await;
        assert_eq!(stand.replicas().await, 2);
        stand.no_leases().await;
        stop(member).await;
    })
    .await;
}

/// Flux passes by several times while the Deployment is held, and leaves it alone.
async fn flux_leaves_it_alone(manifest: Value, spec: Value) {
    Stand::with(async |stand| {
        let flux = Kustomization::create(stand, &[manifest], spec).await;
        flux.is_ready().await;
        stand.scale(2).await;
        let member = stand.hold("replay").await;
        let changes = stand.changes().await;
        for _ in 0..3 {
            flux.reconcile().await;
        }
        assert_eq!((stand.replicas().await, stand.changes().await), (0, changes));
        stop(member).await;
        let done = wait_for_end(&stand.api, "replay").await;
        succeeded(&done);
        assert_eq!(status(&done).targets[0].scaled_up_by_others, 0);
        flux.reconcile().await;
        assert_eq!((stand.replicas().await, stand.committed(&stand.group).await), (2, Some(30)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_replicas_left_out_of_git_flux_does_not_interfere() {
    flux_leaves_it_alone(manifest(None), json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_replicas_ignored_by_the_kustomization_flux_does_not_interfere() {
    let ignore = json!({"ignore": [{"paths": ["/spec/replicas"], "target": {"kind": "Deployment", "name": "consumer"}}]});
    flux_leaves_it_alone(manifest(Some(1)), ignore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flux_that_comes_by_once_is_held_down_again_and_the_reset_succeeds() {
    Stand::with(async |stand| {
        let flux = Kustomization::create(stand, &[manifest(Some(2))], json!({})).await;
        flux.is_ready().await;
        let member = stand.hold("replay").await;
        flux.reconcile().await;
        wait_for(&stand.api, "replay", "held again", held_again(1)).await;
        assert_eq!((stand.replicas().await, stand.committed(&stand.group).await), (0, Some(50)));
        stop(member).await;
        succeeded(&wait_for_end(&stand.api, "replay").await);
        assert_eq!((stand.replicas().await, stand.committed(&stand.group).await), (2, Some(30)));
        flux.reconcile().await;
        assert_eq!(stand.replicas().await, 2);
        stand.no_leases().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_is_changed_in_git_during_the_hold_comes_with_the_next_pass_of_flux_after_it() {
    Stand::with(async |stand| {
        let flux = Kustomization::create(stand, &[manifest(Some(2))], json!({})).await;
        flux.is_ready().await;
        let member = stand.hold("replay").await;
        let revision = flux.publish(&[manifest(Some(4))]).await;
        flux.applied(&revision).await;
        wait_for(&stand.api, "replay", "held again", held_again(1)).await;
        stop(member).await;
        let done = wait_for_end(&stand.api, "replay").await;
        succeeded(&done);
        assert_eq!(status(&done).targets[0].restored, Some(Restored::Original));
        assert_eq!(stand.replicas().await, 2, "what it had before the stop");
        flux.reconcile().await;
        assert_eq!(stand.replicas().await, 4, "what Git says");
        is_quiet(stand, Duration::from_secs(3)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_is_changed_in_git_and_insisted_on_is_left_as_it_is() {
    Stand::with(async |stand| {
        let flux = Kustomization::create(stand, &[manifest(Some(2))], json!({"interval": "1s"})).await;
        flux.is_ready().await;
        let member = stand.member(&stand.group).await;
        stand.apply("replay").await;
        wait_for_phase(&stand.api, "replay", Phase::Draining).await;
        flux.publish(&[manifest(Some(4))]).await;
        let done = wait_for_end(&stand.api, "replay").await;
        assert_eq!(status(&done).reason, Some(Reason::ScaledUpByOthers), "{:?}", status(&done).message);
        assert_eq!(status(&done).targets[0].restored, Some(Restored::LeftAsScaledByOthers));
        assert_eq!((stand.replicas().await, stand.committed(&stand.group).await), (4, Some(50)));
        is_quiet(stand, Duration::from_secs(4)).await;
        stand.no_leases().await;
        stop(member).await;
    })
    .await;
}

fn as_manifest(name: &str, stand: &Stand, topic: &str) -> Value {
    let entries = json!([{"topic": topic, "offset": 30}]);
    let mut manifest = serde_json::to_value(reset(name, &stand.group, &entries, &json!({}))).unwrap();
    manifest.as_object_mut().unwrap().remove("status");
    manifest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kustomization_that_waits_is_ready_when_the_reset_has_succeeded_and_no_sooner() {
    Stand::with(async |stand| {
        stand.deployment().await;
        let member = stand.member(&stand.group).await;
        let manifest = as_manifest("replay", stand, &stand.topic);
        let flux = Kustomization::create(stand, &[manifest], json!({"interval": "2s", "wait": true})).await;
        wait_for_phase(&stand.api, "replay", Phase::Draining).await;
        let (ready, reason) = flux.ready().await;
        assert!(ready != "True", "it is still held: {ready} {reason}");
        stop(member).await;
        flux.is_ready().await;
        let done = wait_for_end(&stand.api, "replay").await;
        succeeded(&done);
        assert_eq!((stand.replicas().await, stand.committed(&stand.group).await), (2, Some(30)));

        // It applies the manifest again and again: what is over is inert.
        let changes = stand.changes().await;
        for _ in 0..3 {
            flux.reconcile().await;
        }
        let again = stand.api.get("replay").await.unwrap();
        assert_eq!((again.metadata.generation, &again.metadata.uid), (done.metadata.generation, &done.metadata.uid));
        assert_eq!((stand.changes().await, flux.ready().await.0.as_str()), (changes, "True"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kustomization_that_waits_fails_when_the_reset_does() {
    Stand::with(async |stand| {
        stand.deployment().await;
        let manifest = as_manifest("replay", stand, "no-such-topic");
        let flux = Kustomization::create(stand, &[manifest], json!({"wait": true})).await;
        wait_for_end(&stand.api, "replay").await;
        stand.until("a Kustomization that has failed", async |_| flux.ready().await.1 == "HealthCheckFailed").await;
        assert_eq!((flux.ready().await.0.as_str(), stand.replicas().await), ("False", 2));
    })
    .await;
}
