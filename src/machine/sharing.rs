//! Who else wants the same group or the same workload: groups one after the other, workloads together, so that one stop serves all.

use jiff::{SignedDuration, Timestamp};

use super::{guards::Guard, observed::Blocker, pass::later, receipt};
use crate::api::{FINALIZER, OffsetReset, Phase, Reason, TargetRef, TargetStatus};

/// For how long a reset that was just created, and that the operator has not taken up yet, is waited for.
const FRESH: SignedDuration = SignedDuration::from_secs(5);

/// An `OffsetReset` as one that wants a group and workloads.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
pub struct Claimant {
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
    /// Our finalizer is on it: something may be held for it, or be committed by it.
    pub finalizer: bool,
    /// What identifies what it is to do, see [`super::receipt::key`].
    pub key: String,
    /// It must not begin yet: it stands in nobody's way.
    pub suspended: bool,
    /// It only plans: it wants nothing.
    pub dry_run: bool,
    /// Where it is on its way.
    pub phase: Option<Phase>,
    /// It waits for another one's group.
    pub waits: bool,
    /// Its plan stands.
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

impl From<&OffsetReset> for Claimant {
    fn from(reset: &OffsetReset) -> Self {
        let status = reset.status.clone().unwrap_or_default();
        let limit = |value: kube::core::Duration| {
            SignedDuration::try_from(std::time::Duration::from(value)).unwrap_or(SignedDuration::MAX)
        };
        Self {
            uid: reset.metadata.uid.clone().unwrap_or_default(),
            namespace: reset.metadata.namespace.clone().unwrap_or_default(),
            name: reset.metadata.name.clone().unwrap_or_default(),
            created: reset.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |at| at.0),
            deleting: reset.metadata.deletion_timestamp.is_some(),
            finalizer: reset.metadata.finalizers.iter().flatten().any(|name| name == FINALIZER),
            key: receipt::key(&reset.spec),
            suspended: reset.spec.suspend,
            dry_run: reset.spec.dry_run,
            // One that is not a dry run any more, but has not been taken up anew, still stands at the end of its dry run.
            phase: status.phase.filter(|phase| !(phase.is_terminal() && status.dry_run && !reset.spec.dry_run)),
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

/// The brokers that a reset names, in lower case; none when a binding names them: what is in a Secret is nobody else's to know, and may
/// change. Then only the cluster's id tells.
#[must_use]
pub fn brokers(reset: &OffsetReset) -> Vec<String> {
    let Some(brokers) = &reset.spec.kafka.bootstrap_servers else { return vec![] };
    brokers.to_lowercase().split(',').map(str::to_owned).collect()
}

impl Claimant {
    /// Whether both are about one group, as far as the specs tell: within a namespace the group's name says it, because brokers have
    /// many names. Across namespaces one has to name a broker of the other; what slips through is seen by the cluster's id once it is
    /// known, see [`group_holder`].
    fn shares_group(&self, other: &Self) -> bool {
        let same_brokers = || self.brokers.iter().any(|broker| other.brokers.contains(broker));
        self.group == other.group && (self.namespace == other.namespace || same_brokers())
    }

    fn shared_workload(&self, other: &Self) -> Option<&str> {
        let same = self.workloads.iter().find(|workload| other.workloads.contains(workload));
        same.filter(|_| self.namespace == other.namespace).map(String::as_str)
    }

    /// Something may be held for it right now.
    pub(super) fn is_holding(&self) -> bool {
        self.phase.is_some_and(Phase::may_hold)
    }

    /// It is not over, and no dry run: what it finds at zero with its claim on it, it may go on with.
    pub(super) fn may_still_hold(&self) -> bool {
        !self.dry_run && self.phase.is_none_or(|phase| !phase.is_terminal())
    }

    /// Under way: it may hold a workload or commit at any moment.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.dry_run && self.phase.is_some_and(|phase| phase != Phase::Pending && !phase.is_terminal())
    }

    fn is_waiting(&self) -> bool {
        !self.dry_run && !self.suspended && self.phase.is_none_or(|phase| phase == Phase::Pending)
    }

    /// What keeps a reset from joining another's stop: it is being ended, or would be over before the own group were empty. However many
    /// resets join one after the other, the consumers are back after the longest of their hold timeouts.
    fn is_too_late_for(&self, holder: &Self, now: Timestamp) -> bool {
        let own_end = |start| later(start, self.hold_timeout);
        holder.phase == Some(Phase::Restoring)
            || holder.hold_start.is_some_and(|start| later(now, self.drain_timeout) > own_end(start))
    }

    /// What it holds at zero of a workload.
    fn holds(&self, uid: &str) -> Option<&TargetStatus> {
        let held = |target: &&TargetStatus| target.uid == uid && target.stop_requested && target.restored.is_none();
        self.targets.iter().find(held).filter(|_| self.is_active())
    }
}

/// Whether one reset may stand in the other's way, by what never changes of them: a group of the same name, wherever it is, or a workload.
/// All of the rules here are about such, or about those that have a claim on a hold.
#[must_use]
pub fn may_meet(own: &OffsetReset, other: &OffsetReset) -> bool {
    let same_workload = || {
        let named =
            |target: &TargetRef| own.spec.target_refs.iter().any(|own| own.kind == target.kind && own.name == target.name);
        own.metadata.namespace == other.metadata.namespace && other.spec.target_refs.iter().any(named)
    };
    own.spec.group == other.spec.group || same_workload()
}

/// Who goes before `own`: one that is under way, or the oldest that waits as well. On a group one after the other; on a workload together,
/// unless it is too late to join.
///
/// The caller must let no two resets pass this at the same time: what is under way is only seen once it was recorded.
#[must_use]
pub fn blocker(own: &Claimant, others: &[Claimant], now: Timestamp) -> Option<Blocker> {
    if own.dry_run {
        return None;
    }
    let age = |claimant: &Claimant| (claimant.created, claimant.namespace.clone(), claimant.name.clone());
    let shared = |other: &Claimant| {
        if own.shares_group(other) {
            return Some(format!("group {}", own.group));
        }
        let workload = own.shared_workload(other)?;
        (other.is_active() && own.is_too_late_for(other, now)).then(|| format!("workload {workload}"))
    };
    others
        .iter()
        .filter(|other| other.uid != own.uid)
        .filter(|other| other.is_active() || (other.is_waiting() && age(other) < age(own)))
        .filter_map(|other| Some((other, shared(other)?)))
        .min_by_key(|(other, _)| (!other.is_active(), age(other)))
        .map(|(other, shared)| Blocker { name: format!("{}/{}", other.namespace, other.name), shared })
}

/// Who works on the same group of the same cluster, however the brokers are named: it has been let in and is not done.
///
/// The caller must let no two resets in at the same time: who has been let in is only seen once its finalizer is on.
#[must_use]
pub(super) fn group_holder<'a>(
    own_uid: &str,
    group: &str,
    cluster_id: Option<&str>,
    others: &'a [Claimant],
) -> Option<&'a Claimant> {
    let same_cluster = |other: &Claimant| match (cluster_id, other.cluster_id.as_deref()) {
        (Some(own), Some(other)) => own == other,
        // Unknown never counts as another one.
        (Some(_), None) => true,
        // Then the brokers' names have told, before either was let in; but for those that a binding names.
        (None, _) => other.brokers.is_empty(),
    };
    others
        .iter()
        .filter(|other| other.uid != own_uid && other.finalizer && other.is_active())
        .find(|other| Guard::GroupOfNoOther.stops(other.group == group && same_cluster(other)))
}

/// Another reset of the same workloads that is still planning: worth waiting for while the consumers run, so that one stop serves both.
#[must_use]
pub(super) fn planning_too<'a>(
    own_uid: &str,
    own_namespace: &str,
    own_workloads: &[String],
    others: &'a [Claimant],
    now: Timestamp,
) -> Option<&'a Claimant> {
    let candidates = others.iter().filter(|other| other.uid != own_uid && other.namespace == own_namespace && !other.dry_run);
    candidates.into_iter().find(|other| {
        let plans = match other.phase {
            Some(Phase::Planning) => !other.planned,
            None | Some(Phase::Pending) => !other.waits && !other.suspended && now.duration_since(other.created) < FRESH,
            Some(_) => false,
        };
        plans && other.workloads.iter().any(|workload| own_workloads.contains(workload))
    })
}

/// Who else still needs a workload at zero.
#[must_use]
pub(super) fn still_needed_by<'a>(own_uid: &str, workload_uid: &str, others: &'a [Claimant]) -> Option<&'a Claimant> {
    others
        .iter()
        .filter(|other| other.uid != own_uid && other.phase != Some(Phase::Restoring))
        .find(|other| Guard::NeededByNoOther.stops(other.holds(workload_uid).is_some()))
}
