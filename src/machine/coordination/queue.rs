//! Who else wants the same group or the same workload: groups one after the other, workloads together, so that one stop serves all.

use crate::{
    api::{OffsetReset, Phase, TargetRef},
    machine::{
        facts::{Blocker, PeerReset},
        guards::Guard,
        pass::Pass,
    },
};
use jiff::{SignedDuration, Timestamp};

/// For how long a reset that was just created, and that the operator has not taken up yet, is waited for.
const FRESH: SignedDuration = SignedDuration::from_secs(5);

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
pub fn blocker(own: &PeerReset, others: &[PeerReset], now: Timestamp) -> Option<Blocker> {
    if own.dry_run {
        return None;
    }
    let age = |claimant: &PeerReset| (claimant.created, claimant.namespace.clone(), claimant.name.clone());
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

/// Who works on the same group of the same cluster, however the brokers are named: it has been let in and is not done.
///
/// The caller must let no two resets in at the same time: who has been let in is only seen once its finalizer is on.
#[must_use]
pub(in crate::machine) fn group_holder<'a>(
    own_uid: &str,
    group: &str,
    cluster_id: Option<&str>,
    others: &'a [PeerReset],
) -> Option<&'a PeerReset> {
    let same_cluster = |other: &PeerReset| match (cluster_id, other.cluster_id.as_deref()) {
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

/// Who else still needs a workload at zero.
#[must_use]
pub(in crate::machine) fn still_needed_by<'a>(
    own_uid: &str,
    workload_uid: &str,
    others: &'a [PeerReset],
) -> Option<&'a PeerReset> {
    others
        .iter()
        .filter(|other| other.uid != own_uid && other.phase != Some(Phase::Restoring))
        .find(|other| Guard::NeededByNoOther.stops(other.holds(workload_uid).is_some()))
}

/// Who works on the group already, in words, when somebody does: seen by the cluster's own id, however its brokers are named.
pub(in crate::machine) fn waits_for(pass: &Pass<'_>) -> Option<String> {
    let (group, cluster_id) = (&pass.seen.group, pass.status.group.as_ref()?.cluster_id.as_deref());
    let other = group_holder(&pass.seen.uid, group, cluster_id, &pass.seen.others)?;
    let held = pass.status.targets.iter().any(|target| target.stop_requested);
    Some(format!(
        "Waits for OffsetReset {}/{}, which works on the same group of the same cluster; the consumers {}",
        other.namespace,
        other.name,
        if held { "are held at zero since an earlier run" } else { "run" }
    ))
}
