//! Planning: from the request and what was seen of Kafka to an absolute target for every partition, or to all the reasons why not.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{
    clamp::{clamp_offset, resolve_timestamp},
    group,
    observed::PlanSeen,
    request::{Goal, Request},
    world::{Bounds, KafkaError, KafkaErrorKind, TopicPartition},
};
use crate::api::{MAX_PARTITIONS, PartitionOutcome, PartitionStatus, Reason, Totals};

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason that the status gives.
    pub reason: Reason,
    /// In words.
    pub message: String,
    /// Whether the same attempt may go well a little later.
    pub transient: bool,
}

impl Refusal {
    fn final_(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), transient: false }
    }

    /// The refusal that follows from an error of Kafka about something, such as "topic orders".
    #[must_use]
    pub fn from_kafka(error: &KafkaError, about: &str) -> Self {
        let message = if about.is_empty() { error.message.clone() } else { format!("{about}: {}", error.message) };
        Self { reason: kafka_reason(error.kind), message, transient: error.kind.is_transient() }
    }
}

/// The reason for a kind of error.
#[must_use]
pub fn kafka_reason(kind: KafkaErrorKind) -> Reason {
    match kind {
        KafkaErrorKind::Unreachable | KafkaErrorKind::Timeout => Reason::BrokerUnreachable,
        KafkaErrorKind::Authentication => Reason::AuthenticationFailed,
        KafkaErrorKind::Authorization => Reason::AuthorizationFailed,
        KafkaErrorKind::UnknownTopicOrPartition => Reason::TopicNotFound,
        KafkaErrorKind::Leader => Reason::NoLeader,
        KafkaErrorKind::GroupNotFound => Reason::GroupNotFound,
        KafkaErrorKind::WrongGroupType => Reason::WrongGroupType,
        KafkaErrorKind::UnsupportedForMessageFormat => Reason::TimestampsUnsupported,
        KafkaErrorKind::UnknownMember => Reason::GroupNotEmpty,
        KafkaErrorKind::Coordinator | KafkaErrorKind::UnstableOffset | KafkaErrorKind::Other => Reason::KafkaError,
    }
}

/// Every partition that the request means, with its goal; asked for before bounds and times are looked up.
///
/// # Errors
/// When a topic or a partition does not exist, two entries mean the same partition, or there are too many.
pub fn expand(
    request: &Request,
    topics: &BTreeMap<String, Result<Vec<i32>, KafkaError>>,
) -> Result<BTreeMap<TopicPartition, Goal>, Vec<Refusal>> {
    let mut goals: BTreeMap<TopicPartition, (usize, Goal)> = BTreeMap::new();
    let mut refusals = vec![];
    for topic in request.topics() {
        match topics.get(topic) {
            Some(Ok(_)) => {}
            Some(Err(error)) if error.kind == KafkaErrorKind::UnknownTopicOrPartition => {
                refusals.push(Refusal::final_(Reason::TopicNotFound, format!("topic {topic} does not exist")));
            }
            Some(Err(error)) => refusals.push(Refusal::from_kafka(error, &format!("topic {topic}"))),
            None => refusals.push(Refusal {
                reason: Reason::KafkaError,
                message: format!("topic {topic} was not looked at"),
                transient: true,
            }),
        }
    }
    for (index, entry) in request.entries.iter().enumerate() {
        let Some(Ok(existing)) = topics.get(&entry.topic) else { continue };
        for partition in entry.partitions(existing) {
            if !existing.contains(&partition.partition) {
                let has = existing.len();
                let message = format!(
                    "resets[{index}]: topic {} has no partition {} (it has {has}, from 0)",
                    entry.topic, partition.partition
                );
                refusals.push(Refusal::final_(Reason::PartitionNotFound, message));
            } else if let Some((first, _)) = goals.get(&partition) {
                let message =
                    format!("resets[{first}] and resets[{index}] both mean partition {partition}; leave it out of one of them");
                refusals.push(Refusal::final_(Reason::PartitionTwice, message));
            } else {
                goals.insert(partition, (index, entry.goal));
            }
        }
    }
    if goals.len() > MAX_PARTITIONS {
        let message = format!("the plan has {} partitions; one OffsetReset may have {MAX_PARTITIONS}: split it", goals.len());
        refusals.push(Refusal::final_(Reason::TooManyPartitions, message));
    }
    if refusals.is_empty() {
        Ok(goals.into_iter().map(|(partition, (_, goal))| (partition, goal)).collect())
    } else {
        Err(refusals)
    }
}

/// The plan: an absolute, clamped target for every partition.
///
/// # Errors
/// All reasons why there is none, at least one.
pub fn plan(request: &Request, seen: &PlanSeen) -> Result<Vec<PartitionStatus>, Vec<Refusal>> {
    if !group::is_known(&seen.group, seen.has_commits) {
        let message = format!(
            "the broker does not know group {}: it has neither members nor committed offsets. Check spec.group and spec.kafka; \
             a group that has never consumed cannot be reset",
            request.group
        );
        return Err(vec![Refusal::final_(Reason::GroupNotFound, message)]);
    }
    let goals = expand(request, &seen.topics)?;
    let mut refusals = vec![];
    let mut partitions = vec![];
    for (partition, goal) in goals {
        match plan_partition(&partition, goal, seen) {
            Ok(planned) => partitions.push(planned),
            Err(refusal) => refusals.push(refusal),
        }
    }
    if refusals.is_empty() { Ok(partitions) } else { Err(refusals) }
}

fn plan_partition(at: &TopicPartition, goal: Goal, seen: &PlanSeen) -> Result<PartitionStatus, Refusal> {
    let about = format!("partition {at}");
    let bounds = *answered(seen.bounds.get(at), &about)?;
    let committed = answered(seen.committed.get(at), &about)?;
    let mut planned = PartitionStatus {
        topic: at.topic.clone(),
        partition: at.partition,
        before: committed.as_ref().map(|committed| committed.offset),
        requested_offset: None,
        requested_timestamp: None,
        matched_timestamp: None,
        log_start: bounds.start,
        log_end: bounds.end,
        target: bounds.end,
        clamped: None,
        after: None,
        outcome: PartitionOutcome::Planned,
        message: None,
    };
    match goal {
        Goal::Offset(offset) => {
            planned.requested_offset = Some(offset);
            (planned.target, planned.clamped) = clamp_offset(offset, bounds);
        }
        Goal::Timestamp(millis) => {
            let found = *answered(seen.times.get(at), &about)?;
            planned.requested_timestamp = micro_time(millis);
            planned.matched_timestamp = found.and_then(|found| micro_time(found.timestamp));
            (planned.target, planned.clamped) = resolve_timestamp(millis, found, bounds);
        }
    }
    Ok(planned)
}

/// The target right before the first commit: what was asked for, against the bounds as they are by now.
///
/// An offset is clamped anew from the request, so that "the largest" is the largest now. What was found for a time stays as it was
/// planned: no record at or after that time can lie before it, whatever has arrived since.
pub fn finalize(planned: &mut PartitionStatus, bounds: Bounds) {
    let (target, clamped) = if let Some(requested) = planned.requested_offset {
        clamp_offset(requested, bounds)
    } else {
        let (target, clamped) = clamp_offset(planned.target, bounds);
        (target, clamped.or(planned.clamped))
    };
    planned.target = target;
    planned.clamped = clamped;
    planned.log_start = bounds.start;
    planned.log_end = bounds.end;
}

/// Moves a final target into the bounds when the log has moved since: retention may delete records at any time. Whether it had to.
pub fn keep_in_bounds(planned: &mut PartitionStatus, bounds: Bounds) -> bool {
    let (target, clamped) = clamp_offset(planned.target, bounds);
    let moved = target != planned.target;
    if moved {
        planned.target = target;
        planned.clamped = clamped;
        planned.log_start = bounds.start;
        planned.log_end = bounds.end;
    }
    moved
}

/// Counts over the partitions.
#[must_use]
pub fn totals(partitions: &[PartitionStatus]) -> Totals {
    let mut totals = Totals { partitions: count(partitions.len()), ..Totals::default() };
    for partition in partitions {
        match partition.outcome {
            PartitionOutcome::Planned => {}
            PartitionOutcome::Reset => totals.reset += 1,
            PartitionOutcome::Failed => {
                totals.failed += 1;
                continue;
            }
        }
        totals.clamped += i64::from(partition.clamped.is_some());
        if let Some(before) = partition.before {
            totals.replayed = totals.replayed.saturating_add(before.saturating_sub(partition.target).max(0));
            totals.skipped = totals.skipped.saturating_add(partition.target.saturating_sub(before).max(0));
        }
    }
    totals
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn answered<'a, T>(answer: Option<&'a Result<T, KafkaError>>, about: &str) -> Result<&'a T, Refusal> {
    match answer {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(Refusal::from_kafka(error, about)),
        // Unknown is never absent: a partition that nobody answered for is asked about again.
        None => Err(Refusal {
            reason: Reason::KafkaError,
            message: format!("{about}: the broker did not answer for it"),
            transient: true,
        }),
    }
}

fn micro_time(millis: i64) -> Option<MicroTime> {
    jiff::Timestamp::from_millisecond(millis).ok().map(MicroTime)
}
