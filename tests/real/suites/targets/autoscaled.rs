//! A real HorizontalPodAutoscaler, with the controller of kube-controller-manager.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;

use super::*;

pub fn autoscaler(target: &str, min: i32) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": format!("{target}-load")},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}, "minReplicas": min, "maxReplicas": 6,
            "metrics": [{"type": "External", "external": {"metric": {"name": "lag"}, "target": {"type": "Value", "value": "5"}}}],
        },
    })
}

/// The reason of its condition ScalingActive.
async fn activity(stand: &Stand, name: &str) -> Option<String> {
    let found = Api::<HorizontalPodAutoscaler>::namespaced(stand.client.clone(), &stand.namespace).get(name).await.unwrap();
    let conditions = found.status?.conditions?;
    conditions.into_iter().find(|condition| condition.type_ == "ScalingActive")?.reason
}

async fn wait_for_activity(stand: &Stand, name: &str, wanted: impl Fn(&str) -> bool) {
    let waiting = async {
        while !activity(stand, name).await.is_some_and(|reason| wanted(&reason)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let found = within(PATIENCE, waiting).await;
    assert!(found.is_some(), "{:?}", activity(stand, name).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_is_off_while_its_target_is_held_and_gets_the_count_back() {
    Stand::with(async |stand| {
        stand.create(workload("Deployment", "orders", 1)).await;
        stand.create(autoscaler("orders", 4)).await;
        // Its count, not the one of the manifest.
        stand.wait_for_replicas("apps/v1", "Deployment", "orders", 4).await;
        let planned = stand.plan("plan", json!([{"name": "orders"}])).await;
        let warnings = &status(&planned).warnings;
        assert!(warnings.iter().all(|warning| !warning.contains("HorizontalPodAutoscaler")), "{warnings:?}");

        let member = stand.member().await;
        stand.apply("replay", json!([{"name": "orders"}]), json!({})).await;
        wait_for_phase(&stand.api, "replay", Phase::Draining).await;
        wait_for_activity(stand, "orders-load", |reason| reason == "ScalingDisabled").await;
        assert_eq!(stand.replicas("apps/v1", "Deployment", "orders").await, 0);
        let done = stand.let_go("replay", member).await;
        succeeded(&done);
        assert_eq!((status(&done).targets[0].original_replicas, status(&done).targets[0].scaled_up_by_others), (4, 0));
        assert_eq!(stand.replicas("apps/v1", "Deployment", "orders").await, 4);
        // It is at work again, as well as it can be without metrics.
        wait_for_activity(stand, "orders-load", |reason| reason != "ScalingDisabled").await;
        assert_eq!(stand.replicas("apps/v1", "Deployment", "orders").await, 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_that_may_scale_up_from_zero_is_warned_of() {
    Stand::with(async |stand| {
        stand.create(workload("Deployment", "orders", 2)).await;
        stand.create(workload("Deployment", "payments", 2)).await;
        stand.create(autoscaler("orders", 0)).await;
        let warnings = status(&stand.plan("orders", json!([{"name": "orders"}])).await).warnings.clone();
        let words = "HorizontalPodAutoscaler/orders-load may scale Deployment/orders up from zero";
        assert!(warnings.iter().any(|warning| warning.contains(words)), "{warnings:?}");
        let warnings = status(&stand.plan("payments", json!([{"name": "payments"}])).await).warnings.clone();
        assert!(warnings.iter().all(|warning| !warning.contains("HorizontalPodAutoscaler")), "{warnings:?}");
    })
    .await;
}
