//! What the broker and the request allow: access, targets out of range, and how much may be replayed and skipped.

use crate::api::{Clamp, OutOfRange, PartitionOutcome, PartitionStatus, Position, Reason};
use crate::machine::totals::totals;
use crate::machine::{
    facts::{Access, Bounds, TopicPartition},
    refusal::Refusal,
    request::Request,
    text::name_some,
};

/// Decides what becomes of a partition, now that its target is known.
pub(in crate::machine) fn apply(planned: &mut PartitionStatus, bounds: Bounds, out_of_range: OutOfRange) {
    (planned.outcome, planned.message) = if out_of_range == OutOfRange::Skip && is_out_of_range(planned, bounds) {
        let message = "its target is out of range, and outOfRange is Skip: it is left as it is".to_owned();
        (PartitionOutcome::Skipped, Some(message))
    } else if planned.requested_position == Some(Position::Current) && planned.clamped.is_none() {
        (PartitionOutcome::Unchanged, None)
    } else {
        (PartitionOutcome::Planned, None)
    };
}

/// Whether what was asked for is not there. An empty partition has nothing to be out of; and a time before the first record is only out
/// of range when older records have been deleted.
fn is_out_of_range(planned: &PartitionStatus, bounds: Bounds) -> bool {
    match planned.clamped {
        None | Some(Clamp::PartitionEmpty) => false,
        Some(Clamp::BelowLogStart | Clamp::AboveLogEnd | Clamp::AfterLastRecord) => bounds.start < bounds.end,
        Some(Clamp::BeforeFirstRecord) => bounds.start > 0,
    }
}

/// What the broker says that we may not do, and will refuse once the consumers have stopped.
pub(in crate::machine) fn denials(request: &Request, access: &Access) -> Vec<Refusal> {
    let mut refusals = vec![];
    if access.group_read == Some(false) {
        let message = format!("the broker does not allow to commit for group {}", request.group);
        refusals.push(Refusal::lasting(Reason::AuthorizationFailed, message));
    }
    for (topic, _) in access.topics_read.iter().filter(|(_, read)| **read == Some(false)) {
        let message = format!("the broker does not allow to commit for topic {topic}");
        refusals.push(Refusal::lasting(Reason::AuthorizationFailed, message));
    }
    refusals
}

/// Why the request does not allow this plan.
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
            let message = format!(
                "the target is out of range for {} (the log of the first one goes from {} to {}), and outOfRange is Fail",
                name_some(&names),
                first.log_start,
                first.log_end
            );
            refusals.push(Refusal::lasting(Reason::OutOfRange, message));
        }
    }
    let totals = totals(partitions);
    for (name, limit, what, amount) in [
        ("maxReplay", request.max_replay, "be consumed again", totals.replayed),
        ("maxSkip", request.max_skip, "be left out", totals.skipped),
    ] {
        if let Some(limit) = limit
            && amount > limit
        {
            let message = format!("{amount} records would {what}, and limits.{name} is {limit}");
            refusals.push(Refusal::lasting(Reason::LimitExceeded, message));
        }
    }
    refusals
}
