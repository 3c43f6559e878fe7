//! Pending: one reset at a time per group and per workload, the oldest first.

use jiff::{SignedDuration, Timestamp};

use super::{Decision, observed::Blocker, pass::Pass};
use crate::api::{OffsetReset, Phase, Reason};

/// How soon it looks again whether the other one is over: resets take seconds, and those that wait are few.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(1);

pub(super) fn decide(pass: Pass<'_>) -> Decision {
    match &pass.seen.blocker {
        Some(blocker) => {
            let message =
                format!("waits for OffsetReset {}, which works on the same {}; the consumers run", blocker.name, blocker.shared);
            pass.wait(Reason::WaitingForOther, message, LOOK_AGAIN)
        }
        None => pass.go_on(Phase::Planning, Reason::Planning, "the plan is being made; the consumers run"),
    }
}

/// An `OffsetReset` as one that wants a group and workloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// Its UID.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// Where it is on its way.
    pub phase: Option<Phase>,
    /// Its group.
    pub group: String,
    /// The brokers it names, in lower case.
    pub brokers: Vec<String>,
    /// Its workloads, as kind/name.
    pub workloads: Vec<String>,
}

impl From<&OffsetReset> for Claimant {
    fn from(reset: &OffsetReset) -> Self {
        Self {
            uid: reset.metadata.uid.clone().unwrap_or_default(),
            namespace: reset.metadata.namespace.clone().unwrap_or_default(),
            name: reset.metadata.name.clone().unwrap_or_default(),
            created: reset.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |at| at.0),
            phase: reset.status.as_ref().and_then(|status| status.phase),
            group: reset.spec.group.clone(),
            brokers: reset.spec.kafka.bootstrap_servers.to_lowercase().split(',').map(str::to_owned).collect(),
            workloads: reset.spec.target_refs.iter().map(|target| format!("{}/{}", target.kind, target.name)).collect(),
        }
    }
}

impl Claimant {
    /// What both want, if anything: a group on a cluster that both name a broker of, or a workload of one namespace.
    fn shared(&self, other: &Self) -> Option<String> {
        if self.group == other.group && self.brokers.iter().any(|broker| other.brokers.contains(broker)) {
            return Some(format!("group {}", self.group));
        }
        let same = self.workloads.iter().find(|workload| other.workloads.contains(workload));
        same.filter(|_| self.namespace == other.namespace).map(|workload| format!("workload {workload}"))
    }

    /// Under way: it may hold a workload or commit at any moment.
    fn is_active(&self) -> bool {
        self.phase.is_some_and(|phase| phase != Phase::Pending && !phase.is_terminal())
    }

    fn is_waiting(&self) -> bool {
        self.phase.is_none_or(|phase| phase == Phase::Pending)
    }
}

/// Who goes before `own`: one that is under way, or the oldest that waits as well.
///
/// The caller must let no two resets pass this at the same time: what is under way is only seen once it was recorded.
#[must_use]
pub fn blocker(own: &Claimant, others: &[Claimant]) -> Option<Blocker> {
    let age = |claimant: &Claimant| (claimant.created, claimant.namespace.clone(), claimant.name.clone());
    others
        .iter()
        .filter(|other| other.uid != own.uid)
        .filter(|other| other.is_active() || (other.is_waiting() && age(other) < age(own)))
        .filter_map(|other| Some((other, own.shared(other)?)))
        .min_by_key(|(other, _)| (!other.is_active(), age(other)))
        .map(|(other, shared)| Blocker { name: format!("{}/{}", other.namespace, other.name), shared })
}
