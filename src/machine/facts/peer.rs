//! Another OffsetReset, which may need the same group or the same workloads.

use crate::{
    api::{BootstrapServers, FINALIZER, OffsetReset, Phase, Reason, TargetStatus},
    machine::{
        request::identity,
        time::{later, spec_duration},
    },
};
use jiff::{SignedDuration, Timestamp};

/// Another `OffsetReset` that must go first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// Its namespace and name.
    pub name: String,
    /// What both need, such as "group orders" or "workload Deployment/orders".
    pub shared: String,
}

/// An `OffsetReset` with the group and the workloads that it needs.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
pub struct PeerReset {
    /// Its UID.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// It is being deleted.
    pub deleting: bool,
    /// Our finalizer is on it: a workload may be held for it, and it may commit.
    pub finalizer: bool,
    /// The key of its spec, see [`crate::machine::request::identity::key`].
    pub key: String,
    /// It must not begin yet, and blocks no other reset.
    pub suspended: bool,
    /// It only plans, and needs neither group nor workloads.
    pub dry_run: bool,
    /// Its phase.
    pub phase: Option<Phase>,
    /// It waits for another reset.
    pub waits: bool,
    /// Its plan is complete.
    pub planned: bool,
    /// Its group.
    pub group: String,
    /// The brokers it names, in lower case.
    pub brokers: Vec<String>,
    /// The id of its cluster, once it has planned.
    pub cluster_id: Option<String>,
    /// Its workloads, as kind/name.
    pub workloads: Vec<String>,
    /// Its workloads, as it has recorded them.
    pub targets: Vec<TargetStatus>,
    /// When its hold began.
    pub hold_start: Option<Timestamp>,
    /// How long it may hold.
    pub hold_timeout: SignedDuration,
    /// How long its group may take to become empty.
    pub drain_timeout: SignedDuration,
}

impl From<&OffsetReset> for PeerReset {
    fn from(reset: &OffsetReset) -> Self {
        let status = reset.status.clone().unwrap_or_default();
        // One that another version has ended is over, whatever its phase is called.
        let phase = if status.ended_elsewhere() { Some(Phase::Failed) } else { status.phase };
        // A reset with an invalid duration never runs, so the value does not matter.
        let limit = |value| spec_duration(value).unwrap_or(SignedDuration::MAX);
        Self {
            uid: reset.metadata.uid.clone().unwrap_or_default(),
            namespace: reset.metadata.namespace.clone().unwrap_or_default(),
            name: reset.metadata.name.clone().unwrap_or_default(),
            created: reset.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |at| at.0),
            deleting: reset.metadata.deletion_timestamp.is_some(),
            finalizer: reset.metadata.finalizers.iter().flatten().any(|name| name == FINALIZER),
            key: identity::key(&reset.spec),
            suspended: reset.spec.suspend,
            dry_run: reset.spec.dry_run,
            // A dry run that is to run now still has the phase of its dry run until the operator
            // begins it again.
            phase: phase.filter(|phase| !(phase.is_terminal() && status.dry_run && !reset.spec.dry_run)),
            waits: status.reason == Some(Reason::WaitingForOtherReset),
            planned: status.plan_time.is_some(),
            group: reset.spec.group.clone(),
            brokers: brokers(reset),
            cluster_id: status.group.and_then(|group| group.cluster_id),
            workloads: reset.spec.target_refs.iter().map(|target| format!("{}/{}", target.kind, target.name)).collect(),
            targets: status.targets,
            hold_start: status.hold.map(|hold| hold.start_time.0),
            hold_timeout: limit(reset.spec.hold_timeout),
            drain_timeout: limit(reset.spec.drain_timeout),
        }
    }
}

/// The brokers that a reset names, in lower case; none when a binding names them, for the contents
/// of a Secret are not shared between resets and may change. Then only the cluster's id is
/// compared.
#[must_use]
pub fn brokers(reset: &OffsetReset) -> Vec<String> {
    let Some(brokers) = &reset.spec.kafka.bootstrap_servers else { return vec![] };
    BootstrapServers::from(brokers.to_lowercase()).iter().map(ToString::to_string).collect()
}

impl PeerReset {
    /// Whether both are about one group, by their specs: within a namespace groups of the same name
    /// count as one, because brokers have many names. Across namespaces one has to name a broker of
    /// the other; `queue::group_holder` finds the rest by the cluster's id.
    pub(in crate::machine) fn shares_group(&self, other: &Self) -> bool {
        let same_brokers = || self.brokers.iter().any(|broker| other.brokers.contains(broker));
        self.group == other.group && (self.namespace == other.namespace || same_brokers())
    }

    pub(in crate::machine) fn shared_workload(&self, other: &Self) -> Option<&str> {
        let same = self.workloads.iter().find(|workload| other.workloads.contains(workload));
        same.filter(|_| self.namespace == other.namespace).map(String::as_str)
    }

    /// A workload may be held for it now.
    pub(in crate::machine) fn is_holding(&self) -> bool {
        self.phase.is_some_and(Phase::may_hold)
    }

    /// It is neither over nor a dry run: it may resume a workload that is at zero with its claim.
    pub(in crate::machine) fn may_still_hold(&self) -> bool {
        !self.dry_run && self.phase.is_none_or(|phase| !phase.is_terminal())
    }

    /// It is under way: it may hold a workload or commit at any moment.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.dry_run && self.phase.is_some_and(|phase| phase != Phase::Pending && !phase.is_terminal())
    }

    pub(in crate::machine) fn is_waiting(&self) -> bool {
        !self.dry_run && !self.suspended && self.phase.is_none_or(|phase| phase == Phase::Pending)
    }

    /// Whether a reset cannot join another's stop: the other one is restoring or runs its canary, or
    /// would be over before the own group is empty. However many resets join one after the other, the consumers
    /// are restored after the longest of their hold timeouts.
    pub(in crate::machine) fn is_too_late_for(&self, holder: &Self, now: Timestamp) -> bool {
        let own_end = |start| later(start, self.hold_timeout);
        matches!(holder.phase, Some(Phase::Canary | Phase::Restoring))
            || holder.hold_start.is_some_and(|start| later(now, self.drain_timeout) > own_end(start))
    }

    /// Its target with this workload's UID, if it holds that at zero.
    pub(in crate::machine) fn holds(&self, uid: &str) -> Option<&TargetStatus> {
        let held = |target: &&TargetStatus| target.uid == uid && target.is_held();
        self.targets.iter().find(held).filter(|_| self.is_active())
    }
}
