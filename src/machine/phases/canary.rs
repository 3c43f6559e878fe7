//! Canary: a few replicas of the targets are restored first. The others follow when the canary has
//! consumed past the targets. When it crashes or does not consume, the offsets are kept or undone, as
//! the spec says. Whatever else happens, the replicas are restored, except where another client has scaled a target.
//!
//! The Lease of a target has the canary's count before the target is scaled to it, so that a canary
//! whose OffsetReset is gone is told from a count that another client has set.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{
    canary_undo,
    consumption::{self, Proof, is_looked_at},
};
use crate::api::{ActionKind, CanaryState, ConditionType, OffsetResetStatus, OnCanaryFailure, Phase, Reason};
use crate::machine::{
    coordination::queue,
    decision::{Decision, Effect},
    facts::{Claim, Hold, KafkaSeen, Pod, Seen, TopicPartition, Workload, group},
    guards::Guard,
    pass::{Pass, UNSEEN_RETRY},
    plan::{
        canary::{part, planned, too_small},
        replica_owners,
    },
    request::{Canary, Request},
    text::{Message, count, exited, list, name, name_partitions, some, verb},
    time::{clock, later, roughly},
};

/// How soon the operator looks again at a canary that has not passed. Events of its pods bring a look forward.
const LOOK: SignedDuration = SignedDuration::from_secs(1);

/// For how long the canary has to go on without a crash once it has consumed: a consumer that crashes may commit while it exits, some
/// seconds before the kubelet reports the crash.
const STEADY: SignedDuration = SignedDuration::from_secs(5);

/// How many pods a message names.
const NAMED_PODS: usize = 3;

/// After the read-back of the reset: begins the canary, or restores all replicas where there is none.
pub(super) fn begin(mut pass: Pass<'_>, request: &Request, message: Message) -> Decision {
    let Some(canary) = request.canary else { return pass.finish(Phase::Succeeded, Reason::Succeeded, message) };
    // The replica counts may have changed between the plan and the stop.
    pass.status.canary = planned(request, &pass.status.targets);
    let proves = pass.status.partitions_omitted > 0 || pass.status.partitions.iter().any(is_looked_at);
    let without = too_small(canary, &pass.status.targets).or_else(|| {
        let why = "There is no canary, because the reset has only removed offsets: all replicas come back at once";
        (!proves).then(|| why.to_owned())
    });
    if let Some(why) = without {
        set(&mut pass, CanaryState::NotRun, &why);
        return pass.finish(Phase::Succeeded, Reason::Succeeded, message.detail(why));
    }
    pass.decide_outcome(Phase::Succeeded, Reason::Succeeded, &message);
    let milestone = "The original replica counts are restored after the canary";
    pass.condition(ConditionType::ConsumersRestored, Some(false), Reason::CanaryRunning, milestone);
    let milestone = "The canary has not consumed from the offsets yet";
    pass.condition(ConditionType::ConsumptionProven, None, Reason::WaitingForConsumption, milestone);
    let message = Message::new("The offsets were read back, and the canary is being started")
        .detail("The other replicas follow when it has consumed past the targets");
    pass.go_on(Phase::Canary, Reason::CanaryRunning, message)
}

pub(in crate::machine) fn decide(mut pass: Pass<'_>, request: Option<&Request>) -> Decision {
    // The report, which has the partitions of a large plan, is written before the status: an operator that was killed between the two
    // had begun the undo.
    if pass.status.partitions.iter().any(|planned| planned.undone.is_some()) {
        set(&mut pass, CanaryState::Failed, "The canary had failed when the operator was interrupted");
        return canary_undo::begin(pass);
    }
    if let Some(why) = interrupted(&pass) {
        return end(pass, CanaryState::Unproven, &why);
    }
    let Some((request, canary)) = request.and_then(|request| Some((request, request.canary?))) else {
        return end(
            pass,
            CanaryState::Unproven,
            "The canary ended, because the operator cannot carry out spec.restore.canary any more",
        );
    };
    if pass.status.canary.is_none() {
        pass.status.canary = planned(request, &pass.status.targets);
    }
    for index in 0..pass.status.targets.len() {
        match target(&pass, request, canary, index) {
            Step::Up => {}
            Step::Unseen(why) => {
                // Restoring needs less than this look, such as no list of pods.
                if deadline(&pass, canary).is_some_and(|deadline| pass.now >= deadline) {
                    return end(
                        pass,
                        CanaryState::Unproven,
                        &format!("The canary could not be read until the end of its timeout: {why}"),
                    );
                }
                let message = Message::new("The operator cannot read a target of the canary, and tries again every second")
                    .detail(why)
                    .detail("The other replicas stay at zero until the end of the canary's timeout at the latest");
                return pass.wait(Reason::CanaryRunning, message, UNSEEN_RETRY);
            }
            Step::Act(effect) => {
                let count = canary.count_of(&pass.status.targets[index]);
                pass.status.targets[index].canary_replicas = Some(count);
                if let Effect::Scale { .. } = effect {
                    let original = pass.status.targets[index].original_replicas;
                    let message = format!("scaled from 0 to {count} of {original} replicas as a canary of the offset reset");
                    pass.note(false, Reason::CanaryRunning, message, Some(index));
                }
                return pass.act(effect);
            }
            Step::SetByOthers(why) => {
                pass.status.targets[index].canary_replicas = None;
                return end(pass, CanaryState::Unproven, &why);
            }
            Step::Over(state, why) => return end(pass, state, &why),
        }
    }
    if pass.status.canary.as_ref().is_some_and(|canary| canary.start_time.is_none()) {
        return started(pass, canary);
    }
    watch(pass, request, canary)
}

/// Until when the canary has to have consumed; before it runs, until when it has to run.
fn deadline(pass: &Pass<'_>, canary: Canary) -> Option<Timestamp> {
    let known = pass.status.canary.as_ref().and_then(|canary| canary.deadline.as_ref());
    let begun = || pass.status.phase_start_time.as_ref().map(|begin| later(begin.0, canary.timeout));
    known.map(|deadline| deadline.0).or_else(begun)
}

/// Why the canary ends now; `None` while it may run.
fn interrupted(pass: &Pass<'_>) -> Option<String> {
    let why = if pass.seen.deleting {
        "The OffsetReset was deleted while its canary ran"
    } else if !pass.seen.finalizer {
        "The finalizer of the OffsetReset was removed by hand, which ended the canary"
    } else if pass.seen.uninstalling {
        "The operator is being uninstalled, which ended the canary"
    } else if pass.status.hold.as_ref().is_some_and(|hold| !Guard::HoldNotOver.allows(pass.now < hold.deadline.0)) {
        "holdTimeout expired while the canary ran"
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// The next step for a target.
enum Step {
    /// It has the canary's count, or takes no part.
    Up,
    /// It, or its Lease, could not be read.
    Unseen(String),
    /// Its Lease is to be written, or it is to be scaled.
    Act(Effect),
    /// Another client has set another count. It stays, except 0, which is restored.
    SetByOthers(String),
    /// The canary ends.
    Over(CanaryState, String),
}

fn target(pass: &Pass<'_>, request: &Request, canary: Canary, index: usize) -> Step {
    let target = &pass.status.targets[index];
    if !target.stop_requested || target.original_replicas == 0 {
        return Step::Up;
    }
    let (name, count) = (name(target), canary.count_of(target));
    let workload = match pass.seen.targets.get(index) {
        None => return Step::Unseen(format!("{name} was not read")),
        Some(Seen::Unknown(why)) => return Step::Unseen(format!("{name}: {why}")),
        Some(Seen::Missing) => return Step::Over(CanaryState::Unproven, format!("{name} does not exist any more")),
        Some(Seen::Known(workload)) if workload.uid != target.uid => {
            return Step::Over(CanaryState::Unproven, format!("{name} was deleted and recreated while the canary ran"));
        }
        Some(Seen::Known(workload)) => workload,
    };
    let has_started = pass.status.canary.as_ref().is_some_and(|canary| canary.start_time.is_some());
    if workload.replicas == count {
        // Before the Lease has this count, another client has set it.
        match pass.seen.holds.get(index) {
            _ if has_started => return Step::Up,
            Some(Seen::Known(hold)) if hold.canary == Some(count) => return Step::Up,
            Some(Seen::Missing) if target.canary_replicas.is_some() => return Step::Up,
            Some(Seen::Unknown(why)) => return Step::Unseen(format!("the Lease of {name}: {why}")),
            Some(Seen::Known(_) | Seen::Missing) | None => {}
        }
    }
    if workload.replicas != 0 || has_started {
        let since = pass.status.canary.as_ref().and_then(|canary| canary.start_time.as_ref()).map_or(pass.now, |at| at.0);
        let who = replica_owners::responsible(target, &workload.details, since).who;
        let replicas = workload.replicas;
        let why =
            format!("Another client scaled {name} to {replicas} during the canary, so the canary proves nothing. It was {who}");
        return Step::SetByOthers(why);
    }
    start(pass, request, index, workload, count)
}

/// Writes the Lease before the scale. A canary count that no Lease records would look like a count of
/// another client.
fn start(pass: &Pass<'_>, request: &Request, index: usize, workload: &Workload, count: i32) -> Step {
    let (status, own) = (&pass.status.targets[index], &pass.seen.uid);
    let name = name(status);
    let hold = match pass.seen.holds.get(index) {
        None => return Step::Unseen(format!("the Lease of {name} was not read")),
        Some(Seen::Unknown(why)) => return Step::Unseen(format!("the Lease of {name}: {why}")),
        Some(Seen::Missing) => None,
        Some(Seen::Known(hold)) => Some(hold),
    };
    let others = hold.map(|hold| hold.others(own)).unwrap_or_default();
    if queue::still_needed_by(own, &workload.uid, &pass.seen.others).is_some() || !others.is_empty() {
        let why = format!("There is no canary, because {name} is also held for OffsetReset {others}");
        return Step::Over(CanaryState::NotRun, why.trim_end().to_owned());
    }
    // A CRD of an earlier version removes it from the status.
    let state = hold.map_or(&status.original_state, |hold| &hold.state).clone();
    if !Guard::CanaryRecorded.allows(hold.is_some_and(|hold| hold.is_claimed_by(own) && hold.canary == Some(count))) {
        let (since, until) = pass.status.hold.as_ref().map_or((pass.now, pass.now), |hold| (hold.start_time.0, hold.deadline.0));
        // The Lease was deleted by hand.
        let missing = || Hold {
            version: String::new(),
            workload: name.clone(),
            uid: workload.uid.clone(),
            replicas: status.original_replicas,
            state: state.clone(),
            canary: None,
            since,
            until,
            claims: vec![],
        };
        let mut hold = Hold { canary: Some(count), ..hold.cloned().unwrap_or_else(missing) };
        if !hold.is_claimed_by(own) {
            hold.claims.push(Claim { uid: own.clone(), name: request.name.clone(), key: request.key.clone() });
        }
        return Step::Act(Effect::Claim { target: index, hold });
    }
    let resource_version = workload.resource_version.clone();
    Step::Act(Effect::Scale { target: index, resource_version, replicas: count, state, kind: ActionKind::Canary })
}

/// Every target has the canary's count.
fn started(mut pass: Pass<'_>, canary: Canary) -> Decision {
    let now = pass.instant();
    let end = pass.status.hold.as_ref().map(|hold| hold.deadline.0);
    let deadline = end.into_iter().fold(later(pass.now, canary.timeout), Timestamp::min);
    if let Some(status) = &mut pass.status.canary {
        (status.start_time, status.deadline) = (Some(now), Some(MicroTime(deadline)));
    }
    let message = waiting(&pass, canary, &[]);
    set(&mut pass, CanaryState::Running, message.summary());
    pass.wait(Reason::CanaryRunning, message, LOOK)
}

/// Whether the canary consumes.
fn watch(mut pass: Pass<'_>, request: &Request, canary: Canary) -> Decision {
    let proof = consumption::prove(&mut pass, request, STEADY);
    let (advanced, of) = progress(&pass.status);
    let deadline = pass.status.canary.as_mut().and_then(|status| {
        (status.partitions_consumed, status.partitions_with_records) = (advanced, of);
        status.deadline.clone()
    });
    let deadline = deadline.map_or(pass.now, |at| at.0);
    let crashed = crashed(&pass);
    // Consumers may crash because the broker is away, and that proves nothing.
    if !matches!(proof, Proof::Unread) && !Guard::CanarySteady.allows(crashed.is_empty()) {
        let names: Vec<&str> = crashed.iter().map(|pod| pod.name.as_str()).collect();
        let pods = some(&names, NAMED_PODS);
        let why = if crashed.len() == 1 { "in pod" } else { "in pods" };
        // Its pods are gone after an undo, with their logs.
        let exit = crashed.iter().find_map(|pod| Some(format!(". In pod {}, {}", pod.name, exited(pod.last_exit.as_ref()?))));
        let exit = exit.unwrap_or_default();
        return fail(pass, canary, &format!("A container of the canary was started again or crashed {why} {pods}{exit}"));
    }
    // The timeout is for the consumption. The wait for a crash afterwards is not limited by it.
    let steady = steady_time(&pass);
    let late = pass.now >= steady.map_or(deadline, |steady| steady.max(deadline));
    let goes_on = steady.is_some_and(|steady| pass.now >= steady) && has_members(&pass, request);
    match proof {
        Proof::Proven if Guard::CanaryGoesOn.allows(goes_on) => {
            consumption::proven(&mut pass);
            let partitions = count(advanced, "partition", "partitions");
            let message = format!("The canary has consumed past the target on {partitions}, and no container was started again");
            end(pass, CanaryState::Passed, &message)
        }
        Proof::Proven if late => {
            fail(pass, canary, "The canary's consumers left the group after they had consumed, and did not join it again")
        }
        Proof::Proven => look_again(pass, canary, &[], ""),
        Proof::Unseen => {
            let why = "An offset was committed while the group had no member: by a consumer that has crashed since, or by another client";
            look_again(pass, canary, &[], why)
        }
        Proof::Overwritten => {
            let why = "Another client has committed over an offset of the reset, so the canary proves nothing";
            end(pass, CanaryState::Unproven, why)
        }
        Proof::NoRecords => {
            let why = "There is no record to consume on any partition from the target on, so the canary proves nothing";
            end(pass, CanaryState::Unproven, why)
        }
        Proof::Waiting(partitions) if late && partitions.is_empty() => {
            let why = "No consumer joined the group, and there is no record to consume, so the canary proves nothing";
            end(pass, CanaryState::Unproven, why)
        }
        Proof::Waiting(partitions) if late => {
            let (named, has) = (name_partitions(&partitions), verb(&partitions, "has", "have"));
            let within = roughly(canary.timeout);
            let why = format!(
                "The canary has not committed past the target within {within} on {named}, which {has} records to consume"
            );
            fail(pass, canary, &why)
        }
        Proof::Unread if late => {
            let why = "The offsets of the group could not be read until the end of the canary, so it proves nothing";
            end(pass, CanaryState::Unproven, why)
        }
        Proof::Waiting(partitions) => look_again(pass, canary, &partitions, ""),
        Proof::Unread => {
            let why = match &pass.seen.kafka {
                KafkaSeen::Failed(error) => error.message.clone(),
                _ => "there is no answer yet".to_owned(),
            };
            look_again(pass, canary, &[], &format!("The offsets of the group cannot be read: {why}"))
        }
    }
}

/// On how many partitions the canary has committed past the target, and how many have records for it. A commit by a consumer that was
/// not seen shows records, and may be that of another client.
fn progress(status: &OffsetResetStatus) -> (i64, i64) {
    let Some(found) = &status.consumption else { return (0, 0) };
    let unseen = status.partitions.iter().filter(|partition| partition.overwritten.as_ref().is_some_and(consumption::is_unseen));
    (found.continued, found.continued + found.waiting + i64::try_from(unseen.count()).unwrap_or(i64::MAX))
}

/// The canary has neither passed nor failed: waits.
fn look_again(mut pass: Pass<'_>, canary: Canary, partitions: &[TopicPartition], why: &str) -> Decision {
    let message = waiting(&pass, canary, partitions).detail(why);
    set(&mut pass, CanaryState::Running, message.summary());
    pass.wait(Reason::CanaryRunning, message, LOOK)
}

/// Whether its consumers are in the group. A consumer may crash, and commit on its way out, in a process that goes on without it.
fn has_members(pass: &Pass<'_>, request: &Request) -> bool {
    request.allow_no_members || matches!(&pass.seen.kafka, KafkaSeen::AfterReset(seen) if group::members(&seen.group) > 0)
}

/// From when on the canary passes, once it has consumed.
fn steady_time(pass: &Pass<'_>) -> Option<Timestamp> {
    let proven = pass.status.canary.as_ref()?.proven_time.as_ref()?;
    Some(later(proven.0, STEADY))
}

/// The message while the canary runs; the text does not change while nothing changes.
fn waiting(pass: &Pass<'_>, canary: Canary, partitions: &[TopicPartition]) -> Message {
    let status = pass.status.canary.as_ref();
    let (advanced, of) = status.map_or((0, 0), |status| (status.partitions_consumed, status.partitions_with_records));
    let parts: Vec<String> =
        pass.status.targets.iter().filter(|target| target.canary_replicas.is_some()).map(|target| part(canary, target)).collect();
    let message = match of {
        0 => Message::new("A canary runs; the other replicas follow when it has consumed past the targets"),
        of => Message::new(format!("A canary runs, and has consumed past the target on {advanced} of {of} partitions")),
    };
    let waits = if partitions.is_empty() {
        String::new()
    } else {
        format!("It has not committed past the target on {}", name_partitions(partitions))
    };
    let otherwise = match canary.on_failure {
        OnCanaryFailure::Keep => "all replicas are restored with the offsets of the reset",
        OnCanaryFailure::Undo => "the offsets from before are committed again, and all replicas are restored",
    };
    let until = if let Some(steady) = steady_time(pass) {
        let steady = clock(&MicroTime(steady));
        format!("It passes at {steady} if no container crashes before, and its consumers are in the group; otherwise {otherwise}")
    } else {
        let until = status.and_then(|status| status.deadline.as_ref()).map(clock).unwrap_or_default();
        format!("It has until {until}; then {otherwise}")
    };
    message.detail(format!("It is {}", list(&parts))).detail(waits).detail(until)
}

/// The pods of the canary with a container that has crashed or was started again.
fn crashed<'a>(pass: &Pass<'a>) -> Vec<&'a Pod> {
    let taking_part = pass.status.targets.iter().zip(&pass.seen.targets).filter(|(target, _)| target.canary_replicas.is_some());
    let workloads = taking_part.filter_map(|(_, seen)| if let Seen::Known(workload) = seen { Some(workload) } else { None });
    let pods = workloads.flat_map(|workload| &workload.pods).filter(|pod| !pod.terminated && pod.deletion.is_none());
    pods.filter(|pod| pod.crashed || pod.restarted || pod.exited).collect()
}

/// Ends the canary: all replicas are restored, and the reset ends as it was decided before.
fn end(mut pass: Pass<'_>, state: CanaryState, why: &str) -> Decision {
    set(&mut pass, state, why);
    let has_passed = state == CanaryState::Passed;
    let (reason, summary) = match state {
        CanaryState::Passed => (Reason::CanaryPassed, "The canary has passed, and the replicas are being restored"),
        CanaryState::NotRun => (Reason::CanaryUnproven, "There is no canary, and the replicas are being restored"),
        _ => (Reason::CanaryUnproven, "The canary has proven nothing, and the replicas are being restored"),
    };
    pass.note(!has_passed, reason, why, None);
    if let Some(outcome) = &mut pass.status.outcome {
        let said = outcome.details.take().into_iter().chain([why.to_owned()]).collect::<Vec<_>>();
        outcome.details = Some(said.join(". "));
    }
    pass.go_on(Phase::Restoring, Reason::Restoring, Message::new(summary).detail(why))
}

/// The canary has failed.
fn fail(mut pass: Pass<'_>, canary: Canary, why: &str) -> Decision {
    set(&mut pass, CanaryState::Failed, why);
    consumption::was_of_canary(&mut pass);
    pass.note(true, Reason::CanaryFailed, why, None);
    // The report of a large plan is lost, and with it some offsets from before.
    let is_lost = pass.status.partitions_omitted > 0;
    if canary.on_failure == OnCanaryFailure::Undo && !is_lost {
        return canary_undo::begin(pass);
    }
    let not_undone = if canary.on_failure == OnCanaryFailure::Undo {
        "They are not undone, because the report with the offsets from before could not be read"
    } else {
        ""
    };
    let message = Message::new("The canary failed; the offsets of the reset are kept, and all replicas are restored")
        .detail(why)
        .detail(not_undone)
        .advice("Look at the logs of its pods. To return to the offsets from before, create an OffsetReset with undo.name");
    pass.finish(Phase::Failed, Reason::CanaryFailed, message)
}

/// The canary could not be started: its Lease or its scale was refused, or another count was stored.
pub(in crate::machine) fn refused(mut pass: Pass<'_>, index: usize, stored: Option<i32>, why: &str) -> Decision {
    let Some(target) = pass.status.targets.get_mut(index) else { return pass.again() };
    target.overridden_replicas = stored.or(target.overridden_replicas);
    let why = format!("The canary of {} could not be started: {why}", name(target));
    end(pass, CanaryState::Unproven, &why)
}

/// Records how far the canary is.
fn set(pass: &mut Pass<'_>, state: CanaryState, message: &str) {
    let now = pass.instant();
    let Some(canary) = &mut pass.status.canary else { return };
    canary.state = state;
    message.clone_into(&mut canary.message);
    canary.end_time = (canary.start_time.is_some() && state != CanaryState::Running).then_some(now);
}
