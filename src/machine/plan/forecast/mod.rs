//! What can be said in advance about the replay: how long the group takes at least to catch up, and which records may expire before
//! the consumers reach them.
//!
//! The time to catch up is a lower bound, on the condition that consumers do not consume faster, and producers do not produce less,
//! than while that was measured. A number is said only where the condition means something:
//!
//! - Only consumers that had a backlog all the time show how fast they are. Those that have consumed everything consume as much as
//!   is produced, and would be faster after a reset: from them follows no bound.
//! - The commits are seen at intervals, so the time between two of them is taken no longer than it was, and the speed is not
//!   underestimated.
//! - On a compacted topic offsets are no count of records: there nothing is said.
//!
//! A record may be deleted once its own time (`CreateTime` or `LogAppendTime`, as the topic has it) plus `retention.ms` is over. It is
//! deleted with its whole segment and some minutes later, so that is the earliest moment. `retention.bytes` may delete it sooner.

mod rates;
mod words;

pub use rates::PRODUCED_OVER;
pub(in crate::machine) use rates::{CatchUp, Rate, catch_up};

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use self::rates::{produced, speed};
use crate::api::{Clamp, ForecastOf, ForecastStatus, ForecastUnknown, PartitionOutcome, PartitionStatus};
use crate::machine::{
    facts::{ForecastSeen, Group, GroupState, KafkaError, KafkaErrorKind, PlanSeen, TopicConfig, TopicPartition},
    refusal::Refusal,
    request::Request,
    text::name_partitions,
    time::{as_in_spec, later},
};

/// How many topics the status has.
const LISTED: usize = 50;

/// How many partitions are looked at for a forecast, those with the most records to consume: each look is a request for every few
/// hundred of them.
const MOST_PARTITIONS: usize = 2_000;

/// The forecast of a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forecast {
    /// As the status has it; `None` when nothing was read for it.
    pub status: Option<ForecastStatus>,
    /// What may keep the group from catching up, or from its records.
    pub warnings: Vec<String>,
    /// Why `limits.maxCatchUp` does not allow the plan.
    pub refusal: Option<Refusal>,
    /// In one sentence.
    pub summary: String,
}

/// Whether the rates are measured, which takes some seconds: in a dry run, which nobody waits for, and where a limit needs them.
#[must_use]
pub fn measures(request: &Request) -> bool {
    request.dry_run || request.max_catch_up.is_some()
}

/// Whether the members of a group consume now.
#[must_use]
pub fn consumes(group: &Group) -> bool {
    matches!(group, Group::Found(found) if found.state == GroupState::Stable && !found.members.is_empty())
}

/// The partitions that a forecast is about: those that are to be committed, with records to consume; the most records first.
#[must_use]
pub fn about(partitions: &[PartitionStatus]) -> Vec<&PartitionStatus> {
    let mut about: Vec<&PartitionStatus> = partitions.iter().filter(|planned| backlog(planned) > 0).collect();
    about.sort_by_key(|planned| std::cmp::Reverse(backlog(planned)));
    about.truncate(MOST_PARTITIONS);
    about
}

/// How many records lie between the target and the end of the log.
fn backlog(planned: &PartitionStatus) -> i64 {
    let target = planned.target_offset.filter(|_| planned.outcome == PartitionOutcome::Planned);
    target.map_or(0, |target| planned.log_end.saturating_sub(target).max(0))
}

fn at(planned: &PartitionStatus) -> TopicPartition {
    TopicPartition::new(&planned.topic, planned.partition)
}

/// Whether the forecast may count records from the target on as expiring, where retention keeps records from `kept_since` on, in
/// milliseconds since the epoch. It counts none when the record at the target is as recent: the first record that is kept then lies at
/// or before the target.
#[must_use]
pub fn may_expire(time_at_the_target: Option<Timestamp>, kept_since: i64) -> bool {
    time_at_the_target.is_none_or(|time| time.as_millisecond() < kept_since)
}

/// The forecast for a topic, before it is put into words.
#[derive(Clone, Debug, Default, PartialEq)]
struct Topic {
    name: String,
    backlog: i64,
    produced: Option<i64>,
    consumed: Option<i64>,
    longest: Option<CatchUp>,
    unknown: Option<ForecastUnknown>,
    retention: Option<SignedDuration>,
    /// Whether the records that are there now take longer to consume than the topic keeps them.
    outlasts_retention: bool,
    expiring: i64,
    expiring_at: Vec<TopicPartition>,
    first_expiry: Option<Timestamp>,
}

/// The forecast of a plan from what was read, at a time.
#[must_use]
pub fn forecast(request: &Request, partitions: &[PartitionStatus], seen: &PlanSeen, now: Timestamp) -> Forecast {
    let read = &seen.forecast;
    let mut by_topic: BTreeMap<&str, Vec<&PartitionStatus>> = BTreeMap::new();
    for planned in about(partitions) {
        by_topic.entry(&planned.topic).or_default().push(planned);
    }
    let consumes = consumes(&seen.group);
    let mut topics: Vec<Topic> = by_topic.into_iter().map(|(name, planned)| topic(name, &planned, read, consumes)).collect();
    topics.sort_by_key(|topic| std::cmp::Reverse((topic.longest, topic.backlog)));
    let total =
        ForecastOf { backlog: partitions.iter().map(backlog).fold(0, i64::saturating_add), ..status_of(None, &sum(&topics)) };
    let nothing_read = !read.measured && read.recent.is_empty() && read.configs.is_empty();
    let longest = sum(&topics).longest;
    Forecast {
        summary: words::summary(&total, nothing_read),
        warnings: words::warnings(request, &topics, &unreadable(read)),
        refusal: words::refusal(request, longest, &total),
        status: (!nothing_read).then(|| ForecastStatus {
            time: MicroTime(now),
            total,
            topics: topics.iter().take(LISTED).map(|topic| status_of(Some(&topic.name), topic)).collect(),
            topics_omitted: i32::try_from(topics.len().saturating_sub(LISTED)).unwrap_or(i32::MAX),
        }),
    }
}

fn topic(name: &str, partitions: &[&PartitionStatus], read: &ForecastSeen, consumes: bool) -> Topic {
    let config = read.configs.get(name).and_then(|config| config.as_ref().ok());
    let retention = config.and_then(|config| config.retention_ms).map(SignedDuration::from_millis);
    let mut found = Topic { name: name.to_owned(), retention, ..Topic::default() };
    let speeds: Vec<Result<Rate, ForecastUnknown>> =
        partitions.iter().map(|planned| speed_on(planned, read, config, consumes)).collect();
    // The consumers of one topic do the same work, so the fastest partition stands for those that showed nothing.
    let fastest = speeds.iter().flatten().copied().reduce(Rate::faster);
    for (planned, speed) in partitions.iter().zip(speeds) {
        let (at, backlog) = (at(planned), backlog(planned));
        let produced = produced(&read.recent, &at, planned.log_end);
        found.backlog = found.backlog.saturating_add(backlog);
        found.produced = add(found.produced, produced.map(Rate::per_minute));
        found.consumed = add(found.consumed, speed.as_ref().ok().map(|speed| speed.per_minute()));
        match speed.as_ref().ok().copied().or(fastest) {
            Some(speed) => {
                found.longest = found.longest.max(Some(catch_up(backlog, speed, produced)));
                // Without what is produced meanwhile: the records that are there now.
                let read_through = catch_up(backlog, speed, None);
                found.outlasts_retention |= retention.is_some_and(|kept| read_through >= CatchUp::AtLeast(kept));
            }
            None => found.unknown = found.unknown.or(speed.err()),
        }
        if let Some(retention) = retention {
            let expiring = expiring(planned, read);
            found.expiring = found.expiring.saturating_add(expiring);
            found.expiring_at.extend((expiring > 0).then_some(at));
            let expiry = time_at_the_target(planned).map(|time| later(time, retention));
            found.first_expiry = [found.first_expiry, expiry].into_iter().flatten().min();
        }
    }
    found
}

fn speed_on(
    planned: &PartitionStatus,
    read: &ForecastSeen,
    config: Option<&TopicConfig>,
    consumes: bool,
) -> Result<Rate, ForecastUnknown> {
    if config.is_some_and(|config| config.compacted) {
        return Err(ForecastUnknown::Compacted);
    }
    if !consumes {
        return Err(ForecastUnknown::NoMembers);
    }
    if !read.measured {
        return Err(ForecastUnknown::NotMeasured);
    }
    let progress = read.progress.get(&at(planned)).ok_or(ForecastUnknown::NoBacklog)?;
    speed(progress, planned.log_end)
}

/// How many records from the target on retention may delete before the end of the hold.
fn expiring(planned: &PartitionStatus, read: &ForecastSeen) -> i64 {
    let Some(Ok(kept)) = read.kept.get(&at(planned)) else { return 0 };
    let end = kept.map_or(planned.log_end, |kept| kept.offset.min(planned.log_end));
    end.saturating_sub(planned.target_offset.unwrap_or(end)).max(0)
}

/// The time of the record at the target, where the target was found by time.
#[must_use]
pub fn time_at_the_target(planned: &PartitionStatus) -> Option<Timestamp> {
    let is_found = matches!(planned.clamped, None | Some(Clamp::BeforeFirstRecord)) && planned.requested_timestamp.is_some();
    planned.matched_timestamp.as_ref().filter(|_| is_found).map(|time| time.0)
}

/// The topics whose configuration may not be read.
fn unreadable(read: &ForecastSeen) -> Vec<&str> {
    let denied =
        |config: &Result<TopicConfig, KafkaError>| matches!(config, Err(error) if error.kind == KafkaErrorKind::Authorization);
    read.configs.iter().filter(|(_, config)| denied(config)).map(|(topic, _)| topic.as_str()).collect()
}

fn sum(topics: &[Topic]) -> Topic {
    topics.iter().fold(Topic::default(), |sum, topic| Topic {
        backlog: sum.backlog.saturating_add(topic.backlog),
        produced: add(sum.produced, topic.produced),
        consumed: add(sum.consumed, topic.consumed),
        longest: sum.longest.max(topic.longest),
        unknown: sum.unknown.or(topic.unknown),
        expiring: sum.expiring.saturating_add(topic.expiring),
        first_expiry: [sum.first_expiry, topic.first_expiry].into_iter().flatten().min(),
        ..Topic::default()
    })
}

/// A sum of what is known.
fn add(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    }
}

fn status_of(name: Option<&str>, topic: &Topic) -> ForecastOf {
    let nothing_to_do = (topic.backlog == 0).then_some(CatchUp::AtLeast(SignedDuration::ZERO));
    let longest = topic.longest.or(nothing_to_do);
    ForecastOf {
        topic: name.map(str::to_owned),
        backlog: topic.backlog,
        produced_per_minute: topic.produced,
        consumed_per_minute: topic.consumed,
        catch_up_at_least: match longest {
            Some(CatchUp::AtLeast(time)) => Some(as_in_spec(time)),
            Some(CatchUp::Never) | None => None,
        },
        never_catches_up: longest == Some(CatchUp::Never),
        unknown: topic.unknown,
        expiring: topic.expiring,
        first_expiry_time: topic.first_expiry.map(MicroTime),
    }
}

#[cfg(test)]
mod tests;
