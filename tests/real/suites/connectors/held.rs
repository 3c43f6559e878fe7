//! What comes between while a connector is held: a GitOps tool, a deletion, the end of the operator, a stop that nobody carries out.

use offset_reset_operator::api::{Phase, Reason, Restored};
use real_tests::{
    delete_by_force,
    shop::{ended, succeeded},
    wait_for, wait_until_gone,
};

use super::*;

impl Stand {
    /// A reset that waits for Strimzi, which is away: the stop is requested.
    async fn holding(&self, name: &str, spec: Value) {
        self.sink(None, json!({})).await;
        self.strimzi.goes_away(true);
        self.apply(name, &self.group(), spec).await;
        until("stopped by its spec", async || self.state().await.as_deref() == Some("stopped")).await;
        let waits = |reset: &OffsetReset| {
            let status = status(reset);
            status.phase == Some(Phase::Stopping)
                && status.targets[0].stopped
                && status.explanation().contains("Waiting until Kafka Connect has stopped 1 connector")
        };
        wait_for(&self.api, name, "waiting for Kafka Connect", waits).await;
        assert_eq!(self.committed().await, Some(10), "nothing is committed before Connect reports the stop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_sets_the_state_back_is_answered_and_named() {
    Stand::with(async |stand, operator| {
        stand.holding("reverted", json!({})).await;
        stand.set_state("argocd-controller", Some("running")).await;
        until("stopped again", async || stand.state().await.as_deref() == Some("stopped")).await;
        stand.strimzi.goes_away(false);
        let done = wait_for_end(&stand.api, "reverted").await;
        succeeded(&done);
        let found = target(&done);
        assert_eq!((found.scaled_up_by_others, found.restored), (1, Some(Restored::Original)));
        assert_eq!((found.original_state.as_deref(), stand.state().await), (Some("unset"), None));
        let about = |event: &k8s_openapi::api::events::v1::Event| {
            event.reason.as_deref() == Some(Reason::ScaledUpByOthers.as_str())
                && event.regarding.as_ref().and_then(|object| object.name.as_deref()) == Some(&stand.name)
        };
        let said = stand.events(about).await[0].note.clone().unwrap();
        assert!(said.contains("was set to spec.state running, and is stopped again"), "{said}");
        assert!(said.contains("argocd-controller") && said.contains("[/spec/state]"), "{said}");
        operator.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_in_the_middle_it_goes_on() {
    Stand::with(async |stand, operator| {
        stand.holding("suspended", json!({})).await;
        let suspend = json!({"spec": {"suspend": true}});
        stand.api.patch("suspended", &PatchParams::default(), &Patch::Merge(&suspend)).await.unwrap();
        stand.strimzi.goes_away(false);
        succeeded(&wait_for_end(&stand.api, "suspended").await);
        assert_eq!(stand.state().await, None);
        operator.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_in_the_middle_the_state_is_restored_first() {
    Stand::with(async |stand, operator| {
        stand.holding("deleted", json!({})).await;
        stand.api.delete("deleted", &kube::api::DeleteParams::default()).await.unwrap();
        wait_until_gone(&stand.api, "deleted").await;
        assert_eq!((stand.state().await, stand.committed().await), (None, Some(10)));
        stand.no_leases().await;
        operator.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_killed_goes_on_and_restores_the_state() {
    Stand::with(async |stand, operator| {
        stand.holding("killed", json!({})).await;
        operator.kill().await;
        let next = stand.operator().await;
        stand.strimzi.goes_away(false);
        succeeded(&wait_for_end(&stand.api, "killed").await);
        assert_eq!((stand.state().await, stand.changes().await), (None, 2));
        stand.has_written(RECORDS + 7).await;
        next.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_is_never_reported_ends_with_the_hold() {
    Stand::with(async |stand, operator| {
        stand.holding("in-vain", json!({"drainTimeout": "10s", "holdTimeout": "15s"})).await;
        let done = wait_for_end(&stand.api, "in-vain").await;
        ended(&done, Phase::Failed, Reason::HoldTimeout);
        assert_eq!((stand.state().await, stand.committed().await), (None, Some(10)));
        operator.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_reset_the_state_comes_from_the_lease() {
    Stand::with(async |stand, operator| {
        stand.holding("stripped", json!({})).await;
        operator.kill().await;
        delete_by_force(&stand.api, "stripped").await;
        assert_eq!(stand.state().await.as_deref(), Some("stopped"));
        let next = stand.operator().await;
        until("restored", async || stand.state().await.is_none()).await;
        stand.no_leases().await;
        next.end().await;
    })
    .await;
}
