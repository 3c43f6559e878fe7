//! A Deployment with an HPA, which needs nothing from anybody: at zero it is off.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::{Api, api::PostParams};
use serde_json::json;

use super::{Stand, stop};
use real_tests::{
    shop::{status, succeeded},
    wait_for_end,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_hpa_is_off_while_its_deployment_is_held() {
    Stand::with(async |stand| {
        stand.deployment().await;
        let hpas = Api::<HorizontalPodAutoscaler>::namespaced(stand.client.clone(), &stand.namespace);
        let metric =
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}});
        let hpa = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "consumer"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "consumer"},
                "minReplicas": 2, "maxReplicas": 5, "metrics": [metric],
            },
        });
        let active = async |status: &str, reason: Option<&str>| {
            let found = hpas.get("consumer").await.unwrap().status.and_then(|status| status.conditions).unwrap_or_default();
            let active = found.iter().find(|condition| condition.type_ == "ScalingActive");
            active.is_some_and(|active| {
                active.status == status && reason.is_none_or(|reason| active.reason.as_deref() == Some(reason))
            })
        };
        hpas.create(&PostParams::default(), &serde_json::from_value(hpa).unwrap()).await.unwrap();
        let member = stand.hold("replay").await;
        stand.until("an HPA that is off", async |_| active("False", Some("ScalingDisabled")).await).await;
        assert_eq!(stand.replicas().await, 0);
        stop(member).await;
        let done = wait_for_end(&stand.api, "replay").await;
        succeeded(&done);
        assert_eq!(status(&done).targets[0].scaled_up_by_others, 0);
        assert_eq!((stand.replicas().await, stand.committed(&stand.group).await), (2, Some(30)));
        // It is at work again: without a metrics server it finds no metrics, and says that instead.
        stand.until("an HPA that is on", async |_| active("False", Some("FailedGetResourceMetric")).await).await;
    })
    .await;
}
