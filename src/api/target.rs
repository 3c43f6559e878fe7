//! A target: a workload to stop.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{rules, schema::is_false};

/// One workload in the OffsetReset's namespace: a Deployment, a StatefulSet, or another kind with a
/// scale subresource.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::SCALABLE)]
pub struct TargetRef {
    /// The API group and version of the workload's kind, as in the workload's own manifest, such as
    /// argoproj.io/v1alpha1. The default is apps/v1.
    #[serde(default = "default_api_version")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::API_VERSION)]
    pub api_version: String,

    /// The workload's kind, as in the workload's own manifest; the default is Deployment. Any kind
    /// with a scale subresource. For kinds other than Deployment and StatefulSet the operator needs
    /// more rights, from a ClusterRole with the label offsetreset.dev/aggregate-to-operator:
    /// "true".
    #[serde(default = "default_kind")]
    #[schemars(length(max = 63))]
    #[x_kube(validation = rules::KIND)]
    pub kind: String,

    /// The plural name of the kind's resource, as `kubectl api-resources` shows it under NAME;
    /// needed only where that is not the kind in lowercase with an "s", such as proxies for Proxy.
    /// The creator of an OffsetReset must have the right to scale exactly that resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    #[x_kube(validation = rules::RESOURCE)]
    pub resource: Option<String>,

    /// The name of the workload, from its metadata.name.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::TARGET_NAME)]
    pub name: String,

    /// When true, a StatefulSet is scaled to zero even when its
    /// persistentVolumeClaimRetentionPolicy.whenScaled is Delete: the volumes of its pods are then
    /// deleted, and the restored pods get new, empty ones. By default such a StatefulSet is
    /// refused.
    #[serde(default, skip_serializing_if = "is_false")]
    pub accept_volume_deletion: bool,

    /// When true, the workload is stopped even while pods of more than one of its revisions run, as
    /// in the middle of a rollout: all its replicas are then restored as its newest revision,
    /// whether that revision has worked or not. By default the reset waits for a rollout that makes
    /// progress, and is refused while a rollout is paused or blocked.
    #[serde(default, skip_serializing_if = "is_false")]
    pub accept_revision_change: bool,
}

impl TargetRef {
    /// A workload by its API version, kind and name.
    #[must_use]
    pub fn new(api_version: &str, kind: &str, name: &str) -> Self {
        let (api_version, kind, name) = (api_version.to_owned(), kind.to_owned(), name.to_owned());
        Self { api_version, kind, resource: None, name, accept_volume_deletion: false, accept_revision_change: false }
    }

    /// The plural name of the resource whose `scale` the creator must have rights for, by the rule
    /// of deploy/rights/policies.yaml.
    #[must_use]
    pub fn checked_resource(&self) -> String {
        self.resource.clone().unwrap_or_else(|| format!("{}s", self.kind.to_ascii_lowercase()))
    }
}

fn default_api_version() -> String {
    "apps/v1".into()
}

fn default_kind() -> String {
    "Deployment".into()
}
