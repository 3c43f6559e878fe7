//! Stopping: original replicas first recorded (status and Lease), what scales a target by itself paused, then every target to zero,
//! then the wait for the last container.

use crate::api::{ActionKind, ConditionType, Phase, Reason};
use crate::machine::{coordination::queue, limits::MAX_REHOLDS, plan::termination};
use crate::machine::{
    coordination::scaled_object,
    decision::{Decision, Effect},
    facts::{Claim, Hold, Pod, Seen, Workload},
    guards::Guard,
    pass::{Pass, UNSEEN_RETRY},
    plan::replica_owners::{self, Culprits},
    request::Request,
    text::name,
    time::{clock, later},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

/// Pods are watched; this is only for the case that an event was missed.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(2);

/// How soon it looks again whether a workload that another reset is stopping is at zero.
const SHARED: SignedDuration = SignedDuration::from_millis(200);

/// How long after the end of its grace a kubelet may take to kill a pod's containers and to say so.
const KILLED_WITHIN: SignedDuration = SignedDuration::from_secs(20);

/// How many pods a message names.
const NAMED_PODS: usize = 5;

pub(in crate::machine) fn decide(mut pass: Pass<'_>, request: &Request) -> Decision {
    // Only with the finalizer on can the object not go away while something is held for it. It is also what others of the same group
    // look for: the caller lets one in at a time.
    if Guard::FinalizerFirst.stops(!pass.seen.finalizer) {
        return let_in(pass);
    }
    for index in 0..pass.status.targets.len() {
        match pass.seen.targets.get(index) {
            None | Some(Seen::Unknown(_)) => {}
            Some(Seen::Missing) => return replaced(pass, index, "does not exist any more"),
            Some(Seen::Known(workload)) if Guard::SameWorkloadToStop.stops(workload.uid != pass.status.targets[index].uid) => {
                return replaced(pass, index, "was deleted and created anew");
            }
            Some(Seen::Known(workload)) => {
                if let Some(decision) = stop(&mut pass, request, index, workload) {
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
        None => format!("waits for the containers of {}{}", running(&pass.pods(), pass.now), blocked(&pass)),
    };
    pass.wait(Reason::WaitingForContainers, message, LOOK_AGAIN)
}

/// Puts the finalizer on, unless somebody has come first since the plan.
fn let_in(mut pass: Pass<'_>) -> Decision {
    let Some(other) = queue::waits_for(&pass) else { return pass.act(Effect::AddFinalizer) };
    // What was taken up is held already, and its hold stays what bounds it.
    if pass.status.targets.iter().any(|target| target.stop_requested) {
        return pass.wait(Reason::WaitingForOtherReset, other, SHARED);
    }
    pass.status.hold = None;
    pass.go_on(Phase::Pending, Reason::WaitingForOtherReset, other)
}

/// Takes one target a step towards zero; `None` when it needs none.
///
/// First the Lease says from how many replicas it is held, then it is scaled: so that whoever finds it at zero knows what it had, also when
/// this object is gone.
fn stop(pass: &mut Pass<'_>, request: &Request, index: usize, workload: &Workload) -> Option<Decision> {
    let hold = match pass.seen.holds.get(index) {
        Some(Seen::Known(hold)) => Some(hold),
        Some(Seen::Missing) => None,
        Some(Seen::Unknown(why)) => {
            let message = format!(
                "cannot read the Lease that says who holds {}: {why}. It is not stopped before that",
                name(&pass.status.targets[index])
            );
            return Some(pass.take().wait(Reason::TargetUnreachable, message, UNSEEN_RETRY));
        }
        None => return None,
    };
    let Some(hold) = hold.filter(|hold| Guard::ClaimedFirst.holds(hold.is_claimed_by(&pass.seen.uid))) else {
        return claim(pass, request, index, workload, hold);
    };
    // The Lease's count is the one that comes back, whoever has written it.
    let target = &mut pass.status.targets[index];
    target.stop_requested = true;
    target.original_replicas = hold.replicas;
    if workload.replicas == 0 {
        target.stopped = true;
        return None;
    }
    if Guard::NotSeenAtZero.stops(target.stopped) {
        if let Some(decision) = scaled_up(pass, index, workload) {
            return Some(decision);
        }
    } else if Guard::NotHeldAgain.holds(target.scaled_up_by_others == 0)
        && workload.replicas != hold.replicas
        && hold.claims.len() == 1
    {
        // Until it was seen at zero, the count that counts is the one that is there now: an autoscaler may have changed it meanwhile. The
        // stop is bound to the version that was read together with the count.
        let hold = Hold { replicas: workload.replicas, ..hold.clone() };
        target.original_replicas = workload.replicas;
        return Some(pass.take().act(Effect::Claim { target: index, hold }));
    }
    if let Some(decision) = scaled_object::quieten(pass, index) {
        return Some(decision);
    }
    let effect =
        Effect::Scale { target: index, resource_version: workload.resource_version.clone(), replicas: 0, kind: ActionKind::Stop };
    Some(pass.take().act(effect))
}

/// Somebody has scaled a target up while it is held: scaled down again, but not for ever.
fn scaled_up(pass: &mut Pass<'_>, index: usize, workload: &Workload) -> Option<Decision> {
    let said = pass.offsets_said();
    let held_since = pass.status.hold.as_ref().map_or(pass.now, |hold| hold.start_time.0);
    let target = &mut pass.status.targets[index];
    target.stopped = false;
    target.scaled_up_by_others += 1;
    let (times, name) = (target.scaled_up_by_others, name(target));
    let Culprits { who, advice } = replica_owners::culprits(&workload.details, held_since);
    if times > MAX_REHOLDS {
        let message = format!(
            "{name} was scaled up {times} times while it was held at zero, the last time by {who} to {}. {advice} Then apply the reset again \
             under a new name. {said}",
            workload.replicas
        );
        return Some(pass.take().finish(Phase::Failed, Reason::ScaledUpByOthers, message));
    }
    let message =
        format!("{who} scaled {name} up to {} while it is held at zero; it is scaled down again. {advice}", workload.replicas);
    pass.note(true, Reason::ScaledUpByOthers, &message, Some(index));
    pass.say(Reason::ScaledUpByOthers, message);
    None
}

/// Makes a claim on a workload, which is not scaled before that stands; `None` when there is nothing to claim.
fn claim(pass: &mut Pass<'_>, request: &Request, index: usize, workload: &Workload, hold: Option<&Hold>) -> Option<Decision> {
    let own = Claim { uid: pass.seen.uid.clone(), name: request.name.clone(), key: request.key.clone() };
    let (since, until) = pass.status.hold.as_ref().map_or((pass.now, pass.now), |hold| (hold.start_time.0, hold.deadline.0));
    // What was left of a hold that is over is in nobody's way: this one is written over it.
    let left = hold.filter(|hold| hold.is_over(&pass.seen.others, pass.now));
    let (hold, version) = match left {
        Some(left) if workload.replicas != 0 || left.was_restored(&pass.seen.others) => (None, left.version.clone()),
        Some(_) | None => (hold, String::new()),
    };
    let target = &mut pass.status.targets[index];
    let name = name(target);
    // Held already, with a count that is saved and a Lease that is missing: deleted by hand, or never made by an earlier version.
    let was_held = target.stopped || (target.stop_requested && workload.replicas == 0);
    let saved = Some(target.original_replicas).filter(|saved| was_held && *saved > 0);
    let hold = match hold {
        // At zero before we came: there is nothing to stop, and nothing to bring back.
        None if workload.replicas == 0 && saved.is_none() => {
            target.original_replicas = 0;
            return None;
        }
        None => Hold {
            version,
            workload: name.clone(),
            uid: workload.uid.clone(),
            replicas: saved.unwrap_or(workload.replicas),
            since,
            until,
            claims: vec![own],
        },
        // Whoever holds it is just stopping it, or stops it again. Joined at zero, it has one count only.
        Some(hold) if workload.replicas != 0 => {
            let message = format!("waits until {name} is at zero for {}, to share that stop", hold.others(&pass.seen.uid));
            return Some(pass.take().wait(Reason::WaitingForOtherReset, message, SHARED));
        }
        Some(hold) => {
            let mut claims = hold.claims.clone();
            claims.push(own);
            Hold { claims, until: hold.until.max(until), ..hold.clone() }
        }
    };
    // Whoever joins says so before the Lease does, for those who would bring it back meanwhile. Whoever stops it has asked for nothing until
    // the Lease says so: somebody else may scale it to zero before that.
    target.stop_requested |= hold.claims.len() > 1;
    target.original_replicas = hold.replicas;
    if saved.is_some() {
        let message =
            format!("the Lease that says that {name} is held, from {} replicas, was missing and is made again", hold.replicas);
        pass.note(true, Reason::ScaledToZero, message, None);
    } else if hold.claims.len() == 1 {
        let message = format!("scaled to zero from {} replicas to reset the group's offsets; they come back", hold.replicas);
        pass.note(false, Reason::ScaledToZero, message, Some(index));
    } else {
        let message = format!("shares the stop of {name} with {}", hold.others(&pass.seen.uid));
        since_the_first_stop(pass, hold.since);
        pass.note(false, Reason::ScaledToZero, message, None);
    }
    Some(pass.take().act(Effect::Claim { target: index, hold }))
}

/// The time at zero counts from the first stop.
fn since_the_first_stop(pass: &mut Pass<'_>, first: Timestamp) {
    let Some(hold) = &mut pass.status.hold else { return };
    let earlier = hold.start_time.0.duration_since(first);
    if earlier.is_positive() {
        hold.start_time = MicroTime(first);
        hold.deadline = MicroTime(hold.deadline.0.checked_sub(earlier).unwrap_or(hold.deadline.0));
    }
}

/// The last container has ended: from here the session timeout and the drain timeout count.
fn gone(mut pass: Pass<'_>, request: &Request) -> Decision {
    let now = pass.now;
    let Some(hold) = &mut pass.status.hold else { return pass.again() };
    let session_end = MicroTime(later(now, request.session_timeout));
    let drain_deadline = MicroTime(later(now, request.drain_timeout).min(hold.deadline.0));
    hold.containers_terminated_time = Some(MicroTime(now));
    hold.session_end_time = Some(session_end);
    hold.drain_deadline = Some(drain_deadline);
    let message = if pass.status.targets.is_empty() {
        "there are no targets to stop"
    } else {
        "the last container of the targets has ended"
    };
    pass.condition(ConditionType::ConsumersStopped, Some(true), Reason::ContainersTerminated, message);
    pass.go_on(Phase::Draining, Reason::WaitingForGroup, "asks the broker whether the group is free")
}

fn replaced(pass: Pass<'_>, index: usize, what: &str) -> Decision {
    let message = format!("{} {what}; it is left alone. {}", name(&pass.status.targets[index]), pass.offsets_said());
    pass.finish(Phase::Failed, Reason::TargetReplaced, message)
}

/// The stop was refused for good: what was stopped already comes back.
pub(in crate::machine) fn refused(pass: Pass<'_>, index: usize, why: &str) -> Decision {
    let name = pass.status.targets.get(index).map(name).unwrap_or_default();
    let message = format!("{name} could not be scaled to zero: {why}. {}", pass.offsets_said());
    pass.finish(Phase::Failed, Reason::TargetUnreachable, message)
}

/// The API server has set zero replicas: any other count that is found from here on was set afterwards.
pub(in crate::machine) fn accepted(mut pass: Pass<'_>, index: usize) -> Decision {
    if let Some(target) = pass.status.targets.get_mut(index) {
        target.stopped = true;
    }
    pass.again()
}

/// An admission policy or webhook has put another count in the place of zero, which the dry run of the plan did not show.
pub(in crate::machine) fn overridden(mut pass: Pass<'_>, index: usize, count: i32) -> Decision {
    let Some(target) = pass.status.targets.get_mut(index) else { return pass.again() };
    target.overridden_replicas = Some(count);
    let message = format!(
        "An admission policy or webhook changed the 0 replicas of {} to {count}. {}. Exempt the operator's ServiceAccount from it, or stop \
         the consumers by other means and leave the workload out of targetRefs",
        name(&pass.status.targets[index]),
        pass.offsets_said()
    );
    pass.finish(Phase::Failed, Reason::ReplicasOverridden, message)
}

/// It could not be recorded that the workload is held, so it is not stopped.
pub(in crate::machine) fn claim_refused(pass: Pass<'_>, index: usize, why: &str) -> Decision {
    let name = pass.status.targets.get(index).map(name).unwrap_or_default();
    let message = format!(
        "{name} was not stopped, because the Lease that says from how many replicas it is held could not be written: {why}. {}",
        pass.offsets_said()
    );
    pass.finish(Phase::Failed, Reason::TargetUnreachable, message)
}

/// The pods that still run, in words that do not change while nothing changes.
fn running(pods: &[&Pod], now: Timestamp) -> String {
    let mut running: Vec<&&Pod> = pods.iter().filter(|pod| !pod.ended).collect();
    // Those that need somebody come first.
    running.sort_by_key(|pod| (!is_lost(pod, now), &pod.name));
    if running.is_empty() {
        return "the targets".to_owned();
    }
    let mut names: Vec<String> = running.iter().take(NAMED_PODS).map(|pod| describe(pod, now)).collect();
    if running.len() > NAMED_PODS {
        names.push(format!("{} more pods", running.len() - NAMED_PODS));
    }
    let names = names.join(", ");
    if !running.iter().any(|pod| is_lost(pod, now)) {
        return names;
    }
    format!(
        "{names}. A node that does not answer cannot say whether containers there have ended. Bring it back; or make sure that the machine \
         is off, and then delete the pod with kubectl delete pod --grace-period=0 --force. It is waited for until holdTimeout is over"
    )
}

/// What keeps a controller from deleting more pods.
fn blocked(pass: &Pass<'_>) -> String {
    let blocking = pass.status.targets.iter().zip(&pass.seen.targets).find_map(|(target, seen)| match seen {
        Seen::Known(workload) => termination::blocking_pod(workload).map(|pod| (name(target), pod.name.clone())),
        Seen::Unknown(_) | Seen::Missing => None,
    });
    blocking.map_or_else(String::new, |(name, pod)| {
        format!(
            ". {name} is OrderedReady, and its controller deletes no more pods while pod {pod} is not ready: delete the pods that are not \
             ready (kubectl delete pod {pod})"
        )
    })
}

fn describe(pod: &Pod, now: Timestamp) -> String {
    let node = pod.node.as_deref().unwrap_or("its node");
    match &pod.deletion {
        Some(until) if is_lost(pod, now) => {
            let until = clock(&MicroTime(*until));
            format!(
                "pod {} (its grace was over at {until}, and node {node} has not said that its containers have ended)",
                pod.name
            )
        }
        Some(until) => format!("pod {} (terminating, grace until {})", pod.name, clock(&MicroTime(*until))),
        None => format!("pod {}", pod.name),
    }
}

/// It should have been killed for long: its node does not answer.
fn is_lost(pod: &Pod, now: Timestamp) -> bool {
    pod.deletion.is_some_and(|until| now > later(until, KILLED_WITHIN))
}
