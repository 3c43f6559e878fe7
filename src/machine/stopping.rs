//! Stopping: original replicas first recorded, then every target to zero, then the wait for the last container.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{
    Decision, Effect,
    observed::Seen,
    pass::{Pass, clock, later, name},
    request::Request,
    sharing,
    world::{Pod, Workload},
};
use crate::api::{ActionKind, ConditionType, Phase, Reason};

/// How many times a target that somebody scales up is scaled down again before the reset gives way.
pub const MAX_REHOLDS: i32 = 3;

/// Pods are watched; this is only for the case that an event was missed.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(2);

/// How many pods a message names.
const NAMED_PODS: usize = 5;

pub(super) fn decide(mut pass: Pass<'_>, request: &Request) -> Decision {
    // Only with the finalizer on can the object not go away while something is held for it.
    if !pass.seen.finalizer {
        return pass.act(Effect::AddFinalizer);
    }
    for index in 0..pass.status.targets.len() {
        match pass.seen.targets.get(index) {
            None | Some(Seen::Unknown(_)) => {}
            Some(Seen::Missing) => return replaced(pass, index, "does not exist any more"),
            Some(Seen::Known(workload)) if workload.uid != pass.status.targets[index].uid => {
                return replaced(pass, index, "was deleted and created anew");
            }
            Some(Seen::Known(workload)) => {
                if let Some(decision) = stop(&mut pass, index, workload) {
                    return decision;
                }
            }
        }
    }
    if pass.consumers_are_gone() {
        return gone(pass, request);
    }
    let message = match pass.unseen_target() {
        Some(problem) => format!("cannot see whether the consumers have stopped: {problem}"),
        None => format!("waits for the containers of {}", running(&pass.pods())),
    };
    pass.wait(Reason::WaitingForContainers, message, LOOK_AGAIN)
}

/// Takes one target a step towards zero; `None` when it needs none.
fn stop(pass: &mut Pass<'_>, index: usize, workload: &Workload) -> Option<Decision> {
    let said = pass.offsets_said();
    let target = &mut pass.status.targets[index];
    if workload.replicas == 0 {
        if !target.stop_requested {
            // A target that was at zero before we came is not ours to restore, unless another reset holds it there.
            join(pass, index, &workload.uid);
        }
        let target = &mut pass.status.targets[index];
        target.stopped = target.stop_requested;
        return None;
    }
    if target.stopped {
        target.stopped = false;
        target.scaled_up_by_others += 1;
        let (times, name) = (target.scaled_up_by_others, name(target));
        if times > MAX_REHOLDS {
            let message = format!(
                "somebody scaled {name} up {times} times while it was held at zero (now to {}). Find out who owns its replicas \
                 (an autoscaler, a GitOps tool) and make them leave spec.replicas alone. {said}",
                workload.replicas
            );
            return Some(pass.take().finish(Phase::Failed, Reason::ScaledUpByOthers, message));
        }
        let message =
            format!("somebody scaled {name} up to {} while it is held at zero; it is scaled down again", workload.replicas);
        pass.note(true, Reason::ScaledUpByOthers, message, Some(index));
    } else if !target.stop_requested || target.scaled_up_by_others == 0 {
        // Until it was seen at zero, the count that counts is the one that is there now, read together with the
        // version that the stop is bound to: an autoscaler may have changed it since the plan.
        target.original_replicas = workload.replicas;
    }
    let target = &mut pass.status.targets[index];
    if !target.stop_requested {
        target.stop_requested = true;
        let message =
            format!("scaled to zero from {} replicas to reset the group's offsets; they come back", target.original_replicas);
        pass.note(false, Reason::ScaledToZero, message, Some(index));
    }
    let effect =
        Effect::Scale { target: index, resource_version: workload.resource_version.clone(), replicas: 0, kind: ActionKind::Stop };
    Some(pass.take().act(effect))
}

/// Shares a stop with another reset: from here on the workload stays at zero until both are done, and the count that
/// comes back is the one that the other has saved. The time at zero counts from the first stop.
fn join(pass: &mut Pass<'_>, index: usize, workload_uid: &str) {
    let Some((holder, held)) = sharing::holder(&pass.seen.uid, workload_uid, &pass.seen.others) else { return };
    let message = format!("shares the stop of OffsetReset {}/{}", holder.namespace, holder.name);
    let target = &mut pass.status.targets[index];
    target.stop_requested = true;
    target.original_replicas = held.original_replicas;
    if let (Some(hold), Some(first)) = (&mut pass.status.hold, holder.hold_start) {
        let earlier = hold.start_time.0.duration_since(first);
        if earlier.is_positive() {
            hold.start_time = MicroTime(first);
            hold.deadline = MicroTime(hold.deadline.0.checked_sub(earlier).unwrap_or(hold.deadline.0));
        }
    }
    pass.note(false, Reason::ScaledToZero, message, None);
}

/// The last container has ended: from here the session timeout and the drain timeout count.
fn gone(mut pass: Pass<'_>, request: &Request) -> Decision {
    let now = pass.now;
    let Some(hold) = &mut pass.status.hold else { return pass.again() };
    let session_end = MicroTime(later(now, request.session_timeout));
    let drain_deadline = MicroTime(later(now, request.drain_timeout).min(hold.deadline.0));
    hold.containers_ended_time = Some(MicroTime(now));
    hold.session_end_time = Some(session_end);
    hold.drain_deadline = Some(drain_deadline);
    let message = if pass.status.targets.is_empty() {
        "there are no targets to stop"
    } else {
        "the last container of the targets has ended"
    };
    pass.condition(ConditionType::ConsumersStopped, Some(true), Reason::ContainersEnded, message);
    pass.go_on(Phase::Draining, Reason::WaitingForGroup, "asks the broker whether the group is free")
}

fn replaced(pass: Pass<'_>, index: usize, what: &str) -> Decision {
    let message = format!("{} {what}; it is left alone. {}", name(&pass.status.targets[index]), pass.offsets_said());
    pass.finish(Phase::Failed, Reason::TargetReplaced, message)
}

/// The stop was refused for good: what was stopped already comes back.
pub(super) fn refused(pass: Pass<'_>, index: usize, why: &str) -> Decision {
    let name = pass.status.targets.get(index).map(name).unwrap_or_default();
    let message = format!("{name} could not be scaled to zero: {why}. {}", pass.offsets_said());
    pass.finish(Phase::Failed, Reason::TargetUnreachable, message)
}

/// The pods that still run, in words that do not change while nothing changes.
fn running(pods: &[&Pod]) -> String {
    let mut running: Vec<&&Pod> = pods.iter().filter(|pod| !pod.ended).collect();
    running.sort_by(|a, b| a.name.cmp(&b.name));
    if running.is_empty() {
        return "the targets".to_owned();
    }
    let mut names: Vec<String> = running
        .iter()
        .take(NAMED_PODS)
        .map(|pod| match &pod.deletion {
            Some(until) => format!("pod {} (terminating, grace until {})", pod.name, clock(&MicroTime(*until))),
            None => format!("pod {}", pod.name),
        })
        .collect();
    if running.len() > NAMED_PODS {
        names.push(format!("{} more pods", running.len() - NAMED_PODS));
    }
    names.join(", ")
}
