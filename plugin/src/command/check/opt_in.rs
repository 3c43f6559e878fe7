//! The rights that `deploy/` grants apart from the rest: for KEDA's ScaledObjects and Strimzi's KafkaConnectors.

use k8s_openapi::api::rbac::v1::{ClusterRole, Role};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};

use super::{
    finding::{Finding, State},
    install::unknown,
    rights,
};
use crate::cluster::Cluster;

/// Rights of the operator that are not part of the base.
struct OptIn {
    /// What is there that needs them.
    found: &'static str,
    /// What they are for.
    to: &'static str,
    /// The name of the role, in the cluster or in each namespace that the operator watches.
    role: &'static str,
    /// What follows without them, and how to grant them.
    advice: &'static str,
}

const KEDA: OptIn = OptIn {
    found: "KEDA is installed",
    to: "pause ScaledObjects",
    role: "offset-reset-operator-keda",
    advice: "Workloads that KEDA scales are refused. Grant them: kubectl apply -k deploy/keda, or keda.enabled of the Helm chart",
};

const STRIMZI: OptIn = OptIn {
    found: "KafkaConnectors exist",
    to: "read and stop KafkaConnectors",
    role: "offset-reset-operator-strimzi",
    advice: "Resets that name one in targetRefs are refused. Grant them: kubectl apply -k deploy/strimzi, or strimzi.enabled of the Helm \
             chart",
};

/// Where KEDA is installed, the operator has rights for its ScaledObjects.
pub(super) async fn keda(cluster: &Cluster) -> Option<Finding> {
    version_of(cluster, "keda.sh").await?;
    Some(look(cluster, &KEDA).await)
}

/// Where connectors of Strimzi exist in the namespace, the operator has rights for them, and the current user too.
pub(super) async fn strimzi(cluster: &Cluster) -> Vec<Finding> {
    if !has_connectors(cluster).await.unwrap_or(false) {
        return vec![];
    }
    vec![look(cluster, &STRIMZI).await, rights::of_connectors(cluster).await]
}

/// `None` when it is not known, or no version of the kind is served.
async fn has_connectors(cluster: &Cluster) -> Option<bool> {
    let group = "kafka.strimzi.io";
    let kind = GroupVersionKind::gvk(group, &version_of(cluster, group).await?, "KafkaConnector");
    let resource = ApiResource::from_gvk_with_plural(&kind, "kafkaconnectors");
    let connectors = Api::<DynamicObject>::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
    let found = connectors.list_metadata(&ListParams::default().limit(1)).await.ok()?;
    Some(!found.items.is_empty())
}

/// The preferred version of an API group that the API server serves.
async fn version_of(cluster: &Cluster, name: &str) -> Option<String> {
    let groups = cluster.client.list_api_groups().await.ok()?.groups;
    let group = groups.into_iter().find(|group| group.name == name)?;
    let first = group.versions.into_iter().next();
    Some(group.preferred_version.or(first)?.version)
}

async fn look(cluster: &Cluster, opt_in: &OptIn) -> Finding {
    let OptIn { found, to, role, advice } = opt_in;
    let has_them = format!("{found}, and the operator has the rights to {to}");
    match Api::<ClusterRole>::all(cluster.client.clone()).get_opt(role).await {
        Ok(Some(_)) => Finding::new(State::Good, has_them),
        // An operator that watches some namespaces has a Role in each of them.
        Ok(None) if in_this_namespace(cluster, role).await => {
            Finding::new(State::Good, format!("{has_them} in namespace {}", cluster.namespace))
        }
        Ok(None) => Finding::new(State::Attention, format!("{found}, and the operator has no rights to {to}")).advice(*advice),
        Err(error) => unknown(&format!("the operator's rights to {to}"), &error),
    }
}

async fn in_this_namespace(cluster: &Cluster, role: &str) -> bool {
    let roles = Api::<Role>::namespaced(cluster.client.clone(), &cluster.namespace);
    roles.get_opt(role).await.is_ok_and(|found| found.is_some())
}
