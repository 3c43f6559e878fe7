//! Planning: from the request and what was seen of Kafka to an absolute target for every partition,
//! or to all reasons against it.

pub mod acl_hints;
pub(in crate::machine) mod canary;
pub mod clamp;
pub mod drift;
pub mod expand;
pub mod export;
pub mod forecast;
pub mod limits;
pub(in crate::machine) mod members;
pub(in crate::machine) mod membership;
mod others;
pub mod replica_owners;
pub(in crate::machine) mod rollout;
pub(in crate::machine) mod stoppable;
pub(in crate::machine) mod termination;
pub(in crate::machine) mod warnings;
pub mod workloads;

pub use self::members::unmatched_addresses;

use std::fmt;

use self::{
    clamp::{clamp_offset, resolve_timestamp, with_match},
    expand::commit_of,
};
use super::{
    facts::{Bounds, Committed, PerPartition, PlanSeen, TopicPartition, group},
    guards::Guard,
    metadata,
    refusal::{NAME_ANOTHER_TARGET, PartitionRefusals, Problem, Refusal},
    request::{Goal, Request, Work},
    text::Message,
};
use crate::api::{IsolationLevel, OutOfRange, PartitionOutcome, PartitionStatus, Position, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

/// A plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// An absolute target for every partition.
    pub partitions: Vec<PartitionStatus>,
    /// Warnings about partitions that the request might have meant and that the plan leaves out.
    pub left_out: Vec<String>,
}

/// The plan: an absolute target for every partition, within its bounds and the request's limits.
///
/// # Errors
/// All reasons against a plan, at least one.
pub fn plan(request: &Request, seen: &PlanSeen) -> Result<Plan, Vec<Refusal>> {
    let has_commits = seen.committed.values().any(|committed| !matches!(committed, Ok(None)));
    // The broker forgets a group whose last offset was removed; the status of the reset to undo proves that it existed.
    let may_be_new = request.allow_new_group || matches!(request.work, Work::Undo(_));
    if !may_be_new && !group::is_known(&seen.group, has_commits) {
        let message = Message::naming([&request.group], |[group]| format!("The broker does not know group {group}"))
            .detail("It has neither members nor committed offsets")
            .advice(
                "Check spec.group and spec.kafka; if the reset is to create the group, set allowNewGroup and create the reset under a \
                 new name",
            );
        return Err(vec![Refusal::lasting(Reason::GroupNotFound, message)]);
    }
    let scoped = expand::expand(request, seen)?;
    let removes = scoped.goals.values().any(|goal| *goal == Goal::Position(Position::None));
    let mut refusals = limits::denials(request, &seen.access, removes);
    let mut partitions = vec![];
    let mut problems = PartitionRefusals::default();
    for (partition, goal) in &scoped.goals {
        match plan_partition(partition, goal, request, seen) {
            Ok(planned) => partitions.push(planned),
            Err(problem) => problems.add(partition.clone(), problem),
        }
    }
    refusals.extend(problems.into_refusals());
    refusals.extend(limits::refusals(request, &partitions));
    if refusals.is_empty() { Ok(Plan { partitions, left_out: scoped.left_out }) } else { Err(refusals) }
}

fn plan_partition(at: &TopicPartition, goal: &Goal, request: &Request, seen: &PlanSeen) -> Result<PartitionStatus, Problem> {
    let mut bounds = *answered(&seen.bounds, at)?;
    let committed = commit_of(&seen.committed, at).map_err(|error| Problem::from_kafka(error, at))?;
    let mut planned = PartitionStatus {
        topic: at.topic.clone(),
        partition: at.partition,
        topic_id: seen.access.topic_ids.get(&at.topic).cloned(),
        before: None,
        before_metadata: None,
        before_metadata_base64: None,
        requested_position: None,
        requested_shift: None,
        requested_offset: None,
        requested_timestamp: None,
        matched_timestamp: None,
        log_start: bounds.start,
        log_end: bounds.end,
        target_offset: Some(bounds.end),
        target_metadata: None,
        target_metadata_base64: None,
        metadata_not_stored: false,
        reason_not_stored: false,
        headroom: 0,
        replayed: 0,
        skipped: 0,
        clamped: None,
        after: None,
        overwritten: None,
        undone: None,
        outcome: PartitionOutcome::Planned,
        message: None,
    };
    let found;
    match goal {
        Goal::Offset(offset) => planned.requested_offset = Some(*offset),
        Goal::Recorded(offset, found) => {
            planned.requested_offset = Some(*offset);
            metadata::record_target(&mut planned, found);
        }
        Goal::FromGroup(source) => {
            let commits = seen.sources.get(source).and_then(|commits| commits.as_ref().ok());
            let of_source = commits.and_then(|commits| commit_of(commits, at).ok().flatten());
            planned.requested_offset = of_source.map(|committed| committed.offset);
        }
        Goal::ShiftBy(shift) => planned.requested_shift = Some(*shift),
        Goal::Position(position) => planned.requested_position = Some(*position),
        Goal::Timestamp(millis) => {
            found = *answered(&seen.times, at)?;
            planned.requested_timestamp = micro_time(*millis);
            planned.matched_timestamp = found.and_then(|found| micro_time(found.timestamp));
            let (target, clamped) = resolve_timestamp(*millis, found, bounds);
            (planned.target_offset, planned.clamped) = (Some(target), clamped);
            bounds = with_match(bounds, found);
        }
    }
    let stable_end = match goal {
        Goal::Position(Position::Latest) if request.isolation_level == IsolationLevel::ReadCommitted => {
            Some(*answered(&seen.stable_ends, at)?)
        }
        _ => None,
    };
    settle(&mut planned, bounds, stable_end, committed, request.out_of_range).map_err(|NoCommit| {
        let (one, many) = ("has no committed offset", "have no committed offset");
        Problem::lasting(Reason::NoCommittedOffset, one, many, NAME_ANOTHER_TARGET)
    })?;
    Ok(planned)
}

/// Shifts and the current position start from a committed offset, and there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCommit;

impl fmt::Display for NoCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no committed offset to start from")
    }
}

/// The target of a partition from what was asked for, against the bounds and the commit as they
/// are: in planning for the first time, and once more right before the first commit, when the
/// consumers have stopped. After that it is never computed again.
///
/// So "the largest" is the largest then, and a shift counts from where the consumers have stopped.
/// The offset found for a time stays as it was planned: no record at or after that time can lie
/// before it, whatever has arrived since.
///
/// # Errors
/// When the goal starts from a committed offset and there is none.
pub fn settle(
    planned: &mut PartitionStatus,
    bounds: Bounds,
    stable_end: Option<i64>,
    committed: Option<&Committed>,
    out_of_range: OutOfRange,
) -> Result<(), NoCommit> {
    planned.before = committed.map(|committed| committed.offset);
    metadata::record_before(planned, committed.map(|committed| &committed.metadata));
    if let Some(shift) = planned.requested_shift {
        let before = planned.before.ok_or(NoCommit)?;
        planned.requested_offset = Some(before.saturating_add(shift));
    }
    if planned.requested_position == Some(Position::Current) {
        let before = planned.before.ok_or(NoCommit)?;
        planned.requested_offset = Some(before);
    }
    let (target, clamped) = match (planned.requested_offset, planned.requested_position) {
        (Some(requested), _) => clamp_offset(requested, bounds),
        (None, Some(Position::None)) => (bounds.end, None),
        (None, Some(Position::Earliest)) => (bounds.start, None),
        // An open transaction may begin before the log does by now: its first records have expired.
        (None, Some(Position::Latest)) => (stable_end.unwrap_or(bounds.end).clamp(bounds.start, bounds.end), None),
        (None, Some(Position::Current) | None) => {
            let (target, clamped) = clamp_offset(planned.target_offset.unwrap_or(bounds.end), bounds);
            (target, clamped.or(planned.clamped))
        }
    };
    (planned.target_offset, planned.clamped) = (Some(target).filter(|_| !planned.is_removal()), clamped);
    limits::apply(planned, bounds, out_of_range);
    measure(planned, bounds);
    Ok(())
}

/// Moves a final target into the bounds when the log has moved since, and returns whether it had
/// to: retention may delete records at any time.
pub fn keep_in_bounds(planned: &mut PartitionStatus, bounds: Bounds) -> bool {
    let Some(planned_target) = planned.target_offset else { return false };
    let (target, clamped) = clamp_offset(planned_target, bounds);
    let moved = !Guard::WithinTheLog.allows(target == planned_target);
    if moved {
        planned.target_offset = Some(target);
        planned.clamped = clamped;
        measure(planned, bounds);
    }
    moved
}

/// The records that will be replayed or skipped. A commit out of range counts as the nearest offset
/// in range. Without a commit the group has consumed nothing of the partition, whatever its
/// consumers' auto.offset.reset is: then all records before the target are skipped, and those after
/// it are consumed for the first time.
fn measure(planned: &mut PartitionStatus, bounds: Bounds) {
    planned.log_start = bounds.start;
    planned.log_end = bounds.end;
    planned.headroom = planned.target_offset.map_or(0, |target| target.saturating_sub(bounds.start).max(0));
    let from = planned.before.map_or(bounds.start, |before| clamp_offset(before, bounds).0);
    // Where an offset is removed, the consumers decide where they start.
    let target = planned.target_offset.filter(|_| planned.outcome == PartitionOutcome::Planned);
    let forward = target.map_or(0, |target| target.saturating_sub(from));
    planned.replayed = forward.saturating_neg().max(0);
    planned.skipped = forward.max(0);
}

fn answered<'a, T>(answers: &'a PerPartition<T>, at: &TopicPartition) -> Result<&'a T, Problem> {
    match answers.get(at) {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(Problem::from_kafka(error, at)),
        None => Err(Problem::unanswered()),
    }
}

fn micro_time(millis: i64) -> Option<MicroTime> {
    jiff::Timestamp::from_millisecond(millis).ok().map(MicroTime)
}
