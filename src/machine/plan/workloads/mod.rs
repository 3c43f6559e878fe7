//! Why a target cannot be stopped, and warnings about stopping it; found while its consumers still
//! run.

pub(in crate::machine) mod connectors;

use super::replica_owners;
use crate::api::{Reason, TargetRef};
use crate::machine::{
    facts::{Seen, Unscalable, Workload},
    refusal::Refusal,
    text::{Message, name_ref as name},
};

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
            let message = Message::naming([&name], |[name]| format!("{name} does not exist in this namespace"))
                .advice("Correct spec.targetRefs, and create the reset under a new name");
            Some(Refusal::lasting(Reason::TargetNotFound, message))
        }
        Seen::Unknown(why) => {
            let message = Message::naming([&name], |[name]| format!("{name} could not be read")).detail(why);
            Some(Refusal::passing(Reason::TargetUnreachable, message))
        }
    }
}

fn of_its_kind(target: &TargetRef, why: &Unscalable) -> (Reason, Message) {
    let (kind, api_version, name) = (&target.kind, &target.api_version, name(target));
    let about = |what: &str| Message::naming([&name], |[name]| format!("{name} cannot be scaled: {what}"));
    match why {
        Unscalable::Unknown { served } if served.is_empty() => {
            let message = about("the API server does not serve its kind")
                .detail(format!("No kind {kind} of {api_version} is served"))
                .advice(format!("Write apiVersion and kind as in the manifest of {}, or install its CRD", target.name));
            (Reason::TargetKindUnknown, message)
        }
        Unscalable::Unknown { served } => {
            let message = about("its apiVersion is not served")
                .detail(format!("The API server does not serve {kind} under {api_version}, but under {}", served.join(" and ")))
                .advice("Write that as its apiVersion, and create the reset under a new name");
            (Reason::TargetKindUnknown, message)
        }
        Unscalable::NotNamespaced => {
            let message = about("its kind is not namespaced")
                .detail(format!("{kind} of {api_version} is not in the namespace of the OffsetReset"))
                .advice("Correct spec.targetRefs, and create the reset under a new name");
            (Reason::TargetNotScalable, message)
        }
        Unscalable::NoScale => {
            let message = about("its kind has no scale subresource").detail(format!("The kind is {kind} of {api_version}")).advice(
                "Name the workload that runs its pods, if that one is not controlled by it; or stop those consumers yourself and leave it \
                 out of targetRefs: the reset waits until the group is empty",
            );
            (Reason::TargetNotScalable, message)
        }
        Unscalable::OtherResource { resource } => {
            let message = about("its resource has another name")
                .detail(format!(
                    "The resource of kind {kind} of {api_version} is {resource}, and the right of this OffsetReset's creator to scale it was \
                     checked for {}",
                    target.checked_resource()
                ))
                .advice(format!("Write resource: {resource} in this targetRef, and create the reset under a new name"));
            (Reason::TargetKindUnknown, message)
        }
    }
}

fn of_itself(target: &TargetRef, workload: &Workload) -> Option<Refusal> {
    let (name, about) = (name(target), &workload.details);
    if let Some(refusal) = about.connector.as_ref().and_then(|connector| connectors::refusal(target, connector)) {
        return Some(refusal);
    }
    if let Some(owner) = &about.controller {
        let message = Message::naming([&name], |[name]| format!("{name} is controlled by another object, which would scale it up"))
            .detail(format!("That is {}/{} ({})", owner.kind, owner.name, owner.api_version))
            .advice(format!(
                "Name {}/{} in targetRefs, if it has a scale subresource; otherwise stop the consumers yourself and leave {name} out of \
                 targetRefs",
                owner.kind, owner.name
            ));
        return Some(Refusal::lasting(Reason::TargetHasController, message));
    }
    // Even at zero: it may be scaled up between the plan and the stop.
    if about.deletes_volumes && !target.accept_volume_deletion {
        let message = Message::naming([&name], |[name]| format!("{name} would lose its volumes when it is scaled to zero"))
            .detail("Its spec.persistentVolumeClaimRetentionPolicy.whenScaled is Delete")
            .advice(
                "Set whenScaled to Retain, or, if its pods may start with empty volumes, set acceptVolumeDeletion: true on this targetRef",
            );
        return Some(Refusal::lasting(Reason::VolumesWouldBeDeleted, message));
    }
    if let Some(reported) = about.unset.filter(|reported| *reported > 1) {
        let message =
            Message::naming([&name], |[name]| format!("{name} has no spec.replicas, so the count to restore is unknown"))
                .detail(format!("It reports {reported} running replicas"))
                .advice("Set its spec.replicas, and create the reset under a new name");
        return Some(Refusal::lasting(Reason::TargetNotScalable, message));
    }
    let why = workload.refusal.as_ref()?;
    let message = if target.is_connector() {
        connectors::not_stoppable(&name, why)
    } else {
        Message::naming([&name], |[name]| format!("{name} cannot be scaled by the operator"))
            .detail(why.to_string())
            .advice("Grant the right or remove what refuses the request, and create the reset under a new name")
    };
    Some(Refusal::from_denial(why, Reason::TargetUnreachable, message))
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
    let message = Message::new(format!("targetRefs[{first}] and targetRefs[{second}] name the same workload"))
        .detail(format!("They are {} of {} and {} of {}", name(one), one.api_version, name(other), other.api_version))
        .advice("Name it once, and create the reset under a new name");
    Some(Refusal::lasting(Reason::InvalidSpec, message))
}

/// Warnings about stopping the targets. None of them keeps the reset from running.
#[must_use]
pub(in crate::machine) fn warnings(targets: &[TargetRef], seen: &[Seen<Workload>]) -> Vec<String> {
    let known = targets.iter().zip(seen).filter_map(|(target, seen)| match seen {
        Seen::Known(workload) => Some((target, workload)),
        Seen::Unknown(_) | Seen::Missing => None,
    });
    known.flat_map(|(target, workload)| of_one(target, workload)).collect()
}

fn of_one(target: &TargetRef, workload: &Workload) -> Vec<String> {
    let (name, about) = (name(target), &workload.details);
    let mut warnings = replica_owners::gitops_warnings(target, about);
    if about.deletes_volumes && workload.replicas > 0 {
        warnings.push(format!(
            "{name} loses its volumes when it is scaled to zero, as acceptVolumeDeletion allows: its pods start with empty ones"
        ));
    }
    if about.unset.is_some() {
        warnings.push(format!("{name} has no spec.replicas, which counts as 1: it is restored to 1 replica"));
    }
    // An autoscaler leaves a workload alone that another client has scaled to zero, unless it
    // reports that it did so itself.
    for autoscaler in about.autoscalers.iter().filter(|found| found.min_replicas == 0 || found.scaled_to_zero) {
        warnings.push(format!(
            "HorizontalPodAutoscaler/{} may scale {name} up from zero while it is held there, because its minReplicas is {} and its \
             condition ScaledToZero {}. Set its minReplicas to 1 until the reset is over, and wait until that condition is gone or False",
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
