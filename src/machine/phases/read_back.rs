//! Reading back: whether a partition is as planned, and what is to be committed when it is not.

use jiff::SignedDuration;

use crate::api::{OffsetResetStatus, OutOfRange, PartitionOutcome, PartitionStatus, Phase, Reason};
use crate::machine::{
    decision::Decision,
    facts::{CommitSeen, Committed, KafkaError, KafkaErrorKind, KafkaSeen, Metadata, PerPartition, TopicPartition, group},
    guards::Guard,
    metadata,
    pass::Pass,
    plan::{self, export},
    request::Request,
    text::{Message, name_partitions},
    time::{clock, later},
    topic_id::is_of_another_topic,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

/// How many commits are sent until a partition that is still not as planned counts as failed:
/// another client commits over it.
pub const MAX_COMMITS: i32 = 10;

/// From how many commits on an offset that stands without the marker counts as ours: the broker
/// drops or changes metadata.
const WITHOUT_MARKER: i32 = 2;

/// How soon it tries again after an error that may heal by itself.
pub(super) const RETRY: SignedDuration = SignedDuration::from_secs(1);

/// The commits so far.
#[derive(Clone, Copy)]
pub(super) struct Attempts {
    /// All that were sent.
    pub sent: i32,
    /// Those that the broker has not refused for certain.
    pub may_have_landed: i32,
}

/// The change that the committed offset of a partition still needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Commit this.
    Commit(Committed),
    /// Remove it.
    Remove,
}

/// Reads one partition back; what is to be committed, within the current bounds, when it is not as
/// planned.
///
/// A commit carries the marker of this run, which proves in Kafka that the run has set the offset;
/// or, for an undo, the metadata that is restored. Then offset and metadata as wanted are the proof.
/// A removed offset leaves nothing that could carry a marker: the proof is that the partition has no
/// committed offset.
pub(super) fn read_back<'a>(
    partition: &mut PartitionStatus,
    at: &TopicPartition,
    request: &Request,
    attempts: Attempts,
    seen: &'a CommitSeen,
) -> Result<Option<Change>, Trouble<'a>> {
    let found = answered(&seen.committed, at)?.as_ref();
    let offset_stands = found.map(|found| found.offset) == partition.target_offset;
    let restored = metadata::to_restore(partition);
    if partition.outcome == PartitionOutcome::Unchanged {
        let metadata_stands = restored.as_ref().is_none_or(|wanted| found.is_some_and(|found| found.metadata == *wanted));
        if offset_stands && metadata_stands {
            return Ok(None);
        }
    }
    // What an undo restores has to stand as it is; only where nothing helps, the offset has to do.
    let enough = if restored.is_some() { MAX_COMMITS } else { WITHOUT_MARKER };
    let metadata_stands = found.map_or(partition.is_removal(), |found| found.metadata == wanted(partition, request));
    let without_metadata = offset_stands && !metadata_stands && attempts.may_have_landed >= enough;
    if Guard::ReadBack.allows(offset_stands && (metadata_stands || without_metadata)) {
        partition.metadata_not_stored |= without_metadata;
        partition.outcome = PartitionOutcome::Reset;
        partition.after = partition.target_offset;
        partition.message = None;
        return Ok(None);
    }
    partition.after = None;
    // Resets of this operator go one after the other, so another operator runs that one. Committing
    // over it again and again would end with either.
    if let Some(other) = found.and_then(|found| metadata::set_meanwhile_by(&found.metadata, partition, &request.marker)) {
        partition.outcome = PartitionOutcome::Failed;
        partition.message = Some(format!(
            "OffsetReset {other} of another operator has committed meanwhile: two operators must not reset the same group at a time"
        ));
        return Ok(None);
    }
    partition.outcome = PartitionOutcome::Planned;
    if attempts.sent >= MAX_COMMITS {
        let found =
            found.map_or_else(|| "there is no committed offset".to_owned(), |found| format!("the offset is {}", found.offset));
        partition.outcome = PartitionOutcome::Failed;
        let sent = attempts.sent;
        partition
            .message
            .get_or_insert_with(|| format!("after {sent} commits {found}: a client outside the group keeps overwriting it"));
        return Ok(None);
    }
    let planned = partition.target_offset;
    if partition.target_offset.is_some()
        && plan::keep_in_bounds(partition, *answered(&seen.bounds, at)?)
        && request.out_of_range != OutOfRange::Clamp
        && partition.undone.is_none()
    {
        let policy = if request.out_of_range == OutOfRange::Fail { "Fail" } else { "Skip" };
        let planned = planned.unwrap_or_default();
        return Err(Trouble::Refused(format!(
            "{planned} is out of range since the plan became final, and outOfRange is {policy}"
        )));
    }
    let commit = |offset| Change::Commit(Committed { offset, metadata: wanted(partition, request) });
    Ok(Some(partition.target_offset.map_or(Change::Remove, commit)))
}

/// Whether a partition stands as planned, offset and metadata, by this answer: then nothing else has to be known of it.
#[must_use]
pub fn stands(planned: &PartitionStatus, request: &Request, answer: Option<&Result<Option<Committed>, KafkaError>>) -> bool {
    match answer {
        Some(Ok(Some(found))) => Some(found.offset) == planned.target_offset && found.metadata == wanted(planned, request),
        Some(Ok(None)) => planned.is_removal(),
        Some(Err(_)) | None => false,
    }
}

/// Whether a commit has landed as planned, by what Kafka has answered: the group is empty, and every partition stands. Then
/// nothing more is committed, and the workloads do not matter.
#[must_use]
pub fn is_read_back(status: &OffsetResetStatus, request: &Request, seen: &KafkaSeen) -> bool {
    let KafkaSeen::ForCommit(seen) = seen else { return false };
    let is_as_planned = |planned: &PartitionStatus| {
        let answer = seen.committed.get(&TopicPartition::new(&planned.topic, planned.partition));
        match planned.outcome {
            PartitionOutcome::Planned | PartitionOutcome::Unconfirmed | PartitionOutcome::Reset => {
                stands(planned, request, answer)
            }
            PartitionOutcome::Unchanged | PartitionOutcome::Failed | PartitionOutcome::Skipped => false,
        }
    };
    status.commits > 0
        && status.final_plan_time.is_some()
        && status.partitions_omitted == 0
        && group::is_empty(&seen.group)
        && status.partitions.iter().all(|planned| is_as_planned(planned) && !is_of_another_topic(planned, &seen.topic_ids))
}

/// The metadata of a partition's commit.
fn wanted(partition: &PartitionStatus, request: &Request) -> Metadata {
    if partition.metadata_not_stored {
        return Metadata::default();
    }
    let marker = if partition.reason_not_stored { metadata::without_reason(&request.marker) } else { &request.marker };
    metadata::to_restore(partition).unwrap_or_else(|| marker.into())
}

/// Why a partition cannot be committed now.
pub(super) enum Trouble<'a> {
    /// Kafka's error will not heal by itself.
    Lasting(&'a KafkaError),
    /// The spec does not allow what follows from the answer; the text says why.
    Refused(String),
    /// There is no answer yet.
    Passing(Passing),
}

/// Why there is no answer yet.
pub(super) struct Passing {
    why: String,
    /// The partition has an offset that is pending in a transaction.
    in_transaction: bool,
}

impl Passing {
    /// What to wait for: a transaction goes before everything else, because it may never end by
    /// itself.
    pub fn or(self, earlier: Option<Unread>, at: TopicPartition) -> Unread {
        match earlier {
            Some(mut earlier) if earlier.passing.in_transaction == self.in_transaction => {
                earlier.at.push(at);
                earlier
            }
            Some(earlier) if earlier.passing.in_transaction => earlier,
            Some(_) | None => Unread { at: vec![at], passing: self },
        }
    }
}

/// The partitions that have no answer yet.
pub(super) struct Unread {
    at: Vec<TopicPartition>,
    passing: Passing,
}

impl Unread {
    /// Waits for the answer; for a transaction no longer than `drainTimeout`.
    pub fn wait(self, pass: Pass<'_>, request: &Request, doing: &str) -> Decision {
        let named = name_partitions(&self.at);
        if !self.passing.in_transaction {
            let message = Message::new(doing)
                .detail(format!("There is no answer yet for {named}: {}", self.passing.why))
                .detail("The consumers are at zero");
            return pass.wait(Reason::Committing, message, RETRY);
        }
        let hold = pass.status.hold.as_ref();
        let empty = hold.and_then(|hold| hold.group_empty_time.as_ref()).map_or_else(|| pass.phase_start(), |at| at.0);
        let until = later(empty, request.drain_timeout);
        let until = hold.map_or(until, |hold| until.min(hold.deadline.0));
        let pending = format!("A producer has sent offsets for {named} in a transaction that it has not ended");
        let advice = export::end_transaction(request);
        if pass.now >= until {
            let message = Message::new("A transaction with offsets of the group was still open when drainTimeout expired")
                .detail(pending)
                .detail(pass.offsets_changed())
                .advice(advice)
                .advice("Then create the reset under a new name");
            return pass.finish(Phase::Failed, Reason::TransactionPending, message);
        }
        let message = Message::new("Waiting until a transaction with offsets of the group has ended")
            .detail(pending)
            .detail(format!(
                "The consumers are at zero, and the reset waits until {} at most; the broker aborts the transaction after the producer's \
                 transaction.timeout.ms",
                clock(&MicroTime(until))
            ))
            .detail(pass.offsets_changed())
            .advice(advice);
        pass.wait(Reason::TransactionPending, message, RETRY)
    }
}

/// The answer for a partition. Unknown is never absent: where there is no answer the broker is
/// asked again.
pub(super) fn answered<'a, T>(answers: &'a PerPartition<T>, at: &TopicPartition) -> Result<&'a T, Trouble<'a>> {
    let passing = |why: String, in_transaction: bool| Err(Trouble::Passing(Passing { why, in_transaction }));
    match answers.get(at) {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) if error.kind.is_transient() => passing(error.to_string(), error.kind == KafkaErrorKind::UnstableOffset),
        Some(Err(error)) => Err(Trouble::Lasting(error)),
        None => passing("it is missing from the broker's answer".into(), false),
    }
}
