//! What speaks against stopping a target, or is worth a look before it is stopped; found while its consumers still run.

use super::replica_owners;
use crate::api::{Reason, TargetRef};
use crate::machine::{
    facts::{Seen, Unscalable, Workload},
    refusal::Refusal,
};

/// A target's kind and name, as in messages.
fn name(target: &TargetRef) -> String {
    format!("{}/{}", target.kind, target.name)
}

/// Why a target cannot be stopped; `None` when it can.
#[must_use]
pub(in crate::machine) fn refusal(target: &TargetRef, seen: &Seen<Workload>, unscalable: Option<&Unscalable>) -> Option<Refusal> {
    let name = name(target);
    if let Some(why) = unscalable {
        let (reason, message) = of_its_kind(target, why);
        return Some(Refusal::lasting(reason, message));
    }
    match seen {
        Seen::Known(workload) => of_itself(target, workload),
        Seen::Missing => {
            let message = format!("{name} does not exist in this namespace. Check spec.targetRefs");
            Some(Refusal::lasting(Reason::TargetNotFound, message))
        }
        Seen::Unknown(why) => Some(Refusal::passing(Reason::TargetUnreachable, format!("{name} could not be read: {why}"))),
    }
}

fn of_its_kind(target: &TargetRef, why: &Unscalable) -> (Reason, String) {
    let (kind, api_version, name) = (&target.kind, &target.api_version, name(target));
    match why {
        Unscalable::Unknown { served } if served.is_empty() => {
            let message = format!(
                "{name}: the API server serves no kind {kind} of {api_version}. Write apiVersion and kind as in the manifest of {}, \
                 or install its definition",
                target.name
            );
            (Reason::TargetKindUnknown, message)
        }
        Unscalable::Unknown { served } => {
            let message = format!(
                "{name}: the API server serves {kind} not under {api_version}, but under {}. Write that as its apiVersion",
                served.join(" and ")
            );
            (Reason::TargetKindUnknown, message)
        }
        Unscalable::NotNamespaced => {
            let message = format!(
                "{name}: {kind} of {api_version} is not in a namespace, and only what is in the namespace of the OffsetReset can \
                 be a target. Check spec.targetRefs"
            );
            (Reason::TargetNotScalable, message)
        }
        Unscalable::NoScale => {
            let message = format!(
                "{name}: {kind} of {api_version} has no scale subresource. Name the workload that runs its pods if that one is not \
                 controlled by it; or stop those consumers yourself and leave it out of targetRefs: the reset waits until the \
                 group is empty"
            );
            (Reason::TargetNotScalable, message)
        }
        Unscalable::OtherResource { resource } => {
            let message = format!(
                "{name}: the resource of kind {kind} of {api_version} is called {resource}, and whether the creator of this OffsetReset may \
                 scale it was checked for {}. Write resource: {resource} in this targetRef",
                target.checked_resource()
            );
            (Reason::TargetKindUnknown, message)
        }
    }
}

fn of_itself(target: &TargetRef, workload: &Workload) -> Option<Refusal> {
    let (name, about) = (name(target), &workload.details);
    if let Some(owner) = &about.controller {
        let message = format!(
            "{name} is controlled by {}/{} ({}), which would scale it back. Name that one in targetRefs, if it has a scale \
             subresource; otherwise stop it by its own means and leave {name} out of targetRefs",
            owner.kind, owner.name, owner.api_version
        );
        return Some(Refusal::lasting(Reason::TargetHasController, message));
    }
    // At zero as well: somebody may scale it up between the plan and the stop.
    if about.deletes_volumes && !target.accept_volume_deletion {
        let message = format!(
            "{name} would lose its volumes: its spec.persistentVolumeClaimRetentionPolicy.whenScaled is Delete. Set that to Retain, or, if \
             its pods may come back with empty volumes, set acceptVolumeDeletion: true on this targetRef"
        );
        return Some(Refusal::lasting(Reason::VolumesWouldBeDeleted, message));
    }
    if let Some(reported) = about.unset.filter(|reported| *reported > 1) {
        let message = format!(
            "{name} does not say how many replicas it wants, and has {reported}: what it would have to get back is not known. Set \
             its replicas"
        );
        return Some(Refusal::lasting(Reason::TargetNotScalable, message));
    }
    let why = workload.refusal.as_ref()?;
    Some(Refusal::lasting(Reason::TargetUnreachable, format!("{name} cannot be scaled: {why}")))
}

/// The same workload under two names, such as two versions of its kind.
#[must_use]
pub(in crate::machine) fn named_twice(targets: &[TargetRef], seen: &[Seen<Workload>]) -> Option<Refusal> {
    let uid = |seen: &Seen<Workload>| match seen {
        Seen::Known(workload) => Some(workload.uid.clone()),
        Seen::Unknown(_) | Seen::Missing => None,
    };
    let uids: Vec<Option<String>> = seen.iter().map(uid).collect();
    let (first, second) = (0..uids.len())
        .flat_map(|second| (0..second).map(move |first| (first, second)))
        .find(|(first, second)| uids[*first].is_some() && uids[*first] == uids[*second])?;
    let (one, other) = (targets.get(first)?, targets.get(second)?);
    let message = format!(
        "targetRefs[{first}] and targetRefs[{second}] name the same workload: {} of {} and {} of {}. Name it once",
        name(one),
        one.api_version,
        name(other),
        other.api_version
    );
    Some(Refusal::lasting(Reason::InvalidSpec, message))
}

/// What is worth a look before the targets are stopped. None of it keeps the reset from running.
#[must_use]
pub(in crate::machine) fn warnings(targets: &[TargetRef], seen: &[Seen<Workload>]) -> Vec<String> {
    let known = targets.iter().zip(seen).filter_map(|(target, seen)| match seen {
        Seen::Known(workload) => Some((target, workload)),
        Seen::Unknown(_) | Seen::Missing => None,
    });
    known.flat_map(|(target, workload)| of_one(&name(target), workload)).collect()
}

fn of_one(name: &str, workload: &Workload) -> Vec<String> {
    let about = &workload.details;
    let mut warnings = replica_owners::gitops_warnings(name, &about.scalers);
    if about.deletes_volumes && workload.replicas > 0 {
        warnings.push(format!(
            "{name} loses its volumes when it is scaled to zero, as acceptVolumeDeletion allows: its pods come back with empty ones"
        ));
    }
    if about.unset.is_some() {
        warnings.push(format!("{name} does not say how many replicas it wants: that counts as 1, and 1 is what it gets back"));
    }
    // An autoscaler leaves alone what somebody else has scaled to zero, unless it says that it was the one itself.
    for autoscaler in about.autoscalers.iter().filter(|found| found.min_replicas == 0 || found.scaled_to_zero) {
        warnings.push(format!(
            "HorizontalPodAutoscaler/{} may scale {name} up from zero while it is held there, because its minReplicas is {} and its \
             condition ScaledToZero {}. Set its minReplicas to 1 and wait until that condition is gone or False, until the reset is over",
            autoscaler.name,
            autoscaler.min_replicas,
            if autoscaler.scaled_to_zero { "is True" } else { "may become True" }
        ));
    }
    if let Some(unseen) = &about.unseen {
        warnings.push(format!("{name}: {unseen}"));
    }
    warnings
}
