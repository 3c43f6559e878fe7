//! A ScaledObject with a Kafka trigger for the Deployment of the stand.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use super::Stand;
use real_tests::brokers;

pub const PAUSED: &str = "autoscaling.keda.sh/paused";
pub const PAUSED_BY: &str = "offsetreset.dev/paused-by";

pub struct ScaledObject<'a> {
    stand: &'a Stand,
    api: Api<DynamicObject>,
}

impl<'a> ScaledObject<'a> {
    /// With these annotations, as KEDA works on it: ready, its trigger active, and with an HPA, unless it is paused from the start.
    pub async fn create(stand: &'a Stand, annotations: Value) -> Self {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject"));
        let api = Api::namespaced_with(stand.client.clone(), &stand.namespace, &kind);
        let trigger = json!({"type": "kafka", "metadata": {
            "bootstrapServers": brokers(), "consumerGroup": stand.group, "topic": stand.topic, "lagThreshold": "5",
        }});
        let object = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": "orders", "annotations": annotations},
            "spec": {
                "scaleTargetRef": {"name": "consumer"}, "pollingInterval": 1, "cooldownPeriod": 5,
                "minReplicaCount": 0, "maxReplicaCount": 5, "triggers": [trigger],
            },
        });
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        let own = Self { stand, api };
        if annotations[PAUSED] == "true" {
            own.until("paused", async |own| own.condition("Paused").await == "True").await;
        } else {
            own.until("active", async |own| own.condition("Active").await == "True" && own.has_hpa().await).await;
        }
        own
    }

    pub async fn until(&self, what: &str, mut wished: impl AsyncFnMut(&Self) -> bool) {
        self.stand.until(&format!("the ScaledObject {what}"), async |_| wished(self).await).await;
    }

    pub async fn get(&self) -> DynamicObject {
        self.api.get("orders").await.unwrap()
    }

    pub async fn condition(&self, kind: &str) -> String {
        let found = self.get().await;
        let conditions = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let of_kind = conditions.iter().find(|condition| condition["type"] == kind);
        of_kind.and_then(|condition| condition["status"].as_str()).unwrap_or_default().to_owned()
    }

    /// Whether it is paused, and by whom.
    pub async fn pause(&self) -> (Option<String>, Option<String>) {
        let found = self.get().await;
        (found.annotations().get(PAUSED).cloned(), found.annotations().get(PAUSED_BY).cloned())
    }

    pub async fn annotate(&self, annotations: Value) {
        let patch = json!({"metadata": {"annotations": annotations}});
        self.api.patch("orders", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    pub async fn delete(&self) {
        self.api.delete("orders", &DeleteParams::default()).await.unwrap();
        self.until("gone", async |own| own.api.get_opt("orders").await.unwrap().is_none()).await;
    }

    /// KEDA's HPA, which goes while it is paused.
    pub async fn has_hpa(&self) -> bool {
        let hpas = Api::<HorizontalPodAutoscaler>::namespaced(self.stand.client.clone(), &self.stand.namespace);
        hpas.get_opt("keda-hpa-orders").await.unwrap().is_some()
    }

    /// It scales as if nothing had been: no annotation of ours, KEDA has resumed, the HPA is there.
    pub async fn goes_on(&self) {
        self.until("without our pause", async |own| own.pause().await == (None, None)).await;
        self.until("with its HPA again", async |own| own.has_hpa().await).await;
        self.until("that says it is not paused", async |own| own.condition("Paused").await == "False").await;
    }
}
