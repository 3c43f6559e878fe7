//! Resetting: bounds again, commit, read back. A partition counts as reset only after it was read
//! back.

use std::collections::{BTreeSet, HashMap};

use super::{
    canary, canary_undo,
    read_back::{Change, RETRY, Trouble, answered, is_read_back, read_back},
};
use crate::api::{ConditionType, IsolationLevel, PartitionOutcome, PartitionStatus, Phase, Position, Reason, ReceiptStatus};
use crate::machine::{
    decision::{Decision, Effect},
    facts::{CommitSeen, Committed, Denial, KafkaError, KafkaErrorKind, KafkaSeen, PerPartition, TopicPartition, group},
    guards::Guard,
    limits::{NOT_ALLOWED, NOT_ALLOWED_RETRY},
    metadata,
    pass::Pass,
    plan::{self, limits},
    refusal::{Refusal, kafka_reason, kafka_summary},
    request::Request,
    text::{Message, count, name_partitions, some},
    topic_id::is_of_another_topic,
    totals::totals,
};

/// What happened when the broker itself has refused a commit.
const REFUSED: &str = "The broker refused the commit because a consumer had joined the group";

/// How many kinds of errors of partitions a message names.
const NAMED_ERRORS: usize = 5;

/// How many other topics a message names.
const NAMED_TOPICS: usize = 3;

pub(in crate::machine) fn decide(mut pass: Pass<'_>, request: &Request) -> Decision {
    if !pass.consumers_are_stopped() && !is_read_back(&pass.status, request, &pass.seen.kafka) {
        return pass.stop_again();
    }
    if let Some(why) = &pass.seen.report_lost {
        if matches!(why, Denial::NotAllowed(_)) && pass.may_soon_be_allowed(NOT_ALLOWED) {
            let message = Message::new("The report of the plan cannot be read yet, and no offset is committed without it")
                .detail(why.to_string())
                .detail("The operator tries again every second; the consumers are at zero");
            return pass.wait(Reason::ReportUnavailable, message, NOT_ALLOWED_RETRY);
        }
        let message = Message::new("The report of the plan is missing, and no offset is committed without it")
            .detail(why.to_string())
            .detail(pass.offsets_changed())
            .advice("Create the reset again under a new name, and leave its ConfigMap alone while it runs");
        return pass.finish(Phase::Failed, Reason::ReportUnavailable, message);
    }
    let seen = match &pass.seen.kafka {
        KafkaSeen::ForCommit(seen) => seen,
        KafkaSeen::Failed(error) if error.kind.is_transient() => {
            let refusal = Refusal::of_cluster(error, "the commit", &request.kafka);
            let message = refusal.message.detail("The operator tries again before it commits; the consumers are at zero");
            return pass.wait(refusal.reason, message, RETRY);
        }
        KafkaSeen::Failed(error) => {
            let refusal = Refusal::of_cluster(error, "the commit", &request.kafka);
            let message = refusal.message.detail(pass.offsets_changed());
            return pass.finish(Phase::Failed, refusal.reason, message);
        }
        KafkaSeen::NotAsked | KafkaSeen::ForPlan(_) | KafkaSeen::Group(_) | KafkaSeen::AfterReset(_) => return pass.again(),
    };
    if !group::is_empty(&seen.group) {
        return joined(pass, "A consumer joined the group before the commit");
    }
    if let Some(recreated) = recreated(&mut pass, seen) {
        let message = recreated.detail(pass.offsets_changed());
        return pass.finish(Phase::Failed, Reason::TopicRecreated, message);
    }
    if !Guard::PlanFinal.allows(pass.status.final_plan_time.is_some()) {
        return make_final(pass, request, seen);
    }
    // A run that an earlier version of the operator had begun has none yet.
    name_receipt(&mut pass, request);
    commit(pass, request, seen)
}

/// A topic that was deleted and created again since the plan was made: the offsets of the plan are
/// those of the deleted one. Before the first commit that is why nothing is committed; after it,
/// the partitions of that topic have failed.
fn recreated(pass: &mut Pass<'_>, seen: &CommitSeen) -> Option<Message> {
    let is_other = |planned: &PartitionStatus| is_of_another_topic(planned, &seen.topic_ids);
    let counts = |planned: &PartitionStatus| !matches!(planned.outcome, PartitionOutcome::Failed | PartitionOutcome::Skipped);
    let topics: BTreeSet<String> = pass
        .status
        .partitions
        .iter()
        .filter(|planned| counts(planned) && is_other(planned))
        .map(|planned| planned.topic.clone())
        .collect();
    let first = topics.first()?;
    if pass.status.commits > 0 {
        for planned in pass.status.partitions.iter_mut().filter(|planned| topics.contains(&planned.topic) && counts(planned)) {
            fail(planned, "its topic was deleted and created again after the plan was made".to_owned());
        }
        return None;
    }
    let others: Vec<&String> = topics.iter().skip(1).collect();
    let others = if others.is_empty() { String::new() } else { format!("The same happened to {}", some(&others, NAMED_TOPICS)) };
    Some(
        Message::naming([first], |[topic]| format!("Topic {topic} was deleted and created again after the plan was made"))
            .detail(others)
            .detail("The planned offsets are those of the deleted topic")
            .advice("Create the reset again under a new name"),
    )
}

/// From here on there may be a receipt; the caller writes it before the status that counts the
/// first commit, and so before that commit.
pub(super) fn name_receipt(pass: &mut Pass<'_>, request: &Request) {
    pass.status.receipt.get_or_insert_with(|| ReceiptStatus { config_map: request.receipt.clone(), settled: false });
}

/// The last look at the logs before the first commit: the committed offsets, and the targets within
/// the current bounds. This is recorded before anything is committed, and never computed again from
/// a relative goal.
fn make_final(mut pass: Pass<'_>, request: &Request, seen: &CommitSeen) -> Decision {
    let mut waits_for = None;
    for partition in &mut pass.status.partitions {
        let at = TopicPartition::new(&partition.topic, partition.partition);
        match settle(partition, &at, request, seen) {
            Ok(()) => {}
            Err(Trouble::Lasting(error)) => fail(partition, error.message.clone()),
            Err(Trouble::Refused(why)) => fail(partition, why),
            Err(Trouble::Passing(passing)) => waits_for = Some(passing.or(waits_for, at)),
        }
    }
    if let Some(unread) = waits_for {
        return unread.wait(pass, request, "Reading the offsets again before the first commit");
    }
    if let Some(refusal) = limits::refusals(request, &pass.status.partitions).into_iter().next() {
        let message =
            refusal.message.detail("The logs and the group have moved since the plan was made").detail(pass.offsets_changed());
        return pass.finish(Phase::Failed, refusal.reason, message);
    }
    pass.status.final_plan_time = Some(pass.instant());
    let message = Message::new("The plan is final, and the offsets are being committed").detail("The consumers are at zero");
    pass.say(Reason::Committing, message);
    // The plan is written together with the intent to commit, and so before the first commit.
    name_receipt(&mut pass, request);
    commit(pass, request, seen)
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
    plan::settle(partition, bounds, stable_end, committed, request.out_of_range)
        .map_err(|none| Trouble::Refused(none.to_string()))
}

/// Reads back, and commits the partitions that are not as planned.
fn commit(mut pass: Pass<'_>, request: &Request, seen: &CommitSeen) -> Decision {
    let (mut offsets, mut removed) = (vec![], vec![]);
    let mut waits_for = None;
    let (attempts, undoing) = (canary_undo::attempts(&pass.status), pass.status.is_undoing());
    let is_read_back = |planned: &&mut PartitionStatus| match planned.outcome {
        PartitionOutcome::Planned | PartitionOutcome::Unconfirmed | PartitionOutcome::Reset => true,
        // Whatever is committed in range is as requested there; and what the reset has not set, its undo leaves alone.
        PartitionOutcome::Unchanged => !undoing && planned.requested_position != Some(Position::Current),
        PartitionOutcome::Failed | PartitionOutcome::Skipped => false,
    };
    for partition in pass.status.partitions.iter_mut().filter(is_read_back) {
        let at = TopicPartition::new(&partition.topic, partition.partition);
        match read_back(partition, &at, request, attempts, seen) {
            Ok(None) => {}
            Ok(Some(Change::Remove)) => removed.push(at),
            Ok(Some(Change::Commit(wanted))) => {
                // Recorded before it is sent: from here on the status must not say that nothing was
                // committed.
                partition.outcome = PartitionOutcome::Unconfirmed;
                offsets.push((at, wanted));
            }
            Err(Trouble::Lasting(error)) => fail(partition, error.message.clone()),
            Err(Trouble::Refused(why)) => fail(partition, why),
            Err(Trouble::Passing(passing)) => waits_for = Some(passing.or(waits_for, at)),
        }
    }
    if !offsets.is_empty() {
        pass.status.commits += 1;
        return pass.act(Effect::Commit(offsets));
    }
    if !removed.is_empty() {
        set_outcome(&mut pass, removed.iter(), PartitionOutcome::Unconfirmed);
        pass.status.commits += 1;
        return pass.act(Effect::RemoveOffsets(removed));
    }
    if let Some(unread) = waits_for {
        return unread.wait(pass, request, "Reading the committed offsets back");
    }
    if undoing {
        return canary_undo::conclude(pass);
    }
    conclude(pass, request)
}

/// Every partition is decided: the outcome of the run.
fn conclude(mut pass: Pass<'_>, request: &Request) -> Decision {
    let totals = totals(&pass.status.partitions);
    let left_alone = if totals.left_alone > 0 {
        format!("{} left unchanged", count(totals.left_alone, "partition was", "partitions were"))
    } else {
        String::new()
    };
    if totals.failed == 0 && totals.reset == 0 {
        let unchanged = pass.status.partitions.iter().all(|planned| planned.outcome == PartitionOutcome::Unchanged);
        let (phase, reason) =
            if unchanged { (Phase::Succeeded, Reason::NothingToChange) } else { (Phase::Failed, Reason::NothingToReset) };
        let milestone = "No offset had to be committed";
        pass.condition(ConditionType::OffsetsReset, Some(false), reason, milestone);
        let message = if unchanged {
            Message::new("After the stop every committed offset was as requested, so none was changed")
                .detail("The consumers continue from the committed offsets, and not from their position before the stop")
        } else {
            Message::new("After the stop no partition was left to be reset, so no offset was changed")
                .detail("No target in range differs from the committed offset any more")
        };
        let message = message.detail(left_alone);
        return pass.finish(phase, reason, message);
    }
    let without =
        pass.status.partitions.iter().filter(|planned| planned.outcome == PartitionOutcome::Reset && planned.metadata_not_stored);
    let without = match without.count() {
        0 => String::new(),
        many => format!(
            "The broker did not return the metadata of the commits of {}, so they were read back by their offsets alone",
            count(many, "partition", "partitions")
        ),
    };
    let removals =
        pass.status.partitions.iter().filter(|planned| planned.outcome == PartitionOutcome::Reset && planned.is_removal());
    let removals = i64::try_from(removals.count()).unwrap_or(i64::MAX);
    let removed = if removals > 0 {
        format!("{} removed", count(removals, "committed offset was", "committed offsets were"))
    } else {
        String::new()
    };
    if totals.failed == 0 {
        let committed = format!("{} committed", count(totals.reset - removals, "offset was", "offsets were"));
        let message = match (totals.reset == removals, removals) {
            (true, _) => format!("{removed}, and none was read back"),
            (false, 0) => format!("{committed} and read back"),
            (false, _) => format!("{committed} and {removed}, as read back"),
        };
        pass.condition(ConditionType::OffsetsReset, Some(true), Reason::OffsetsVerified, &message);
        pass.note(false, Reason::OffsetsVerified, &message, None);
        let reset = count(totals.reset, "partition reset", "partitions reset");
        let clamped = count(totals.clamped, "target offset was moved", "target offsets were moved");
        let clamped = if totals.clamped > 0 { format!("{clamped} into the log's range") } else { String::new() };
        let replayed = count(totals.replayed, "record", "records");
        let message = Message::new(format!("{reset}: {replayed} to replay, {} to skip", totals.skipped))
            .detail("Every offset was read back as planned")
            .detail(removed)
            .detail(clamped)
            .detail(without)
            .detail(left_alone);
        return canary::begin(pass, request, message);
    }
    let reason = if totals.reset > 0 { Reason::PartiallyReset } else { Reason::AllPartitionsFailed };
    let wanted = totals.partitions - totals.left_alone;
    let milestone = format!("{} of {wanted} offsets were committed and read back", totals.reset);
    pass.condition(ConditionType::OffsetsReset, Some(false), reason, milestone);
    let meaning = if totals.reset > 0 {
        format!(
            "{} reset and read back, so the consumers continue from a mixture of new and old offsets",
            count(totals.reset, "partition was", "partitions were")
        )
    } else {
        "The consumers continue from the offsets before the reset, unless another client has set others".to_owned()
    };
    let message = Message::new(format!("{} of {wanted} partitions could not be reset", totals.failed))
        .detail(errors(&pass.status.partitions))
        .detail(meaning)
        .detail(removed)
        .detail(without)
        .detail(left_alone)
        .advice("Correct the cause, which status.partitions has for each partition, and reset these with another OffsetReset");
    let message = if totals.reset > 0 { message.advice("Or undo this one: an OffsetReset with undo.name") } else { message };
    pass.finish(Phase::Failed, reason, message)
}

/// The errors of the failed partitions, equal ones once.
fn errors(partitions: &[PartitionStatus]) -> String {
    let mut errors: Vec<(&str, Vec<TopicPartition>)> = vec![];
    // Each of thousands of partitions may have an error of its own.
    let mut places: HashMap<&str, usize> = HashMap::new();
    for partition in partitions.iter().filter(|partition| partition.outcome == PartitionOutcome::Failed) {
        let at = TopicPartition::new(&partition.topic, partition.partition);
        let why = partition.message.as_deref().unwrap_or_default();
        let why = why.strip_prefix(&format!("{at}: ")).unwrap_or(why);
        let place = *places.entry(why).or_insert_with(|| {
            errors.push((why, vec![]));
            errors.len() - 1
        });
        errors[place].1.push(at);
    }
    let more: usize = errors.iter().skip(NAMED_ERRORS).map(|(_, partitions)| partitions.len()).sum();
    let mut named: Vec<String> =
        errors.iter().take(NAMED_ERRORS).map(|(why, partitions)| format!("{}: {why}", name_partitions(partitions))).collect();
    named.extend((more > 0).then(|| count(more, "partition with another error", "partitions with other errors")));
    format!("Not reset: {}", named.join("; "))
}

/// A consumer joined: nothing is committed over it, and the reset waits for the group to become
/// empty again.
fn joined(mut pass: Pass<'_>, what: &str) -> Decision {
    let milestone = "The group was empty, and then a consumer joined it";
    pass.condition(ConditionType::GroupEmpty, Some(false), Reason::WaitingForGroup, milestone);
    let message = Message::new(what).detail("The reset waits until the group is empty again; the targets are at zero");
    pass.go_on(Phase::Draining, Reason::WaitingForGroup, message)
}

/// The answers of a commit. Only errors change anything: success is what is read back.
pub(in crate::machine) fn committed(
    mut pass: Pass<'_>,
    sent: &[(TopicPartition, Committed)],
    answers: &PerPartition<()>,
) -> Decision {
    let with_reason: BTreeSet<&TopicPartition> =
        sent.iter().filter(|(_, committed)| metadata::has_reason(&committed.metadata)).map(|(at, _)| at).collect();
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
        if error.kind == KafkaErrorKind::MetadataTooLarge && !partition.metadata_not_stored {
            // No marker, and no metadata to restore, is worth the reset: committed again without. The
            // mark alone may be short enough.
            if with_reason.contains(&at) && !partition.reason_not_stored && metadata::to_restore(partition).is_none() {
                partition.reason_not_stored = true;
            } else {
                partition.metadata_not_stored = true;
            }
            partition.outcome = PartitionOutcome::Planned;
            continue;
        }
        if !error.kind.is_transient() && !leaves_open(error.kind) {
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

/// A commit that failed as a whole: the next step reads the offsets back.
pub(in crate::machine) fn commit_failed<'a>(
    mut pass: Pass<'_>,
    partitions: impl Iterator<Item = &'a TopicPartition>,
    error: &KafkaError,
) -> Decision {
    if Guard::RefusedForSure.allows(!leaves_open(error.kind)) {
        pass.status.commits_refused += 1;
        set_outcome(&mut pass, partitions, PartitionOutcome::Planned);
    }
    if error.kind == KafkaErrorKind::UnknownMember {
        return joined(pass, REFUSED);
    }
    let message = Message::new("A commit was not confirmed, so the offsets are read back next")
        .detail(format!("{}: {}", kafka_summary(error.kind), error.message))
        .detail("The consumers are at zero");
    pass.wait(kafka_reason(error.kind), message, RETRY)
}

/// Sets the outcome of these partitions.
fn set_outcome<'a>(pass: &mut Pass<'_>, partitions: impl Iterator<Item = &'a TopicPartition>, outcome: PartitionOutcome) {
    let these: BTreeSet<(&str, i32)> = partitions.map(|at| (at.topic.as_str(), at.partition)).collect();
    for partition in &mut pass.status.partitions {
        if these.contains(&(partition.topic.as_str(), partition.partition)) {
            partition.outcome = outcome;
        }
    }
}

/// Whether a commit with this answer may have been carried out all the same. A coordinator answers
/// 15 even when it appended the commit and the replicas did not follow in time (REQUEST_TIMED_OUT
/// and NOT_ENOUGH_REPLICAS_AFTER_APPEND become 15). A connection whose credentials are refused again is closed with the commits that
/// are in flight.
fn leaves_open(kind: KafkaErrorKind) -> bool {
    matches!(
        kind,
        KafkaErrorKind::Timeout
            | KafkaErrorKind::Unreachable
            | KafkaErrorKind::Coordinator
            | KafkaErrorKind::Server
            | KafkaErrorKind::Authentication
    )
}

fn fail(partition: &mut PartitionStatus, why: String) {
    partition.outcome = PartitionOutcome::Failed;
    partition.after = None;
    partition.message = Some(why);
}
