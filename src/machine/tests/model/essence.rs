//! What of a status counts.
//!
//! A status is stored without what the machine only says and never reads again: messages, times
//! that are only shown, conditions but for ConsumersResumed. Without ConsumptionProven a finished
//! reset is no longer looked at once its consumers have resumed; longer looks change nothing but
//! that condition. That is what keeps the number of states finite and small; a field that a
//! decision comes to depend on must be taken out of [`essence`].

use super::world::NO_OFFSET;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

use crate::{
    api::{CanaryState, ConditionType, OffsetResetStatus, PartitionOutcome, PartitionStatus, Phase, Reason, Restored},
    machine::{
        self,
        tests::{at, micro},
    },
};

/// The words of an outcome that say that nothing was changed; all others are forgotten.
const NOTHING_CHANGED: &str = "No offset was changed";

/// What the properties and the clock want to know of a status.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
pub struct Facts {
    pub phase: Option<Phase>,
    pub outcome: Option<(Phase, Reason)>,
    pub says_nothing_changed: bool,
    pub needs_a_look: bool,
    pub is_over: bool,
    pub planning_ends: Option<u16>,
    /// When planning no longer waits for members that run elsewhere.
    pub members_end: Option<u16>,
    /// When planning no longer waits for a rollout.
    pub rollout_ends: Option<u16>,
    pub hold_ends: Option<u16>,
    pub drain_ends: Option<u16>,
    pub look_ends: Option<u16>,
    pub canary: Option<CanaryState>,
    /// The canary has its replicas.
    pub canary_runs: bool,
    pub canary_ends: Option<u16>,
    /// From when on it passes if it stays as it is, or a commit without a member is another client's.
    pub canary_steady: Option<u16>,
    pub holds: bool,
    pub target_uid: u8,
    pub stop_requested: bool,
    pub stopped: bool,
    pub restored: Option<Restored>,
    pub partition_outcome: Option<PartitionOutcome>,
    pub target: u8,
    pub after: Option<u8>,
    pub removes: bool,
    pub undone: bool,
    pub plan_is_final: bool,
    pub read_back_by_offset: bool,
}

pub fn seconds(time: Timestamp) -> u16 {
    u16::try_from(time.as_second() - at(0).as_second()).unwrap()
}

/// A status without what the machine only says.
pub fn essence(mut status: OffsetResetStatus) -> OffsetResetStatus {
    let always = || micro(0);
    let counts = |reason: &Reason| {
        use Reason::{GroupHasNoMembers, GroupShared, WaitingForOtherReset, WaitingForRollout};
        matches!(reason, WaitingForOtherReset | WaitingForRollout | GroupHasNoMembers | GroupShared)
    };
    status.reason = status.reason.filter(counts);
    status.message = None;
    status.observed_generation = None;
    status.start_time = None;
    status.planning_start_time = None;
    status.completion_time = None;
    status.last_action = None;
    status.totals = None;
    status.consumption = None;
    status.warnings.clear();
    status.plan_time = status.plan_time.map(|_| Time(at(0)));
    status.final_plan_time = status.final_plan_time.map(|_| always());
    if status.phase != Some(Phase::Planning) {
        status.phase_start_time = None;
    }
    let (resumed, proven) = (ConditionType::ConsumersResumed.as_str(), ConditionType::ConsumptionProven.as_str());
    // Whether a canary has proven the consumption, and nothing else of that condition.
    let counts = |kind: &str, state: &str| kind == resumed || (kind == proven && state == "True" && status.canary.is_some());
    status.conditions.retain(|condition| counts(&condition.type_, &condition.status));
    if let Some(canary) = &mut status.canary {
        canary.message = String::new();
        (canary.partitions_consumed, canary.partitions_with_records, canary.end_time) = (0, 0, None);
        canary.start_time = canary.start_time.take().filter(|_| status.phase == Some(Phase::Canary)).map(|_| always());
        canary.deadline = canary.deadline.take().filter(|_| status.phase == Some(Phase::Canary));
        canary.proven_time = canary.proven_time.take().filter(|_| status.phase == Some(Phase::Canary));
    }
    let looks = machine::needs_a_look(&status);
    for condition in &mut status.conditions {
        condition.message = String::new();
        condition.reason = if condition.type_ == proven { condition.reason.clone() } else { String::new() };
        condition.last_transition_time = Time(at(0));
    }
    if let Some(outcome) = &mut status.outcome {
        let kept = outcome.explanation().to_lowercase().contains(&NOTHING_CHANGED.to_lowercase());
        outcome.message = if kept { NOTHING_CHANGED.to_owned() } else { String::new() };
        (outcome.details, outcome.advice) = (None, None);
    }
    if let Some(hold) = &mut status.hold {
        hold.containers_terminated_time = None;
        hold.session_end_time = None;
        hold.group_empty_time = None;
        hold.downtime = None;
        hold.end_time = hold.end_time.take().filter(|_| looks);
        hold.resume_deadline = hold.resume_deadline.take().filter(|_| looks);
        if status.phase != Some(Phase::Draining) && status.phase != Some(Phase::Resetting) {
            hold.drain_deadline = None;
        }
    }
    if let Some(group) = &mut status.group {
        group.group_type.clear();
        group.state.clear();
        group.members = 0;
        group.member_details.clear();
    }
    for target in &mut status.targets {
        target.ready_pods = None;
        // It only delays the next attempt.
        target.last_refusal = None;
    }
    for partition in &mut status.partitions {
        // An undo after a canary goes back to it.
        partition.before = partition.before.filter(|_| status.canary.is_some());
        partition.before_metadata = None;
        (partition.log_start, partition.log_end) = (0, 0);
        (partition.headroom, partition.replayed, partition.skipped) = (0, 0, 0);
        partition.message = None;
        partition.clamped = None;
        if partition.requested_shift.is_some() {
            partition.requested_offset = None;
        }
    }
    status
}

pub fn facts(status: &OffsetResetStatus) -> Facts {
    let at = |time: &MicroTime| seconds(time.0);
    let later = |time: &MicroTime, by: SignedDuration| seconds(time.0) + u16::try_from(by.as_secs()).unwrap();
    let live = status.phase.is_some_and(|phase| !phase.is_terminal());
    let hold = status.hold.as_ref();
    let target = status.targets.first();
    let partition = status.partitions.first();
    let needs_a_look = machine::needs_a_look(status);
    Facts {
        phase: status.phase,
        outcome: status.outcome.as_ref().map(|outcome| (outcome.phase, outcome.reason)),
        says_nothing_changed: status.outcome.as_ref().is_some_and(|outcome| outcome.message == NOTHING_CHANGED),
        needs_a_look,
        is_over: machine::is_over(status, false),
        planning_ends: status.phase_start_time.as_ref().map(|time| later(time, machine::PLANNING_TIMEOUT)),
        members_end: status.phase_start_time.as_ref().map(|time| later(time, SignedDuration::from_secs(50))),
        rollout_ends: status
            .phase_start_time
            .as_ref()
            .filter(|_| status.reason == Some(Reason::WaitingForRollout))
            .map(|time| later(time, SignedDuration::from_mins(10))),
        hold_ends: hold.filter(|_| live).map(|hold| at(&hold.deadline)),
        drain_ends: hold.and_then(|hold| hold.drain_deadline.as_ref()).map(at),
        look_ends: hold.and_then(|hold| hold.watched_until.as_ref()).map(at),
        canary: status.canary.as_ref().map(|canary| canary.state),
        canary_runs: status.canary.as_ref().is_some_and(|canary| canary.start_time.is_some()),
        canary_steady: status
            .canary
            .as_ref()
            .and_then(|canary| canary.proven_time.as_ref().or(partition?.overwritten.as_ref().map(|found| &found.time)))
            .map(|since| later(since, SignedDuration::from_secs(5))),
        canary_ends: status.canary.as_ref().and_then(|canary| canary.deadline.as_ref()).map(at),
        holds: hold.is_some(),
        target_uid: target.map_or(0, |target| target.uid.strip_prefix("w-").unwrap().parse().unwrap()),
        stop_requested: target.is_some_and(|target| target.stop_requested),
        stopped: target.is_some_and(|target| target.stopped || target.scaled_up_by_others > 0),
        restored: target.and_then(|target| target.restored),
        partition_outcome: partition.map(|partition| partition.outcome),
        target: partition.map_or(0, |partition| {
            partition.target_offset.map_or(NO_OFFSET, |target| u8::try_from(target).unwrap_or(u8::MAX - 1))
        }),
        after: partition.and_then(|partition| partition.after).map(|after| u8::try_from(after).unwrap_or(u8::MAX)),
        removes: partition.is_some_and(PartitionStatus::is_removal),
        undone: partition.is_some_and(|partition| partition.undone.is_some()),
        plan_is_final: status.final_plan_time.is_some(),
        read_back_by_offset: partition.is_some_and(|partition| partition.metadata_not_stored),
    }
}
