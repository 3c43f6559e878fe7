//! Other resets of the same group or workload: groups one after the other, workloads together, so
//! that one stop serves all.

use crate::{
    api::{OffsetReset, Phase, TargetRef},
    machine::{
        facts::{Blocker, PeerReset, Seen},
        guards::Guard,
        pass::Pass,
        text::{Message, name},
    },
};
use jiff::{SignedDuration, Timestamp};

/// For how long a reset waits for one that was just created and that the operator has not taken up
/// yet.
pub const FRESH: SignedDuration = SignedDuration::from_secs(5);

/// Whether one reset may block the other, by what never changes of them: a group of the same name,
/// in any cluster, or a workload. All rules here are about such resets, or about those that have a
/// claim on a hold.
#[must_use]
pub fn may_meet(own: &OffsetReset, other: &OffsetReset) -> bool {
    let same_workload = || {
        let named =
            |target: &TargetRef| own.spec.target_refs.iter().any(|own| own.kind == target.kind && own.name == target.name);
        own.metadata.namespace == other.metadata.namespace && other.spec.target_refs.iter().any(named)
    };
    own.spec.group == other.spec.group || same_workload()
}

/// The reset that goes before `own`: one that is under way, or the oldest that waits as well.
/// Groups are served one after the other; workloads together, unless it is too late to join.
///
/// The caller must let no two resets pass this at the same time: a reset is seen as under way only
/// once that is recorded.
#[must_use]
pub fn blocker(own: &PeerReset, others: &[PeerReset], now: Timestamp) -> Option<Blocker> {
    if own.dry_run {
        return None;
    }
    let age = |reset: &PeerReset| (reset.created, reset.namespace.clone(), reset.name.clone());
    let shared = |other: &PeerReset| {
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

/// The reset that works on the same group of the same cluster, however the brokers are named: it is
/// admitted and not done.
///
/// The caller must admit no two resets at the same time: a reset is seen as admitted only once its
/// finalizer is on.
#[must_use]
pub(in crate::machine) fn group_holder<'a>(
    own_uid: &str,
    group: &str,
    cluster_id: Option<&str>,
    others: &'a [PeerReset],
) -> Option<&'a PeerReset> {
    let same_cluster = |other: &PeerReset| match (cluster_id, other.cluster_id.as_deref()) {
        (Some(own), Some(other)) => own == other,
        // Unknown never counts as another cluster.
        (Some(_), None) => true,
        // Then the brokers' names told, before either was admitted; except for brokers that a
        // binding names.
        (None, _) => other.brokers.is_empty(),
    };
    others
        .iter()
        .filter(|other| other.uid != own_uid && other.finalizer && other.is_active())
        .find(|other| !Guard::GroupNotShared.allows(other.group != group || !same_cluster(other)))
}

/// Another reset of the same workloads that is still planning: this one waits for it while the
/// consumers run, so that one stop serves both.
#[must_use]
pub(in crate::machine) fn planning_too<'a>(
    own_uid: &str,
    own_namespace: &str,
    own_workloads: &[String],
    others: &'a [PeerReset],
    now: Timestamp,
) -> Option<&'a PeerReset> {
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

/// Another reset that still needs a workload at zero.
#[must_use]
pub(in crate::machine) fn still_needed_by<'a>(
    own_uid: &str,
    workload_uid: &str,
    others: &'a [PeerReset],
) -> Option<&'a PeerReset> {
    others
        .iter()
        .filter(|other| other.uid != own_uid && !matches!(other.phase, Some(Phase::Canary | Phase::Restoring)))
        .find(|other| !Guard::NeededByNoOther.allows(other.holds(workload_uid).is_none()))
}

/// The reset that works on the group already, as a message: found by the cluster's own id, however
/// its brokers are named.
pub(in crate::machine) fn waits_for(pass: &Pass<'_>) -> Option<Message> {
    let (group, cluster_id) = (&pass.seen.group, pass.status.group.as_ref()?.cluster_id.as_deref());
    let other = group_holder(&pass.seen.uid, group, cluster_id, &pass.seen.others)?;
    let held = pass.status.targets.iter().any(|target| target.stop_requested);
    let other = format!("{}/{}", other.namespace, other.name);
    let message = Message::naming([&other], |[other]| format!("Waiting for OffsetReset {other}, which goes first"))
        .detail("It works on the same group of the same cluster")
        .detail(if held { "The consumers have been at zero since an earlier run" } else { "The consumers keep running" });
    Some(message)
}

/// Another reset has a canary of a target, as a message. It may take minutes, so nothing is stopped before it is over: a stop is not
/// shared with a canary, and the other targets would be at zero for nothing.
pub(in crate::machine) fn canary_of_another(pass: &Pass<'_>) -> Option<Message> {
    if pass.status.targets.iter().any(|target| target.stop_requested) {
        return None;
    }
    let (own, peers) = (&pass.seen.uid, &pass.seen.others);
    let (target, hold) = pass.status.targets.iter().zip(&pass.seen.holds).find_map(|(target, hold)| match hold {
        Seen::Known(hold) if hold.canary.is_some() && !hold.is_claimed_by(own) && !hold.is_over(peers, pass.now) => {
            Some((target, hold))
        }
        Seen::Known(_) | Seen::Unknown(_) | Seen::Missing => None,
    })?;
    let (name, others) = (name(target), hold.others(own));
    let message =
        Message::naming([&name, &others], |[name, others]| format!("Waiting until the canary of {name} for {others} is over"));
    Some(message.detail("Nothing is stopped before that, and the consumers keep running"))
}
