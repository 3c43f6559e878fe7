//! Workloads and their pods as the adapters in `kubernetes` describe them.

use jiff::{SignedDuration, Timestamp};

use super::{
    connector::{Connector, PAUSED, Tasks},
    denial::Denial,
    rollout::Rollout,
};
use crate::api::{TargetStatus, size_in_words};

/// A target, as its `scale` subresource reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The workload's UID: another one under the same name is another workload.
    pub uid: String,
    /// The version that was read; writing the scale with it fails when anything changed since.
    pub resource_version: String,
    /// Its desired replicas; one where `spec.replicas` is not set. Of a connector 0 when it is to be
    /// stopped, and otherwise 1.
    pub replicas: i32,
    /// The `spec.state` of a connector; `None` for every other kind.
    pub state: Option<String>,
    /// Why scaling it to zero would be refused, from a dry run; only tried while planning.
    pub refusal: Option<Denial>,
    /// The replica count that came out of the same dry run, where an admission policy or webhook changes the requested zero.
    pub overridden: Option<i32>,
    /// The pods that belong to it.
    pub pods: Vec<Pod>,
    /// What is known of it beside its scale.
    pub details: WorkloadDetails,
}

impl Workload {
    /// Whether it has the replicas, or the state, that it had before it was first stopped. A state that a CRD of an earlier version has
    /// removed from the status is unknown, and then only the replicas count.
    #[must_use]
    pub fn is_as_before(&self, target: &TargetStatus) -> bool {
        let same_state = target.original_state.is_none() || target.original_state == self.state;
        self.replicas == target.original_replicas && same_state
    }

    /// For how many replicas consumers are expected: none for a connector that is paused, because
    /// its tasks join the group only once they have run.
    #[must_use]
    pub fn consuming_replicas(&self) -> i32 {
        if self.state.as_deref() == Some(PAUSED) { 0 } else { self.replicas }
    }

    /// Its replicas, or its state, in words.
    #[must_use]
    pub fn size(&self) -> String {
        size_in_words(self.replicas, self.state.as_deref())
    }
}

/// What is known of a workload beside its scale. All of it is read while planning; only `scalers`
/// and `autoscalers` while it is held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadDetails {
    /// The replicas that it reports, where `spec.replicas` is not set and so counts as one.
    pub unset: Option<i32>,
    /// The object that controls it.
    pub controller: Option<Controller>,
    /// Scaling it down deletes the volumes of its pods.
    pub deletes_volumes: bool,
    /// The field managers that own its replicas, or its state, without this operator, the latest
    /// first.
    pub scalers: Vec<FieldOwner>,
    /// The HorizontalPodAutoscalers that scale it.
    pub autoscalers: Vec<Hpa>,
    /// Which revisions its pods have.
    pub rollout: Rollout,
    /// Its controller deletes its pods one after the other, from the last one on, and none while
    /// another one is not ready: a StatefulSet with podManagementPolicy OrderedReady.
    pub ordered: bool,
    /// For how many seconds its controller wants a pod to be ready before the next one starts; of a
    /// StatefulSet.
    pub min_ready_seconds: i32,
    /// How many pods it counts itself; of a kind whose pods do not lead to it by their controllers.
    pub counted: Option<i32>,
    /// Pods that match its selector and that it does not control.
    pub foreign_pods: Vec<ForeignPod>,
    /// What else a plan depends on, of a connector.
    pub connector: Option<Connector>,
    /// What could not be read of this, and why; nothing depends on it.
    pub unseen: Option<String>,
}

/// An object that controls another one: its owner reference with `controller: true`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// The API version of its kind.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// An owner of a field, from `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldOwner {
    /// The field manager's name.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// The subresource by which it was written.
    pub subresource: Option<String>,
    /// When it was last written; not recorded for writes through `scale`.
    pub time: Option<Timestamp>,
}

/// A `HorizontalPodAutoscaler`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hpa {
    /// Its name.
    pub name: String,
    /// Its `minReplicas`.
    pub min_replicas: i32,
    /// It reports that it has scaled to zero itself: then it may also scale up from zero.
    pub scaled_to_zero: bool,
}

/// Why a kind cannot be scaled at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unscalable {
    /// The API server does not serve it under that version.
    #[error("the API server serves no such kind")]
    Unknown {
        /// The API versions of the same group under which it does.
        served: Vec<String>,
    },
    /// Its kind is not namespaced.
    #[error("the kind is not namespaced")]
    NotNamespaced,
    /// It has no `scale` subresource.
    #[error("the kind has no scale subresource")]
    NoScale,
    /// Its resource is not the one for which the rights of the reset's creator were checked.
    #[error("the kind's resource is {resource}")]
    OtherResource {
        /// The name of the resource.
        resource: String,
    },
}

/// A pod that no target controls, and that matches the selector of a target or has the address of a
/// member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignPod {
    /// Its name.
    pub name: String,
    /// The object that controls it, if any; of a pod of a ReplicaSet, the object that controls that.
    pub controller: Option<Controller>,
    /// Its addresses, as the broker may see them; none in the host's network, where other processes
    /// have the same address.
    pub ips: Vec<String>,
    /// Since when it has had them, as far as its containers tell; `None` while none of them runs,
    /// and once it terminates.
    pub running_since: Option<Timestamp>,
}

/// A pod of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its addresses, as the broker may see them.
    pub ips: Vec<String>,
    /// The addresses of the node it runs on, which are those that the broker sees behind NAT.
    pub node_ips: Vec<String>,
    /// The node it runs on, once it is scheduled.
    pub node: Option<String>,
    /// When its grace period ends; set once it terminates.
    pub deletion: Option<Timestamp>,
    /// Whether every container of it has terminated for good. A pod that has not started may still
    /// start, so it does not count.
    pub terminated: bool,
    /// Whether its `Ready` condition is true.
    pub ready: bool,
    /// Since when all its containers run and it is ready.
    pub ready_since: Option<Timestamp>,
    /// A container of it has terminated and waits to be started again.
    pub crashed: bool,
    /// A container of it was started again, at least once.
    pub restarted: bool,
    /// A container of it has terminated and was not started again yet. Not one that has done its work in a
    /// pod that does not start it again.
    pub exited: bool,
    /// How the container of it that has crashed last exited; `None` where none has.
    pub last_exit: Option<Exit>,
    /// How long its containers may take to terminate.
    pub grace: SignedDuration,
    /// The tasks of a connector, for which this stands instead of a pod.
    pub tasks: Option<Tasks>,
}

/// How a container exited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its name.
    pub container: String,
    /// Its exit code.
    pub code: i32,
    /// Why, such as `Error` or `OOMKilled`.
    pub reason: Option<String>,
    /// Its termination message: what it wrote itself, and so of any length.
    pub message: Option<String>,
}

impl Pod {
    /// Whether it is ready, and was for longer than this.
    #[must_use]
    pub fn was_ready_for(&self, duration: SignedDuration, now: Timestamp) -> bool {
        self.ready && self.ready_since.is_some_and(|since| now.duration_since(since) > duration)
    }
}
