//! What the broker and the spec allow: access, targets out of range, and how many records may be
//! replayed and skipped.

use super::clamp::clamp_offset;
use crate::api::{Clamp, OutOfRange, PartitionOutcome, PartitionStatus, Reason};
use crate::machine::{
    facts::{Access, Bounds, TopicPartition},
    metadata,
    refusal::Refusal,
    request::Request,
    text::{Message, count, name_partitions, some, verb},
    totals::totals,
};

/// Decides whether a partition is reset, now that its target is known.
pub(in crate::machine) fn apply(planned: &mut PartitionStatus, bounds: Bounds, out_of_range: OutOfRange) {
    (planned.outcome, planned.message) = if out_of_range == OutOfRange::Skip && is_out_of_range(planned, bounds) {
        let message = "its target is out of range, and outOfRange is Skip, so it is left as it is".to_owned();
        (PartitionOutcome::Skipped, Some(message))
    } else if planned.before == planned.target_offset
        && metadata::to_restore(planned).is_none_or(|wanted| wanted == metadata::before(planned))
    {
        // A commit would only replace the metadata that the application has stored with its offset.
        (PartitionOutcome::Unchanged, None)
    } else {
        (PartitionOutcome::Planned, None)
    };
}

/// Whether the requested target is not in the log. An empty partition has no range; and a time
/// before the first record is out of range only when older records have been deleted.
fn is_out_of_range(planned: &PartitionStatus, bounds: Bounds) -> bool {
    match planned.clamped {
        None | Some(Clamp::PartitionEmpty) => false,
        Some(Clamp::BelowLogStart | Clamp::AboveLogEnd | Clamp::AfterLastRecord | Clamp::Unknown) => bounds.start < bounds.end,
        Some(Clamp::BeforeFirstRecord) => bounds.start > 0,
    }
}

/// The operations that the broker reports as not allowed, and would refuse once the consumers have
/// stopped.
pub(in crate::machine) fn denials(request: &Request, access: &Access, removes: bool) -> Vec<Refusal> {
    let mut refusals = vec![];
    if access.group_read == Some(false) {
        let message = Message::naming([&request.group], |[group]| {
            format!("The broker does not allow committing offsets for group {group}")
        });
        refusals.push(Refusal::lasting(Reason::AuthorizationFailed, message));
    }
    if removes && access.group_delete == Some(false) {
        let message = Message::naming([&request.group], |[group]| {
            format!("The broker does not allow removing committed offsets of group {group}")
        })
        .detail("It needs the operation Delete on the group; committing needs only Read");
        refusals.push(Refusal::lasting(Reason::AuthorizationFailed, message));
    }
    let denied: Vec<&String> =
        access.topics_read.iter().filter(|(_, read)| **read == Some(false)).map(|(topic, _)| topic).collect();
    let message = match denied[..] {
        [] => return refusals,
        [topic] => Message::naming([topic], |[topic]| format!("The broker does not allow committing offsets for topic {topic}")),
        _ => Message::new(format!("The broker does not allow committing offsets for {} topics", denied.len()))
            .detail(format!("They are {}", some(&denied, NAMED_TOPICS))),
    };
    refusals.push(Refusal::lasting(Reason::AuthorizationFailed, message));
    refusals
}

/// How many topics without access a message names.
const NAMED_TOPICS: usize = 10;

/// Why the spec does not allow this plan.
pub(in crate::machine) fn refusals(request: &Request, partitions: &[PartitionStatus]) -> Vec<Refusal> {
    let mut refusals = vec![];
    if request.out_of_range == OutOfRange::Fail {
        let out: Vec<&PartitionStatus> = partitions
            .iter()
            .filter(|planned| is_out_of_range(planned, Bounds { start: planned.log_start, end: planned.log_end }))
            .collect();
        if let Some(first) = out.first() {
            let names: Vec<TopicPartition> =
                out.iter().map(|planned| TopicPartition::new(&planned.topic, planned.partition)).collect();
            let which = match out.len() {
                1 => "The target of 1 partition is".to_owned(),
                many => format!("The targets of {many} partitions are"),
            };
            let message = Message::new(format!("{which} out of range, and outOfRange is Fail"))
                .detail(format!(
                    "{} {} out of range: {} (the log of the first one goes from {} to {})",
                    verb(&names, "This one", "These"),
                    verb(&names, "is", "are"),
                    name_partitions(&names),
                    first.log_start,
                    first.log_end
                ))
                .advice("Look at the plan with dryRun: true, then correct the target or set outOfRange to Clamp or Skip");
            refusals.push(Refusal::lasting(Reason::OutOfRange, message));
        }
    }
    let totals = totals(partitions);
    let (may_replay, may_skip) = by_removals(partitions);
    for (name, limit, what, amount, by_removals) in [
        ("maxReplay", request.max_replay, "replay", totals.replayed, may_replay),
        ("maxSkip", request.max_skip, "skip", totals.skipped, may_skip),
    ] {
        let amount = amount.saturating_add(by_removals);
        if let Some(limit) = limit
            && amount > limit
        {
            let records = count(amount, "record", "records");
            let would = if by_removals > 0 { "may" } else { "would" };
            let removals = format!(
                "{by_removals} of them are where the committed offset is removed, as auto.offset.reset of the consumers decides there"
            );
            let message = Message::new(format!("The plan {would} {what} {records}, and limits.{name} is {limit}"))
                .detail(if by_removals > 0 { removals } else { String::new() })
                .detail(if what == "skip" { never_consumed(partitions) } else { String::new() })
                .advice(format!("Look at the plan with dryRun: true, then correct the targets or raise limits.{name}"));
            refusals.push(Refusal::lasting(Reason::LimitExceeded, message));
        }
    }
    refusals
}

/// How many records may be replayed and skipped at most where committed offsets are removed: consumers start at the start of the log
/// or at its end, as their auto.offset.reset says.
fn by_removals(partitions: &[PartitionStatus]) -> (i64, i64) {
    let removals = partitions.iter().filter(|planned| planned.is_removal() && planned.outcome == PartitionOutcome::Planned);
    removals.fold((0_i64, 0_i64), |(replayed, skipped), planned| {
        let bounds = Bounds { start: planned.log_start, end: planned.log_end };
        let from = planned.before.map_or(bounds.start, |before| clamp_offset(before, bounds).0);
        (replayed.saturating_add(from.saturating_sub(bounds.start)), skipped.saturating_add(bounds.end.saturating_sub(from)))
    })
}

/// The records that are skipped before the group has ever consumed from their partitions.
fn never_consumed(partitions: &[PartitionStatus]) -> String {
    let without: Vec<&PartitionStatus> =
        partitions.iter().filter(|planned| planned.before.is_none() && planned.skipped > 0).collect();
    let records = without.iter().fold(0_i64, |records, planned| records.saturating_add(planned.skipped));
    if records == 0 {
        return String::new();
    }
    let names: Vec<TopicPartition> =
        without.iter().map(|planned| TopicPartition::new(&planned.topic, planned.partition)).collect();
    format!(
        "{} of them {} in {} without a committed offset, from the start of the log to the target",
        records,
        if records == 1 { "is" } else { "are" },
        name_partitions(&names)
    )
}
