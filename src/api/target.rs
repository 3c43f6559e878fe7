//! The targets, which are workloads to stop, and how they are restored.

use kube::{KubeSchema, core::Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{durations::a_duration, rules, schema::is_false};

/// One workload in the OffsetReset's namespace: a Deployment, a StatefulSet, another kind with a
/// scale subresource, or a sink connector of Strimzi (kind KafkaConnector).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::SCALABLE, validation = rules::NO_CONNECT_CLUSTER, validation = rules::NO_MIRROR_MAKER)]
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
    /// "true". A KafkaConnector of kafka.strimzi.io has to be a sink; it is stopped by spec.state:
    /// stopped, and restored to its former state. For it the operator needs the rights of
    /// deploy/strimzi.
    #[serde(default = "default_kind")]
    #[schemars(length(max = 63))]
    #[x_kube(validation = rules::KIND)]
    pub kind: String,

    /// The plural name of the kind's resource, as `kubectl api-resources` shows it under NAME;
    /// needed only where that is not the kind in lowercase with an "s", such as proxies for Proxy.
    /// The creator of an OffsetReset must have the right to scale exactly that resource, or to
    /// update a KafkaConnector.
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

    /// Whether it is a connector of Strimzi. A connector has a scale as well, which is its tasksMax
    /// and never 0, so it is stopped by its state.
    #[must_use]
    pub fn is_connector(&self) -> bool {
        self.is_strimzis("KafkaConnector")
    }

    /// Whether it is of this kind, and the kind is one of Strimzi.
    #[must_use]
    pub fn is_strimzis(&self, kind: &str) -> bool {
        self.kind == kind && self.api_version.starts_with("kafka.strimzi.io/")
    }
}

/// What a workload has when it is not stopped, in words: a replica count, or the state of a
/// connector.
#[must_use]
pub fn size_in_words(replicas: i32, state: Option<&str>) -> String {
    state.map_or_else(|| format!("{replicas} replicas"), |state| format!("spec.state {state}"))
}

fn default_api_version() -> String {
    "apps/v1".into()
}

fn default_kind() -> String {
    "Deployment".into()
}

/// How the targets are restored.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RestoreSpec {
    /// A canary: a few replicas that are restored before the others. The others follow when the canary
    /// has consumed past the targets. Without a canary all replicas are restored at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanarySpec>,
}

/// A few replicas of the targets that are restored first, once every offset was read back. Each target
/// gets this many replicas, or its original count if that is lower. The canary passes when the group
/// has committed past the target on every partition that has records to consume, and five seconds
/// later no container of the canary has crashed and its consumers are in the group. The canary fails
/// when one of its containers has crashed, when it has not consumed past every target at the end of
/// timeout, or when its consumers have left the group by then. It proves nothing when there is no
/// record to consume, the broker does not answer, another client has scaled a
/// target or committed over an offset, the OffsetReset is deleted, or holdTimeout expires. When it has
/// passed or proves nothing, all replicas are restored, except those of a target that another client
/// has scaled: it keeps that count (restored: LeftAsScaledByOthers). When no target had more replicas
/// than the canary, there is no canary, and status.canary says so.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CanarySpec {
    /// How many replicas of each target are restored first; the default is 1. Their consumers are
    /// assigned all partitions of the group until the other replicas follow.
    #[serde(default = "default_canary_replicas")]
    #[x_kube(validation = rules::CANARY_REPLICAS)]
    pub replicas: i32,

    /// How long the canary may take to consume, from when its replica counts were accepted, as a duration
    /// of up to 24h, such as 3m (the default). It has to cover the start of a pod, the start of the
    /// consumer and its first commit (auto.commit.interval.ms is 5s by default). Together with
    /// drainTimeout it must be less than holdTimeout, which also limits the canary.
    #[serde(default = "default_canary_timeout", deserialize_with = "a_duration")]
    #[x_kube(validation = rules::CANARY_TIMEOUT)]
    #[schemars(length(max = 32))]
    pub timeout: Duration,

    /// What follows when the canary fails. Keep (the default) keeps the offsets of the reset and
    /// restores all replicas. Undo stops the canary, commits the offsets from before the reset on the
    /// partitions that it has set, and then restores all replicas. Either way the reset ends as Failed.
    /// Undo does not reverse what the canary has done with the records, such as writes to a database.
    #[serde(default)]
    pub on_failure: OnCanaryFailure,
}

/// What follows when the canary fails.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum OnCanaryFailure {
    /// The offsets of the reset stay, and all replicas are restored.
    #[default]
    Keep,
    /// The offsets from before the reset are committed, and then all replicas are restored.
    Undo,
}

fn default_canary_replicas() -> i32 {
    1
}

fn default_canary_timeout() -> Duration {
    std::time::Duration::from_mins(3).into()
}
