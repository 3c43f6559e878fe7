//! Stopping: the original replicas are recorded first (status and Lease) and the ScaledObjects
//! paused, then every target is scaled to zero, and then the reset waits for the last container.

use crate::api::{ActionKind, ConditionType, OffsetResetStatus, Phase, Reason};
use crate::machine::{
    coordination::{queue, scaled_object},
    decision::{Decision, Effect},
    facts::{Claim, Hold, Observed, Pod, Rollout, Seen, Workload, group},
    guards::Guard,
    limits::MAX_REHOLDS,
    pass::{Pass, UNSEEN_RETRY},
    plan::{
        membership::Session,
        replica_owners::{self, Responsible},
        rollout, stoppable, termination,
    },
    request::Request,
    text::{Message, count, name},
    time::{clock, later},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

/// Pods are watched; this is only for the case that an event was missed.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(2);

/// How soon it looks again whether a connector has stopped: connectors are not watched.
const LOOK_AT_CONNECTOR: SignedDuration = SignedDuration::from_millis(500);

/// How soon it looks again whether a workload that another reset is stopping is at zero.
const SHARED: SignedDuration = SignedDuration::from_millis(200);

/// How long after the grace period a kubelet may take to kill a pod's containers and to report it.
const KILLED_WITHIN: SignedDuration = SignedDuration::from_secs(20);

/// How many pods a message names.
const NAMED_PODS: usize = 5;

pub(in crate::machine) fn decide(mut pass: Pass<'_>, request: &Request) -> Decision {
    // With the finalizer on, the object cannot go away while a workload is held for it. Other
    // resets of the same group look for it, too: the caller admits one at a time.
    if !Guard::FinalizerFirst.allows(pass.seen.finalizer) {
        return admit(pass);
    }
    if let Some(message) = queue::canary_of_another(&pass) {
        return pass.wait(Reason::WaitingForOtherReset, message, SHARED);
    }
    for index in 0..pass.status.targets.len() {
        match pass.seen.targets.get(index) {
            None | Some(Seen::Unknown(_)) => {}
            Some(Seen::Missing) => return replaced(pass, index, "does not exist any more"),
            Some(Seen::Known(workload)) if !Guard::SameWorkloadToStop.allows(workload.uid == pass.status.targets[index].uid) => {
                return replaced(pass, index, "was deleted and recreated");
            }
            Some(Seen::Known(workload)) => {
                if let Some(decision) = stop(&mut pass, request, index, workload) {
                    return decision;
                }
            }
        }
    }
    if pass.consumers_are_stopped() {
        return stopped(pass, request);
    }
    let message = match pass.unseen_target() {
        Some(problem) => Message::new("The operator cannot see whether the consumers have stopped")
            .detail(problem)
            .detail("No offset is committed before that, and the operator looks again every two seconds"),
        None => with_what_blocks(running(&pass.pods(), pass.now), &pass),
    };
    let awaits_tasks = pass.pods().iter().any(|pod| pod.tasks.is_some() && !pod.terminated);
    pass.wait(Reason::WaitingForContainers, message, if awaits_tasks { LOOK_AT_CONNECTOR } else { LOOK_AGAIN })
}

/// Adds the finalizer, unless another reset has come first since the plan.
fn admit(mut pass: Pass<'_>) -> Decision {
    let Some(other) = queue::waits_for(&pass) else { return pass.act(Effect::AddFinalizer) };
    // A resumed run holds its targets already, and its hold still has its deadline.
    if pass.status.targets.iter().any(|target| target.stop_requested) {
        return pass.wait(Reason::WaitingForOtherReset, other, SHARED);
    }
    pass.status.hold = None;
    pass.status.receipt = None;
    pass.go_on(Phase::Pending, Reason::WaitingForOtherReset, other)
}

/// Takes one target a step towards zero; `None` when there is nothing to do.
///
/// The Lease has the count that it is held from before it is scaled, so that the count is known
/// even when this object is gone.
fn stop(pass: &mut Pass<'_>, request: &Request, index: usize, workload: &Workload) -> Option<Decision> {
    if let Some(decision) = rollout_began(pass, request, index, workload) {
        return Some(decision);
    }
    let hold = match pass.seen.holds.get(index) {
        Some(Seen::Known(hold)) => Some(hold),
        Some(Seen::Missing) => None,
        Some(Seen::Unknown(why)) => {
            let name = name(&pass.status.targets[index]);
            let message = Message::naming([&name], |[name]| format!("{name} is not stopped yet: its Lease cannot be read"))
                .detail(why)
                .detail("The Lease shows which resets hold the workload; the operator tries again every second");
            return Some(pass.take().wait(Reason::TargetUnreachable, message, UNSEEN_RETRY));
        }
        None => return None,
    };
    let Some(hold) = hold.filter(|hold| Guard::ClaimedFirst.allows(hold.is_claimed_by(&pass.seen.uid))) else {
        return claim(pass, request, index, workload, hold);
    };
    let undoing = pass.status.is_undoing();
    let target = &mut pass.status.targets[index];
    target.stop_requested = true;
    target.take_from(hold);
    if workload.replicas == 0 {
        (target.stopped, target.canary_replicas) = (true, None);
        return None;
    }
    if !Guard::NotSeenAtZero.allows(!target.stopped) {
        if let Some(decision) = scaled_up(pass, index, workload) {
            return Some(decision);
        }
    } else if Guard::NotHeldAgain.allows(target.scaled_up_by_others == 0)
        && Guard::NotFromCanary.allows(hold.canary.is_none() && !undoing)
        && (workload.replicas, &workload.state) != (hold.replicas, &hold.state)
        && hold.claims.len() == 1
    {
        // Until the target was seen at zero, its current count is the one to restore: an autoscaler
        // may have changed it meanwhile. The stop is bound to the version that was read together
        // with the count.
        let hold = Hold { replicas: workload.replicas, state: workload.state.clone(), ..hold.clone() };
        target.take_from(&hold);
        return Some(pass.take().act(Effect::Claim { target: index, hold }));
    }
    if let Some(decision) = scaled_object::ensure_paused(pass, index) {
        return Some(decision);
    }
    let target = &pass.status.targets[index];
    if !target.stopped && target.scaled_up_by_others == 0 && !undoing {
        let message = if target.is_connector() {
            format!("stopped from {} for the offset reset; it will be restored afterwards", hold.size())
        } else {
            format!("scaled from {} to 0 replicas for the offset reset; they will be restored afterwards", hold.replicas)
        };
        pass.note(false, Reason::ScaledToZero, message, Some(index));
    }
    let resource_version = workload.resource_version.clone();
    let effect = Effect::Scale { target: index, resource_version, replicas: 0, state: None, kind: ActionKind::Stop };
    Some(pass.take().act(effect))
}

/// A rollout that began after the plan was made: the target is not stopped for the first time.
fn rollout_began(pass: &mut Pass<'_>, request: &Request, index: usize, workload: &Workload) -> Option<Decision> {
    let (target, status) = (request.targets.get(index)?, pass.status.targets.get(index)?);
    if workload.replicas == 0 || status.stopped || status.scaled_up_by_others > 0 || pass.status.is_undoing() {
        return None;
    }
    let rollout::Verdict::Refused(refusal) = rollout::check(target, workload, false) else { return None };
    // An autoscaler may have changed its replicas a moment ago. The status will tell soon, and holdTimeout bounds the wait.
    if workload.details.rollout == Rollout::Unobserved {
        let message = rollout::unobserved(&name(status)).detail("It is not stopped before that");
        return Some(pass.take().wait(Reason::WaitingForRollout, message, UNSEEN_RETRY));
    }
    let message = Message::naming([&name(status)], |[name]| format!("A rollout of {name} began after the plan was made"))
        .detail(refusal.message.details().unwrap_or_default())
        .detail(pass.offsets_changed())
        .advice("Complete the rollout or undo it, and create the reset again under a new name");
    Some(pass.take().finish(Phase::Failed, Reason::RolloutIncomplete, message))
}

/// A target was scaled up while it is held: it is scaled down again, up to [`MAX_REHOLDS`] times.
fn scaled_up(pass: &mut Pass<'_>, index: usize, workload: &Workload) -> Option<Decision> {
    let changed = pass.offsets_changed();
    let held_since = pass.status.hold.as_ref().map_or(pass.now, |hold| hold.start_time.0);
    let target = &mut pass.status.targets[index];
    target.stopped = false;
    target.scaled_up_by_others += 1;
    let (times, name, is_connector) = (target.scaled_up_by_others, name(target), target.is_connector());
    let size = if is_connector { workload.size() } else { workload.replicas.to_string() };
    let Responsible { who, advice } = replica_owners::responsible(target, &workload.details, held_since);
    if times > MAX_REHOLDS {
        let what = if is_connector { "started" } else { "scaled up" };
        let message = Message::naming([&name], |[name]| format!("{name} was {what} {times} times while it was held at zero"))
            .detail(format!("The last time {who} set it to {size}, and it is left there"))
            .detail(changed)
            .advice(advice)
            .advice("Then create the reset again under a new name");
        return Some(pass.take().finish(Phase::Failed, Reason::ScaledUpByOthers, message));
    }
    let message = Message::naming([&name], |[name]| {
        if is_connector {
            format!("{name} was set to {size}, and is stopped again")
        } else {
            format!("{name} was scaled up to {size}, and is scaled down again")
        }
    })
    .detail(format!("This was done by {who}, while the reset holds {name} at zero"))
    .advice(advice);
    pass.note(true, Reason::ScaledUpByOthers, message.full(), Some(index));
    pass.say(Reason::ScaledUpByOthers, message);
    None
}

/// Claims a workload, which is not scaled before the claim is written; `None` when there is nothing
/// to claim.
fn claim(pass: &mut Pass<'_>, request: &Request, index: usize, workload: &Workload, hold: Option<&Hold>) -> Option<Decision> {
    let own = Claim { uid: pass.seen.uid.clone(), name: request.name.clone(), key: request.key.clone() };
    let (since, until) = pass.status.hold.as_ref().map_or((pass.now, pass.now), |hold| (hold.start_time.0, hold.deadline.0));
    // The rest of a hold that is over blocks no reset: this claim is written over it.
    let left = hold.filter(|hold| hold.is_over(&pass.seen.others, pass.now));
    let (hold, version) = match left {
        // A canary of it still runs, until its workload is restored.
        Some(left) if left.canary == Some(workload.replicas) && !left.was_restored(&pass.seen.others) => (hold, String::new()),
        Some(left) if workload.replicas != 0 || left.was_restored(&pass.seen.others) => (None, left.version.clone()),
        Some(_) | None => (hold, String::new()),
    };
    let undoing = pass.status.is_undoing();
    let canary = pass.status.canary.as_ref().filter(|_| undoing).map(|canary| canary.replicas);
    let target = &mut pass.status.targets[index];
    let name = name(target);
    // Held already, with a saved count and without a Lease: it was deleted by hand, or an earlier
    // version created none.
    let was_held = target.stopped || (target.stop_requested && (workload.replicas == 0 || undoing));
    let saved = Some(target.original_replicas).filter(|saved| was_held && *saved > 0);
    let hold = match hold {
        // At zero before the reset: there is nothing to stop and nothing to restore.
        None if workload.replicas == 0 && saved.is_none() => {
            target.found_as(workload);
            return None;
        }
        None => Hold {
            version,
            workload: name.clone(),
            uid: workload.uid.clone(),
            replicas: saved.unwrap_or(workload.replicas),
            // A target that was at zero before the reset has no canary.
            canary: canary.filter(|_| saved.is_some()).map(|count| count.min(target.original_replicas)),
            state: if saved.is_some() { target.original_state.clone() } else { workload.state.clone() },
            since,
            until,
            claims: vec![own],
        },
        // The other reset is just stopping it, or stops it again. It is joined at zero, where there
        // is only one count; and not while it has a canary.
        Some(hold) if workload.replicas != 0 || hold.canary.is_some() => {
            let others = hold.others(&pass.seen.uid);
            let message =
                Message::naming([&name, &others], |[name, others]| format!("Waiting until {name} is at zero for {others}"))
                    .detail("Both resets then share one stop");
            return Some(pass.take().wait(Reason::WaitingForOtherReset, message, SHARED));
        }
        Some(hold) => {
            let mut claims = hold.claims.clone();
            claims.push(own);
            Hold { claims, until: hold.until.max(until), ..hold.clone() }
        }
    };
    // A reset that joins records that before the Lease does, for those that would restore it
    // meanwhile. The reset that stops it has asked for nothing until the Lease has its claim: its
    // owner may scale it to zero before that.
    target.stop_requested |= hold.claims.len() > 1;
    target.take_from(&hold);
    if saved.is_some() {
        let message = format!("the Lease of {name}, which is held from {}, was missing and is created again", hold.size());
        pass.note(true, Reason::ScaledToZero, message, None);
    } else if hold.claims.len() > 1 {
        let message = format!("shares the stop of {name} with {}", hold.others(&pass.seen.uid));
        since_the_first_stop(pass, hold.since);
        pass.note(false, Reason::ScaledToZero, message, None);
    }
    Some(pass.take().act(Effect::Claim { target: index, hold }))
}

/// The hold counts from the first stop.
fn since_the_first_stop(pass: &mut Pass<'_>, first: Timestamp) {
    let Some(hold) = &mut pass.status.hold else { return };
    let earlier = hold.start_time.0.duration_since(first);
    if earlier.is_positive() {
        hold.start_time = MicroTime(first);
        hold.deadline = MicroTime(hold.deadline.0.checked_sub(earlier).unwrap_or(hold.deadline.0));
    }
}

/// The last container has terminated: from here the session timeout and the drain timeout count.
fn stopped(mut pass: Pass<'_>, request: &Request) -> Decision {
    let (now, pods) = (pass.now, pass.pods());
    let on_broker = pass.status.group.as_ref().and_then(group::session_on_broker);
    let Some(hold) = &mut pass.status.hold else { return pass.again() };
    let drain_deadline = MicroTime(later(now, request.drain_timeout).min(hold.deadline.0));
    hold.containers_terminated_time = Some(MicroTime(now));
    hold.session_end_time = Session::of(request, on_broker).end(now);
    hold.drain_deadline = Some(drain_deadline);
    let message = if pass.status.targets.is_empty() {
        "There are no targets to stop"
    } else {
        "The last container of the targets has terminated"
    };
    let message = if !pods.is_empty() && pods.iter().all(|pod| pod.tasks.is_some()) {
        "Kafka Connect reports the connectors as STOPPED"
    } else {
        message
    };
    pass.condition(ConditionType::ConsumersStopped, Some(true), Reason::ContainersTerminated, message);
    let message = Message::new("Asking the broker whether the group is empty").detail("The targets are at zero");
    pass.go_on(Phase::Draining, Reason::WaitingForGroup, message)
}

fn replaced(pass: Pass<'_>, index: usize, what: &str) -> Decision {
    let name = name(&pass.status.targets[index]);
    let message = Message::naming([&name], |[name]| format!("{name} {what}, so the reset ends"))
        .detail(format!("{name} is left alone, and the other targets are restored"))
        .detail(pass.offsets_changed())
        .advice("Create the reset again under a new name for the workload that exists now");
    pass.finish(Phase::Failed, Reason::TargetReplaced, message)
}

/// The stop was refused for good: the targets that were stopped already are restored.
pub(in crate::machine) fn refused(pass: Pass<'_>, index: usize, why: &str) -> Decision {
    let name = pass.status.targets.get(index).map(name).unwrap_or_default();
    let message = Message::naming([&name], |[name]| format!("{name} could not be stopped"))
        .detail(why)
        .detail(pass.offsets_changed())
        .advice("Remove what refuses the request, and create the reset under a new name");
    pass.finish(Phase::Failed, Reason::TargetUnreachable, message)
}

/// Whether all targets were stopped, and the reset waits for the last container.
#[must_use]
pub fn waits_at_zero(status: &OffsetResetStatus) -> bool {
    status.phase == Some(Phase::Stopping) && status.targets.iter().all(|target| target.stopped)
}

/// The pods of targets that are all stopped, of which a container still runs, by name: until the last of them has terminated, nothing
/// changes.
#[must_use]
pub fn awaited_pods(status: &OffsetResetStatus, seen: &Observed) -> Vec<String> {
    if !waits_at_zero(status) {
        return vec![];
    }
    let known = seen.targets.iter().filter_map(|seen| if let Seen::Known(workload) = seen { Some(workload) } else { None });
    let running: Vec<&Pod> = known.flat_map(|workload| &workload.pods).filter(|pod| !pod.terminated).collect();
    // No event tells that the tasks of a connector have stopped.
    if running.iter().any(|pod| pod.tasks.is_some()) {
        return vec![];
    }
    running.into_iter().map(|pod| pod.name.clone()).collect()
}

/// The API server has stored zero replicas: any other count found from here on was set afterwards.
pub(in crate::machine) fn accepted(mut pass: Pass<'_>, index: usize) -> Decision {
    if let Some(target) = pass.status.targets.get_mut(index) {
        target.stopped = true;
    }
    pass.again()
}

/// An admission policy or a webhook stored another count than zero, which the dry run of the plan
/// did not show.
pub(in crate::machine) fn overridden(mut pass: Pass<'_>, index: usize, count: i32) -> Decision {
    let Some(target) = pass.status.targets.get_mut(index) else { return pass.again() };
    target.overridden_replicas = Some(count);
    let target = &pass.status.targets[index];
    let message = stoppable::overridden(&name(target), count, target.is_connector()).detail(pass.offsets_changed());
    pass.finish(Phase::Failed, Reason::ReplicasOverridden, message)
}

/// The hold could not be recorded, so the workload is not stopped.
pub(in crate::machine) fn claim_refused(pass: Pass<'_>, index: usize, why: &str) -> Decision {
    let name = pass.status.targets.get(index).map(name).unwrap_or_default();
    let message = Message::naming([&name], |[name]| format!("{name} was not stopped: its Lease could not be written"))
        .detail(why)
        .detail("The Lease records what is to be restored")
        .detail(pass.offsets_changed())
        .advice("Let the operator write Leases in this namespace, and create the reset under a new name");
    pass.finish(Phase::Failed, Reason::TargetUnreachable, message)
}

/// The pods that still run; the text does not change while nothing changes.
fn running(pods: &[&Pod], now: Timestamp) -> Message {
    let mut running: Vec<&&Pod> = pods.iter().filter(|pod| !pod.terminated).collect();
    // Those that a person has to look after come first.
    running.sort_by_key(|pod| (!is_lost(pod, now), &pod.name));
    let lost = running.iter().filter(|pod| is_lost(pod, now)).count();
    let mut names: Vec<String> = running.iter().take(NAMED_PODS).map(|pod| describe(pod, now)).collect();
    if running.len() > NAMED_PODS {
        names.push(count(running.len() - NAMED_PODS, "more pod", "more pods"));
    }
    let connectors = running.iter().filter(|pod| pod.tasks.is_some()).count();
    let message = match (running.len(), lost) {
        (0, _) => return Message::new("Waiting until the targets are at zero").detail("No offset is committed before that"),
        (running, 0) if running == connectors => {
            Message::new(format!("Waiting until Kafka Connect has stopped {}", count(running, "connector", "connectors")))
        }
        (running, 0) if connectors > 0 => Message::new(format!(
            "Waiting until {} and {} have stopped",
            count(running - connectors, "pod", "pods"),
            count(connectors, "connector", "connectors")
        )),
        (running, 0) => Message::new(format!("Waiting for the containers of {} to terminate", count(running, "pod", "pods"))),
        (_, lost) => {
            Message::new(format!("The nodes of {} do not answer, so containers may still run", count(lost, "pod", "pods")))
        }
    };
    let message = message.detail(format!("Still running: {}", names.join(", "))).detail("No offset is committed before that");
    if lost == 0 {
        return message;
    }
    message.detail("The reset waits until holdTimeout expires, and then restores the replicas").advice(
        "Bring the node back; or make sure that the machine is off, and then delete the pod with kubectl delete pod --grace-period=0 \
         --force",
    )
}

/// What keeps a controller from deleting more pods.
fn with_what_blocks(message: Message, pass: &Pass<'_>) -> Message {
    let blocking = pass.status.targets.iter().zip(&pass.seen.targets).find_map(|(target, seen)| match seen {
        Seen::Known(workload) => termination::blocking_pod(workload).map(|pod| (name(target), &pod.name)),
        Seen::Unknown(_) | Seen::Missing => None,
    });
    let Some((name, pod)) = blocking else { return message };
    message
        .detail(format!("{name} is OrderedReady, and its controller deletes no more pods while pod {pod} is not ready"))
        .advice(format!("Delete the pods that are not ready (kubectl delete pod {pod})"))
}

fn describe(pod: &Pod, now: Timestamp) -> String {
    if let Some(tasks) = &pod.tasks {
        return format!("{} ({})", pod.name, tasks.reported);
    }
    let node = pod.node.as_deref().unwrap_or("its node");
    match &pod.deletion {
        Some(until) if is_lost(pod, now) => {
            let until = clock(&MicroTime(*until));
            format!(
                "pod {} (its grace period ended at {until}, and node {node} has not reported that its containers have terminated)",
                pod.name
            )
        }
        Some(until) => format!("pod {} (terminating, grace period until {})", pod.name, clock(&MicroTime(*until))),
        None => format!("pod {}", pod.name),
    }
}

/// Whether a pod should have been killed long ago: its node does not answer.
fn is_lost(pod: &Pod, now: Timestamp) -> bool {
    pod.deletion.is_some_and(|until| now > later(until, KILLED_WITHIN))
}
