//! The spec, parsed once into types that cannot be wrong. Nothing downstream checks again.

use jiff::{SignedDuration, Timestamp};

use super::world::TopicPartition;
use crate::api::{OffsetReset, ResetSpec, TargetRef, TimestampSpec};

/// What one `OffsetReset` asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The workloads to stop.
    pub targets: Vec<TargetRef>,
    /// The brokers to ask first.
    pub bootstrap_servers: String,
    /// The consumer group.
    pub group: String,
    /// What to reset, in the order of the spec.
    pub entries: Vec<Entry>,
    /// What the consumers' session timeout is said to be.
    pub session_timeout: SignedDuration,
    /// How long the group may take to become empty.
    pub drain_timeout: SignedDuration,
    /// How long the consumers may be held.
    pub hold_timeout: SignedDuration,
    /// The metadata string of our commits: proof in Kafka itself of who set an offset.
    pub marker: String,
}

/// One entry of `spec.resets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The topic.
    pub topic: String,
    /// The partition, or all of them.
    pub partition: Option<i32>,
    /// Where to.
    pub goal: Goal,
}

/// Where an entry wants its partitions to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// To an offset, 0 or more.
    Offset(i64),
    /// To the first record at or after a time, in milliseconds since the epoch, 0 or more.
    Timestamp(i64),
}

/// A spec that the schema lets through and that still means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spec.{field}: {problem}")]
pub struct InvalidSpec {
    field: String,
    problem: String,
}

impl InvalidSpec {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl Request {
    /// Parses a spec.
    ///
    /// # Errors
    /// When it asks for something that no reset can follow; the message says what to write instead.
    pub fn parse(reset: &OffsetReset) -> Result<Self, InvalidSpec> {
        let spec = &reset.spec;
        let entries = spec.resets.iter().enumerate().map(|(index, entry)| parse_entry(index, entry)).collect::<Result<_, _>>()?;
        let duration = |field: &str, value: kube::core::Duration| {
            if value.is_negative() {
                return Err(InvalidSpec::new(field, "must not be negative"));
            }
            SignedDuration::try_from(std::time::Duration::from(value)).map_err(|_| InvalidSpec::new(field, "is too long"))
        };
        Ok(Self {
            targets: spec.target_refs.clone(),
            bootstrap_servers: spec.kafka.bootstrap_servers.clone(),
            group: spec.group.clone(),
            entries,
            session_timeout: duration("sessionTimeout", spec.session_timeout)?,
            drain_timeout: duration("drainTimeout", spec.drain_timeout)?,
            hold_timeout: duration("holdTimeout", spec.hold_timeout)?,
            marker: format!(
                "offset-reset/{}/{}/{}",
                reset.metadata.namespace.as_deref().unwrap_or_default(),
                reset.metadata.name.as_deref().unwrap_or_default(),
                reset.metadata.uid.as_deref().unwrap_or_default()
            ),
        })
    }

    /// The topics that the entries name, each once, in the order of the spec.
    #[must_use]
    pub fn topics(&self) -> Vec<&str> {
        let mut topics = vec![];
        for entry in &self.entries {
            if !topics.contains(&entry.topic.as_str()) {
                topics.push(entry.topic.as_str());
            }
        }
        topics
    }
}

impl Entry {
    /// The partitions that the entry means, of those that its topic has.
    #[must_use]
    pub fn partitions(&self, existing: &[i32]) -> Vec<TopicPartition> {
        match self.partition {
            Some(partition) => vec![TopicPartition::new(&self.topic, partition)],
            None => existing.iter().map(|&partition| TopicPartition::new(&self.topic, partition)).collect(),
        }
    }
}

fn parse_entry(index: usize, entry: &ResetSpec) -> Result<Entry, InvalidSpec> {
    let field = |name: &str| format!("resets[{index}].{name}");
    let goal = match (entry.offset, &entry.timestamp) {
        (Some(offset), None) if offset >= 0 => Goal::Offset(offset),
        (Some(offset), None) => {
            return Err(InvalidSpec::new(
                field("offset"),
                format!("{offset} is negative; Kafka's negative offsets have other meanings"),
            ));
        }
        (None, Some(timestamp)) => {
            Goal::Timestamp(parse_timestamp(timestamp).map_err(|problem| InvalidSpec::new(field("timestamp"), problem))?)
        }
        (None, None) | (Some(_), Some(_)) => {
            return Err(InvalidSpec::new(
                format!("resets[{index}]"),
                "needs exactly one target: write either offset or timestamp",
            ));
        }
    };
    let partition = match entry.partition {
        -1 => None,
        partition if partition >= 0 => Some(partition),
        partition => {
            return Err(InvalidSpec::new(
                field("partition"),
                format!("{partition} is neither a partition's number nor -1 for all"),
            ));
        }
    };
    Ok(Entry { topic: entry.topic.clone(), partition, goal })
}

/// Milliseconds since the epoch. Digits decide the unit of a number, because both are in use for the same field.
fn parse_timestamp(timestamp: &TimestampSpec) -> Result<i64, String> {
    match timestamp {
        TimestampSpec::Unix(seconds @ 1_000_000_000..=9_999_999_999) => Ok(seconds * 1000),
        TimestampSpec::Unix(millis @ 1_000_000_000_000..=9_999_999_999_999) => Ok(*millis),
        TimestampSpec::Unix(other) => Err(format!(
            "{other} has neither 10 digits (Unix time in seconds) nor 13 (milliseconds); write one of those, or RFC 3339 with a zone"
        )),
        TimestampSpec::Rfc3339(text) => {
            let at: Timestamp = text
                .parse()
                .map_err(|error| format!("'{text}' is not RFC 3339 with a zone, such as 2019-10-23T13:22:24Z ({error})"))?;
            // Rounded up: "at or after" must not let in a record from before the instant.
            let millis = at.as_nanosecond().div_euclid(1_000_000) + i128::from(at.as_nanosecond().rem_euclid(1_000_000) != 0);
            match i64::try_from(millis) {
                Ok(millis) if millis >= 0 => Ok(millis),
                _ => Err(format!("'{text}' is before 1970; Kafka has no records from then")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::seconds_as_the_first_doc_has_them(TimestampSpec::Unix(1_571_812_144), Ok(1_571_812_144_000))]
    #[case::milliseconds_as_the_second_doc_has_them(TimestampSpec::Unix(1_571_812_144_000), Ok(1_571_812_144_000))]
    #[case::the_least_seconds(TimestampSpec::Unix(1_000_000_000), Ok(1_000_000_000_000))]
    #[case::the_most_milliseconds(TimestampSpec::Unix(9_999_999_999_999), Ok(9_999_999_999_999))]
    #[case::nine_digits(TimestampSpec::Unix(999_999_999), Err("neither 10 digits"))]
    #[case::eleven_digits(TimestampSpec::Unix(10_000_000_000), Err("neither 10 digits"))]
    #[case::nanoseconds(TimestampSpec::Unix(1_571_812_144_000_000_000), Err("neither 10 digits"))]
    #[case::a_sentinel_of_the_protocol(TimestampSpec::Unix(-1), Err("neither 10 digits"))]
    #[case::rfc3339(TimestampSpec::Rfc3339("2019-10-23T06:29:04Z".into()), Ok(1_571_812_144_000))]
    #[case::rfc3339_with_an_offset(TimestampSpec::Rfc3339("2019-10-23T14:29:04.250+08:00".into()), Ok(1_571_812_144_250))]
    #[case::fractions_of_a_millisecond_round_up(TimestampSpec::Rfc3339("2019-10-23T06:29:04.0000001Z".into()), Ok(1_571_812_144_001))]
    #[case::without_a_zone(TimestampSpec::Rfc3339("2019-10-23T06:29:04".into()), Err("with a zone"))]
    #[case::no_such_day(TimestampSpec::Rfc3339("2019-02-30T06:29:04Z".into()), Err("not RFC 3339"))]
    #[case::before_the_epoch(TimestampSpec::Rfc3339("1969-12-31T23:59:59Z".into()), Err("before 1970"))]
    fn a_timestamp_is_seconds_milliseconds_or_rfc3339(#[case] spec: TimestampSpec, #[case] expected: Result<i64, &str>) {
        match (parse_timestamp(&spec), expected) {
            (Ok(millis), Ok(expected)) => assert_eq!(millis, expected),
            (Err(problem), Err(expected)) => assert!(problem.contains(expected), "{problem}"),
            (got, expected) => panic!("{got:?} instead of {expected:?}"),
        }
    }

    fn entry(partition: i32, offset: Option<i64>, timestamp: Option<i64>) -> ResetSpec {
        ResetSpec { topic: "t".into(), partition, offset, timestamp: timestamp.map(TimestampSpec::Unix) }
    }

    #[rstest]
    #[case::all_partitions(entry(-1, Some(10), None), Ok((None, Goal::Offset(10))))]
    #[case::one_partition(entry(3, Some(0), None), Ok((Some(3), Goal::Offset(0))))]
    #[case::a_time(entry(0, None, Some(1_571_812_144)), Ok((Some(0), Goal::Timestamp(1_571_812_144_000))))]
    #[case::no_target(entry(0, None, None), Err("spec.resets[7]: needs exactly one target"))]
    #[case::two_targets(entry(0, Some(1), Some(1_571_812_144)), Err("spec.resets[7]: needs exactly one target"))]
    #[case::a_negative_offset(entry(0, Some(-1), None), Err("spec.resets[7].offset: -1 is negative"))]
    #[case::a_negative_partition(entry(-2, Some(1), None), Err("spec.resets[7].partition: -2 is neither"))]
    fn an_entry_has_one_target_and_one_or_all_partitions(
        #[case] spec: ResetSpec,
        #[case] expected: Result<(Option<i32>, Goal), &str>,
    ) {
        match (parse_entry(7, &spec), expected) {
            (Ok(entry), Ok((partition, goal))) => assert_eq!((entry.partition, entry.goal), (partition, goal)),
            (Err(error), Err(expected)) => assert!(error.to_string().starts_with(expected), "{error}"),
            (got, expected) => panic!("{got:?} instead of {expected:?}"),
        }
    }
}
