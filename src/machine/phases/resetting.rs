//! Resetting: bounds again, commit, read back. Success is claimed of a partition only after it was read back.

use crate::machine::totals::totals;
use std::collections::BTreeSet;

use jiff::SignedDuration;

use crate::api::{
    ConditionType, IsolationLevel, OutOfRange, PartitionOutcome, PartitionStatus, Phase, Position, Reason, ReceiptStatus,
};
use crate::machine::{
    decision::{Decision, Effect},
    facts::{CommitSeen, KafkaError, KafkaErrorKind, KafkaSeen, PerPartition, TopicPartition, group},
    guards::Guard,
    pass::Pass,
    plan::{self, limits},
    refusal::{Refusal, kafka_reason},
    request::Request,
};

/// How many commits are sent before what is still not as planned counts as failed: something commits over us.
pub const MAX_COMMITS: i32 = 10;

/// How soon something that may heal by itself is tried again.
const RETRY: SignedDuration = SignedDuration::from_secs(1);

/// What is said when the broker itself has kept a commit out.
const REFUSED: &str = "the broker refused the commit because a consumer had joined; waits until the group is free again";

pub(in crate::machine) fn decide(mut pass: Pass<'_>, request: &Request) -> Decision {
    if !pass.consumers_are_gone() {
        return pass.not_gone();
    }
    if let Some(why) = &pass.seen.report_lost {
        let message = format!("the report of the plan is needed and not there: {why}. {}", pass.offsets_said());
        return pass.finish(Phase::Failed, Reason::ReportUnavailable, message);
    }
    let seen = match &pass.seen.kafka {
        KafkaSeen::ForCommit(seen) => seen,
        KafkaSeen::Failed(error) if error.kind.is_transient() => {
            let refusal = Refusal::from_kafka(error, "the offsets cannot be committed yet");
            return pass.wait(refusal.reason, refusal.message, RETRY);
        }
        KafkaSeen::Failed(error) => {
            let message = format!("the offsets could not be committed: {error}. {}", pass.offsets_said());
            return pass.finish(Phase::Failed, kafka_reason(error.kind), message);
        }
        KafkaSeen::NotAsked | KafkaSeen::ForPlan(_) | KafkaSeen::Group(_) => return pass.again(),
    };
    if !group::is_free(&seen.group) {
        let message = format!("a consumer joined group {} before the commit; waits until the group is free again", request.group);
        return joined(pass, &message);
    }
    if Guard::PlanFinal.stops(pass.status.final_plan_time.is_none()) {
        return make_final(pass, request, seen);
    }
    // One that an earlier version of the operator had begun to commit has none yet.
    name_receipt(&mut pass, request);
    commit(pass, request, seen)
}

/// From here on there may be a receipt; the caller writes it before the status that counts the first commit, and so before that commit.
fn name_receipt(pass: &mut Pass<'_>, request: &Request) {
    pass.status.receipt.get_or_insert_with(|| ReceiptStatus { config_map: request.receipt.clone(), settled: false });
}

/// The last look at the logs before the first commit: what stands there, and the targets within the bounds that hold now.
/// This is recorded before anything is committed, and never computed again from a relative goal.
fn make_final(mut pass: Pass<'_>, request: &Request, seen: &CommitSeen) -> Decision {
    let mut waits_for = None;
    for partition in &mut pass.status.partitions {
        let at = TopicPartition::new(&partition.topic, partition.partition);
        match settle(partition, &at, request, seen) {
            Ok(()) => {}
            Err(Trouble::Lasting(error)) => fail(partition, error.message.clone()),
            Err(Trouble::Refused(why)) => fail(partition, why),
            Err(Trouble::Passing(why)) => waits_for = Some(format!("partition {at}: {why}")),
        }
    }
    if let Some(problem) = waits_for {
        return pass.wait(Reason::Committing, format!("waits before the first commit: {problem}"), RETRY);
    }
    if let Some(refusal) = limits::refusals(request, &pass.status.partitions).into_iter().next() {
        let message = format!("the logs and the group have moved since the plan: {}. {}", refusal.message, pass.offsets_said());
        return pass.finish(Phase::Failed, refusal.reason, message);
    }
    pass.status.final_plan_time = Some(pass.instant());
    name_receipt(&mut pass, request);
    let (reason, message) = (Reason::Committing, "the plan is final; offsets are about to be committed");
    pass.go_on(Phase::Resetting, reason, message)
}

fn settle<'a>(
    partition: &mut PartitionStatus,
    at: &TopicPartition,
    request: &Request,
    seen: &'a CommitSeen,
) -> Result<(), Trouble<'a>> {
    let bounds = *answered(&seen.bounds, at)?;
    let committed = answered(&seen.committed, at)?.as_ref();
    let stable =
        partition.requested_position == Some(Position::Latest) && request.isolation_level == IsolationLevel::ReadCommitted;
    let stable_end = if stable { Some(*answered(&seen.stable_ends, at)?) } else { None };
    plan::settle(partition, bounds, stable_end, committed, request.out_of_range).map_err(Trouble::Refused)
}

/// Reads back, and commits what is not as planned.
fn commit(mut pass: Pass<'_>, request: &Request, seen: &CommitSeen) -> Decision {
    let mut offsets = vec![];
    let mut waits_for = None;
    let attempts = pass.status.commits;
    let wanted = |planned: &&mut PartitionStatus| {
        matches!(planned.outcome, PartitionOutcome::Planned | PartitionOutcome::Unconfirmed | PartitionOutcome::Reset)
    };
    for partition in pass.status.partitions.iter_mut().filter(wanted) {
        let at = TopicPartition::new(&partition.topic, partition.partition);
        match read_back(partition, &at, request, attempts, seen) {
            Ok(true) => {
                // Recorded before it is sent: from here on nobody may say that nothing was committed.
                partition.outcome = PartitionOutcome::Unconfirmed;
                offsets.push((at, partition.target_offset));
            }
            Ok(false) => {}
            Err(Trouble::Lasting(error)) => fail(partition, error.message.clone()),
            Err(Trouble::Refused(why)) => fail(partition, why),
            Err(Trouble::Passing(why)) => waits_for = Some(format!("partition {at}: {why}")),
        }
    }
    if !offsets.is_empty() {
        pass.status.commits += 1;
        return pass.act(Effect::Commit(offsets));
    }
    if let Some(problem) = waits_for {
        return pass.wait(Reason::Committing, format!("cannot read back yet: {problem}"), RETRY);
    }
    conclude(pass)
}

/// Reads one partition back; whether it has to be committed, within the bounds as they are now.
fn read_back<'a>(
    partition: &mut PartitionStatus,
    at: &TopicPartition,
    request: &Request,
    attempts: i32,
    seen: &'a CommitSeen,
) -> Result<bool, Trouble<'a>> {
    let found = answered(&seen.committed, at)?.as_ref();
    let stands = found.is_some_and(|found| found.offset == partition.target_offset && found.metadata == request.marker);
    if Guard::ReadBack.holds(stands) {
        partition.outcome = PartitionOutcome::Reset;
        partition.after = Some(partition.target_offset);
        partition.message = None;
        return Ok(false);
    }
    partition.outcome = PartitionOutcome::Planned;
    partition.after = None;
    if attempts >= MAX_COMMITS {
        let stands = found.map_or_else(|| "nothing".to_owned(), |found| found.offset.to_string());
        partition.outcome = PartitionOutcome::Failed;
        partition.message.get_or_insert_with(|| {
            format!(
                "after {attempts} commits {stands} stands there: something commits over it without being a member of the group"
            )
        });
        return Ok(false);
    }
    let planned = partition.target_offset;
    if plan::keep_in_bounds(partition, *answered(&seen.bounds, at)?) && request.out_of_range != OutOfRange::Clamp {
        let policy = if request.out_of_range == OutOfRange::Fail { "Fail" } else { "Skip" };
        return Err(Trouble::Refused(format!(
            "{planned} has gone out of range since the plan became final, and outOfRange is {policy}"
        )));
    }
    Ok(true)
}

/// Why a partition has no answer.
enum Trouble<'a> {
    /// It will not have one.
    Lasting(&'a KafkaError),
    /// It has one, and the request does not allow what follows from it.
    Refused(String),
    /// It may have one soon; why not yet.
    Passing(String),
}

/// The answer for a partition. Unknown is never absent: one that nobody answered for is asked about again.
fn answered<'a, T>(answers: &'a PerPartition<T>, at: &TopicPartition) -> Result<&'a T, Trouble<'a>> {
    match answers.get(at) {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) if error.kind.is_transient() => Err(Trouble::Passing(error.to_string())),
        Some(Err(error)) => Err(Trouble::Lasting(error)),
        None => Err(Trouble::Passing("the broker did not answer for it".into())),
    }
}

/// Every partition is decided: what the run has come to.
fn conclude(mut pass: Pass<'_>) -> Decision {
    let totals = totals(&pass.status.partitions);
    let left_alone = if totals.left_alone > 0 { format!("; {} left as they were", totals.left_alone) } else { String::new() };
    if totals.failed == 0 && totals.reset == 0 {
        let message =
            format!("nothing was committed{left_alone}: by now no target is in range that differs from what stands there");
        pass.condition(ConditionType::OffsetsReset, Some(false), Reason::NothingToReset, &message);
        let repaired = pass.status.partitions.iter().all(|planned| planned.outcome == PartitionOutcome::Unchanged);
        return if repaired {
            pass.finish(Phase::Succeeded, Reason::AlreadyInRange, message)
        } else {
            pass.finish(Phase::Failed, Reason::NothingToReset, message)
        };
    }
    if totals.failed == 0 {
        let message = format!("all {} partitions were committed and read back{left_alone}", totals.reset);
        pass.condition(ConditionType::OffsetsReset, Some(true), Reason::OffsetsVerified, &message);
        pass.note(false, Reason::OffsetsVerified, &message, None);
        let clamped = if totals.clamped > 0 { format!(" ({} clamped into the log)", totals.clamped) } else { String::new() };
        let message = format!(
            "{} partitions reset and read back{clamped}: {} records to be consumed again, {} skipped{left_alone}",
            totals.reset, totals.replayed, totals.skipped
        );
        return pass.finish(Phase::Succeeded, Reason::Succeeded, message);
    }
    let reason = if totals.reset > 0 { Reason::PartiallyReset } else { Reason::AllPartitionsFailed };
    let first = pass.status.partitions.iter().find(|partition| partition.outcome == PartitionOutcome::Failed);
    let why = first.map(|partition| {
        format!("{}-{}: {}", partition.topic, partition.partition, partition.message.as_deref().unwrap_or_default())
    });
    let message = format!(
        "{} of {} partitions could not be reset, {} were and were read back; the partitions say which. The first that could not: {}",
        totals.failed,
        totals.partitions,
        totals.reset,
        why.unwrap_or_default()
    );
    pass.condition(ConditionType::OffsetsReset, Some(false), reason, &message);
    pass.finish(Phase::Failed, reason, message)
}

/// Somebody joined: never committed over, waited for again.
fn joined(mut pass: Pass<'_>, message: &str) -> Decision {
    pass.condition(ConditionType::GroupEmpty, Some(false), Reason::WaitingForGroup, message);
    pass.go_on(Phase::Draining, Reason::WaitingForGroup, message)
}

/// The answers of a commit. Only codes that speak of an error change anything: success is what is read back.
pub(in crate::machine) fn committed(mut pass: Pass<'_>, answers: &PerPartition<()>) -> Decision {
    let (mut member, mut open) = (false, answers.is_empty());
    for partition in &mut pass.status.partitions {
        let at = TopicPartition::new(&partition.topic, partition.partition);
        let error = match answers.get(&at) {
            Some(Err(error)) => error,
            Some(Ok(())) => {
                open = true;
                continue;
            }
            None => continue,
        };
        open |= leaves_open(error.kind);
        member |= error.kind == KafkaErrorKind::UnknownMember;
        if !error.kind.is_transient() {
            fail(partition, error.message.clone());
            continue;
        }
        partition.message = Some(error.message.clone());
        if !leaves_open(error.kind) {
            partition.outcome = PartitionOutcome::Planned;
        }
    }
    pass.status.commits_refused += i32::from(!open);
    if member {
        return joined(pass, REFUSED);
    }
    pass.again()
}

/// A commit that failed as a whole: the next pass reads back what became of it.
pub(in crate::machine) fn commit_failed(mut pass: Pass<'_>, offsets: &[(TopicPartition, i64)], error: &KafkaError) -> Decision {
    if Guard::RefusedForSure.holds(!leaves_open(error.kind)) {
        pass.status.commits_refused += 1;
        let refused: BTreeSet<(&str, i32)> = offsets.iter().map(|(at, _)| (at.topic.as_str(), at.partition)).collect();
        for partition in &mut pass.status.partitions {
            if refused.contains(&(partition.topic.as_str(), partition.partition)) {
                partition.outcome = PartitionOutcome::Planned;
            }
        }
    }
    if error.kind == KafkaErrorKind::UnknownMember {
        return joined(pass, REFUSED);
    }
    let message = format!("a commit ended without an answer ({error}); what became of it is read back");
    pass.wait(kafka_reason(error.kind), message, RETRY)
}

/// Whether a commit that ended with this may have been carried out all the same: nobody has said that it was not. A coordinator says 15
/// also when the report was appended and not replicated in time (REQUEST_TIMED_OUT and NOT_ENOUGH_REPLICAS_AFTER_APPEND become 15).
fn leaves_open(kind: KafkaErrorKind) -> bool {
    matches!(kind, KafkaErrorKind::Timeout | KafkaErrorKind::Unreachable | KafkaErrorKind::Coordinator | KafkaErrorKind::Server)
}

fn fail(partition: &mut PartitionStatus, why: String) {
    partition.outcome = PartitionOutcome::Failed;
    partition.after = None;
    partition.message = Some(why);
}
