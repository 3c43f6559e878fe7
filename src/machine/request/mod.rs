//! The spec, parsed once into types that cannot be wrong. Nothing downstream checks again.

mod error;
mod file;
pub mod identity;
mod partitions;
mod pattern;
mod timestamp;
pub(crate) mod validate;

use self::validate::check;
use super::time::spec_duration;
use crate::api::{
    CanarySpec, ConfigMapKeyRef, IsolationLevel, KafkaSpec, LimitsSpec, OffsetReset, OnCanaryFailure, OutOfRange, Position,
    RemainingMembers, ResetSpec, TargetRef, rules,
};
use crate::machine::metadata::Metadata;
pub use error::InvalidSpec;
pub use file::parse_file;
use jiff::{SignedDuration, Timestamp};
pub use partitions::{Partitions, name_range};
pub use pattern::{Matcher, Pattern, PatternError, Patterns, TooComplex};

/// What one `OffsetReset` asks for.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "as in the spec, where they are independent of each other")]
pub struct Request {
    /// The namespace of the object, its targets and its Secrets.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The key of its spec, see [`identity::key`].
    pub key: String,
    /// The workloads to stop.
    pub targets: Vec<TargetRef>,
    /// The connection to the cluster.
    pub kafka: KafkaSpec,
    /// The consumer group.
    pub group: String,
    /// The partitions to reset, and their goals.
    pub work: Work,
    /// The number of each entry's line in the file of `spec.resetsFrom`; empty without a file.
    pub lines: Vec<usize>,
    /// How to treat a partition whose target is out of range.
    pub out_of_range: OutOfRange,
    /// How many records the plan may replay at most.
    pub max_replay: Option<i64>,
    /// How many records the plan may skip at most.
    pub max_skip: Option<i64>,
    /// How long the group may take to catch up at most.
    pub max_catch_up: Option<SignedDuration>,
    /// Plan only.
    pub dry_run: bool,
    /// It must not begin yet.
    pub suspended: bool,
    /// The time after which it must not begin.
    pub not_after: Option<Timestamp>,
    /// Which record counts as the latest.
    pub isolation_level: IsolationLevel,
    /// A group that the broker does not know may be created.
    pub allow_new_group: bool,
    /// Pods may be ready although the group has no members.
    pub allow_no_members: bool,
    /// How to treat members that remain when no container runs any more.
    pub remaining_members: RemainingMembers,
    /// The consumers' session timeout, if the user declares it.
    pub session_timeout: Option<SignedDuration>,
    /// How long the group may take to become empty.
    pub drain_timeout: SignedDuration,
    /// How long the consumers may be held.
    pub hold_timeout: SignedDuration,
    /// How long the consumers may take to resume; by default that depends on the targets.
    pub resume_timeout: Option<SignedDuration>,
    /// The replicas that come back first, if any.
    pub canary: Option<Canary>,
    /// The name of the ConfigMap with the receipt: the same for the same name and spec.
    pub receipt: String,
    /// The metadata string of our commits, which proves in Kafka itself that this run set an
    /// offset, and says why.
    pub marker: String,
}

/// A few replicas that come back first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canary {
    /// How many of each target, at most.
    pub replicas: i32,
    /// How long they may take to consume past the targets.
    pub timeout: SignedDuration,
    /// What follows when they fail.
    pub on_failure: OnCanaryFailure,
}

/// See [`Request::settling`], where the session timeout is not declared. Less than Kafka's default for it, because consumers in a crash
/// loop must not be waited for.
const SETTLING: SignedDuration = SignedDuration::from_secs(10);

/// The partitions to reset, and their goals.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// These entries, in the order of the spec.
    Entries(Vec<Entry>),
    /// Back to the offsets before another `OffsetReset`, by its name.
    Undo(String),
    /// A file. It is read while planning, and its lines become entries; the plan keeps them.
    File(ConfigMapKeyRef),
}

/// One entry of `spec.resets`.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The topics.
    pub scope: Scope,
    /// Their partitions.
    pub partitions: Partitions,
    /// Its goal.
    pub goal: Goal,
}

/// The topics that an entry means.
#[derive(Clone, Debug, PartialEq)]
pub enum Scope {
    /// One topic, by its name.
    Topic(String),
    /// The topics with a commit whose whole name matches.
    Pattern(Pattern),
}

/// The position to which an entry resets its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// To an offset, 0 or more.
    Offset(i64),
    /// To the first record at or after a time, in milliseconds since the epoch, 0 or more.
    Timestamp(i64),
    /// To the start or the end of the log, or to the group's committed offset.
    Position(Position),
    /// By this many offsets from the group's committed offset.
    ShiftBy(i64),
    /// To another group's committed offset.
    FromGroup(String),
    /// Back to this offset with this metadata, which another reset has recorded.
    Recorded(i64, Metadata),
}

impl Request {
    /// Parses a spec. A `duration` is counted back from when planning last began, which is recorded,
    /// so that it stays the same on every later pass.
    ///
    /// # Errors
    /// When the spec cannot be carried out; the message says what to write instead.
    pub fn parse(reset: &OffsetReset) -> Result<Self, InvalidSpec> {
        let spec = &reset.spec;
        check(spec)?;
        let start = reset.status.as_ref().and_then(|status| status.planning_start_time.as_ref()).map(|at| at.0);
        // Before that no plan depends on it. An object that was never stored has no time to count
        // from, and is not refused for that.
        let created = reset.metadata.creation_timestamp.as_ref().map(|at| at.0);
        let start = start.or(created).unwrap_or(Timestamp::MAX);
        let mut patterns = parse_patterns(&spec.resets)?.into_iter();
        let parse = |(index, entry): (usize, &ResetSpec)| {
            let pattern = entry.topic_pattern.as_ref().and_then(|_| patterns.next());
            parse_entry(index, entry, pattern, start)
        };
        let entries: Vec<Entry> = spec.resets.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        let work = match (&spec.undo, &spec.resets_from, entries.is_empty()) {
            (Some(undo), None, true) => Work::Undo(undo.name.clone()),
            (None, Some(from), true) => Work::File(from.config_map_key_ref.clone()),
            (None, None, false) => Work::Entries(entries),
            (Some(_), Some(_), _) | (Some(_), None, false) | (None, Some(_), false) | (None, None, true) => {
                return Err(InvalidSpec::new("resets", rules::RESETS_OR_UNDO.message));
            }
        };
        if spec.undo.as_ref().is_some_and(|undo| Some(&undo.name) == reset.metadata.name.as_ref()) {
            return Err(InvalidSpec::new("undo.name", "an OffsetReset cannot undo itself; name another one"));
        }
        let (name, key) = (reset.metadata.name.clone().unwrap_or_default(), identity::key(spec));
        let limits = spec.limits.clone().unwrap_or(LimitsSpec { max_replay: None, max_skip: None, max_catch_up: None });
        Ok(Self {
            namespace: reset.metadata.namespace.clone().unwrap_or_default(),
            targets: spec.target_refs.clone(),
            kafka: *spec.kafka.clone(),
            group: spec.group.clone(),
            work,
            lines: vec![],
            out_of_range: spec.out_of_range,
            max_replay: limits.max_replay,
            max_skip: limits.max_skip,
            max_catch_up: limits.max_catch_up.map(|value| duration("limits.maxCatchUp", value)).transpose()?,
            dry_run: spec.dry_run,
            suspended: spec.suspend,
            not_after: spec.not_after.as_ref().map(|at| at.0),
            isolation_level: spec.isolation_level,
            allow_new_group: spec.allow_new_group,
            allow_no_members: spec.allow_no_members,
            remaining_members: spec.remaining_members,
            session_timeout: spec.session_timeout.map(|value| duration("sessionTimeout", value)).transpose()?,
            drain_timeout: duration("drainTimeout", spec.drain_timeout)?,
            hold_timeout: duration("holdTimeout", spec.hold_timeout)?,
            resume_timeout: spec.resume_timeout.map(|value| duration("resumeTimeout", value)).transpose()?,
            canary: spec.restore.as_ref().and_then(|restore| restore.canary.as_ref()).map(parse_canary).transpose()?,
            receipt: identity::receipt_name(&name, &key),
            name,
            key,
            marker: format!(
                "offset-reset/{}/{}/{}{}",
                reset.metadata.namespace.as_deref().unwrap_or_default(),
                reset.metadata.name.as_deref().unwrap_or_default(),
                reset.metadata.uid.as_deref().unwrap_or_default(),
                spec.reason.as_ref().map(|reason| format!(" {reason}")).unwrap_or_default()
            ),
        })
    }

    /// The entries; none when it is an undo.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.work {
            Work::Entries(entries) => entries,
            Work::Undo(_) | Work::File(_) => &[],
        }
    }

    /// The same request with the lines of its file as entries.
    ///
    /// # Errors
    /// When lines of the file are wrong, or none is about the group.
    pub fn with_file(&self, file: &ConfigMapKeyRef, text: &str) -> Result<Self, InvalidSpec> {
        let (lines, entries) = parse_file(text, &self.group).map(|lines| lines.into_iter().unzip()).map_err(|why| {
            InvalidSpec::new("resetsFrom", format!("key {} of ConfigMap {} cannot be used: {why}", file.key, file.name))
        })?;
        Ok(Self { work: Work::Entries(entries), lines, ..self.clone() })
    }

    /// How long a pod must have been ready until the members at its address count as its consumers: the consumers of a container that
    /// crashed at the same address remain members until their session ends.
    #[must_use]
    pub fn settling(&self) -> SignedDuration {
        self.session_timeout.unwrap_or(SETTLING)
    }

    /// Whether an entry removes committed offsets. An undo removes them only where that is allowed.
    #[must_use]
    pub fn removes_offsets(&self) -> bool {
        self.entries().iter().any(|entry| entry.goal == Goal::Position(Position::None))
    }

    /// Where an entry is, for messages.
    #[must_use]
    pub fn place(&self, index: usize) -> String {
        match self.lines.get(index) {
            Some(line) => format!("Line {line} of the file of spec.resetsFrom"),
            None => format!("resets[{index}]"),
        }
    }

    /// The other groups whose commits are needed, each once.
    #[must_use]
    pub fn source_groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = self.entries().iter().filter_map(|entry| entry.goal.source_group()).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }
}

impl Goal {
    /// The other group whose commits are needed.
    #[must_use]
    pub fn source_group(&self) -> Option<&str> {
        match self {
            Self::FromGroup(group) => Some(group),
            Self::Offset(_) | Self::Timestamp(_) | Self::Position(_) | Self::ShiftBy(_) | Self::Recorded(..) => None,
        }
    }
}

fn duration(field: &str, value: kube::core::Duration) -> Result<SignedDuration, InvalidSpec> {
    spec_duration(value).map_err(|problem| InvalidSpec::new(field, problem))
}

fn parse_canary(canary: &CanarySpec) -> Result<Canary, InvalidSpec> {
    let CanarySpec { replicas, timeout, on_failure } = *canary;
    Ok(Canary { replicas, timeout: duration("restore.canary.timeout", timeout)?, on_failure })
}

/// Compiles the patterns of all entries that have one, in their order.
fn parse_patterns(entries: &[ResetSpec]) -> Result<Vec<Pattern>, InvalidSpec> {
    let of_entries: Vec<(usize, &str)> =
        entries.iter().enumerate().filter_map(|(index, entry)| Some((index, entry.topic_pattern.as_deref()?))).collect();
    let field = |position: usize| format!("resets[{}].topicPattern", of_entries[position].0);
    Patterns::compile(of_entries.iter().map(|(_, pattern)| *pattern)).map_err(|error| match error {
        PatternError::Invalid(position) => InvalidSpec::new(field(position), rules::TOPIC_PATTERN.message),
        PatternError::NotAscii(position) => InvalidSpec::new(field(position), NOT_ASCII),
        PatternError::TooLarge => InvalidSpec::new("resets", TOO_LARGE),
    })
}

const NOT_ASCII: &str = "topicPattern must match ASCII characters only, because topics have no others. \
    Write [A-Za-z] instead of \\pL, and no (?u)";

const TOO_LARGE: &str = "the topicPatterns are too large together: compiled they exceed 1 MiB. \
    Name topics, use fewer or simpler patterns (a repetition such as {100} counts 100 times), or split the reset into several";

fn parse_entry(index: usize, entry: &ResetSpec, pattern: Option<Pattern>, start: Timestamp) -> Result<Entry, InvalidSpec> {
    let scope = match (&entry.topic, pattern) {
        (Some(topic), None) => Scope::Topic(topic.clone()),
        (None, Some(pattern)) => Scope::Pattern(pattern),
        (None, None) | (Some(_), Some(_)) => {
            return Err(InvalidSpec::new(format!("resets[{index}]"), rules::ONE_SCOPE.message));
        }
    };
    Ok(Entry { scope, partitions: Partitions::parse(index, entry)?, goal: parse_goal(index, entry, start)? })
}

fn parse_goal(index: usize, entry: &ResetSpec, start: Timestamp) -> Result<Goal, InvalidSpec> {
    let field = |name: &str| format!("resets[{index}].{name}");
    let mut goals = vec![];
    if let Some(offset) = entry.offset {
        if offset < 0 {
            let problem = format!("{offset} is negative; Kafka's negative offsets have other meanings");
            return Err(InvalidSpec::new(field("offset"), problem));
        }
        goals.push(Goal::Offset(offset));
    }
    if let Some(spec) = &entry.timestamp {
        let millis = timestamp::parse(spec).map_err(|problem| InvalidSpec::new(field("timestamp"), problem))?;
        goals.push(Goal::Timestamp(millis));
    }
    goals.extend(entry.position.map(Goal::Position));
    goals.extend(entry.shift_by.map(Goal::ShiftBy));
    if let Some(ago) = entry.duration {
        let ago = duration(&field("duration"), ago)?;
        let at = start.checked_sub(ago).ok().filter(|at| *at >= Timestamp::UNIX_EPOCH);
        let at = at.ok_or_else(|| InvalidSpec::new(field("duration"), "is before 1970; Kafka has no records from then"))?;
        goals.push(Goal::Timestamp(at.as_millisecond()));
    }
    goals.extend(entry.from_group.clone().map(Goal::FromGroup));
    let mut goals = goals.into_iter();
    match (goals.next(), goals.next()) {
        (Some(goal), None) => Ok(goal),
        (None, _) | (Some(_), Some(_)) => Err(InvalidSpec::new(
            format!("resets[{index}]"),
            "needs exactly one target: write one of offset, timestamp, position, shiftBy, duration and fromGroup",
        )),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::api::TimestampSpec;

    fn entry(partition: i32) -> ResetSpec {
        ResetSpec { topic: Some("t".into()), partition, ..ResetSpec::default() }
    }

    #[rstest]
    #[case::all_partitions(ResetSpec { offset: Some(10), ..entry(-1) }, Ok((Partitions::All, Goal::Offset(10))))]
    #[case::one_partition(ResetSpec { offset: Some(0), ..entry(3) }, Ok((Partitions::one(3), Goal::Offset(0))))]
    #[case::a_time(
        ResetSpec { timestamp: Some(TimestampSpec::Unix(1_571_812_144)), ..entry(0) },
        Ok((Partitions::one(0), Goal::Timestamp(1_571_812_144_000)))
    )]
    #[case::a_position(
        ResetSpec { position: Some(Position::Latest), ..entry(-1) }, Ok((Partitions::All, Goal::Position(Position::Latest)))
    )]
    #[case::back(ResetSpec { shift_by: Some(-5), ..entry(-1) }, Ok((Partitions::All, Goal::ShiftBy(-5))))]
    #[case::long_ago(
        ResetSpec { duration: Some(std::time::Duration::from_secs(90).into()), ..entry(-1) },
        Ok((Partitions::All, Goal::Timestamp(1_799_999_910_000)))
    )]
    #[case::of_another_group(
        ResetSpec { from_group: Some("h".into()), ..entry(-1) }, Ok((Partitions::All, Goal::FromGroup("h".into())))
    )]
    #[case::no_target(entry(0), Err("spec.resets[7]: needs exactly one target"))]
    #[case::two_targets(
        ResetSpec { offset: Some(1), shift_by: Some(2), ..entry(0) }, Err("spec.resets[7]: needs exactly one target")
    )]
    #[case::a_negative_offset(ResetSpec { offset: Some(-1), ..entry(0) }, Err("spec.resets[7].offset: -1 is negative"))]
    #[case::a_negative_partition(
        ResetSpec { offset: Some(1), ..entry(-2) }, Err("spec.resets[7].partition: -2 is neither")
    )]
    #[case::before_the_epoch(
        ResetSpec { duration: Some(std::time::Duration::from_hours(24 * 365 * 80).into()), ..entry(0) },
        Err("spec.resets[7].duration: is before 1970")
    )]
    #[case::no_topic(
        ResetSpec { topic: None, offset: Some(1), ..entry(0) }, Err("spec.resets[7]: each entry of resets needs either topic or topicPattern")
    )]
    #[case::two_scopes(
        ResetSpec { topic_pattern: Some("t".into()), offset: Some(1), ..entry(0) },
        Err("spec.resets[7]: each entry of resets needs either topic or topicPattern")
    )]
    fn an_entry_has_one_scope_and_one_target(#[case] spec: ResetSpec, #[case] expected: Result<(Partitions, Goal), &str>) {
        let pattern = parse_patterns(std::slice::from_ref(&spec)).unwrap().pop();
        match (parse_entry(7, &spec, pattern, Timestamp::from_second(1_800_000_000).unwrap()), expected) {
            (Ok(entry), Ok((partitions, goal))) => assert_eq!((entry.partitions, entry.goal), (partitions, goal)),
            (Err(error), Err(expected)) => assert!(error.to_string().starts_with(expected), "{error}"),
            (got, expected) => panic!("{got:?} instead of {expected:?}"),
        }
    }

    #[rstest]
    #[case::invalid("(", "spec.resets[1].topicPattern: topicPattern must be a regular expression (RE2)")]
    #[case::of_unicode(r"\pL+", "spec.resets[1].topicPattern: topicPattern must match ASCII characters only")]
    #[case::too_large(
        r"((\w{1000}){1000}){1000}",
        "spec.resets: the topicPatterns are too large together: compiled they exceed 1 MiB. Name topics"
    )]
    fn the_patterns_of_a_spec_are_compiled_together(#[case] pattern: &str, #[case] expected: &str) {
        let of = |pattern: &str| ResetSpec { topic: None, topic_pattern: Some(pattern.into()), ..entry(-1) };
        let error = parse_patterns(&[entry(0), of(pattern), of("orders")]).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
        assert!(TOO_LARGE.contains(&format!(" {} MiB", pattern::PATTERNS_SIZE >> 20)));
    }

    #[test]
    fn a_duration_counts_from_when_planning_began_and_not_from_when_the_object_was_first_seen() {
        let reset = |status: &serde_json::Value| -> OffsetReset {
            serde_json::from_value(serde_json::json!({
                "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset",
                "metadata": {"name": "r", "namespace": "shop", "creationTimestamp": "2026-11-24T08:00:00Z"},
                "spec": {
                    "kafka": {"bootstrapServers": "k:9092"}, "group": "g", "resets": [{"topic": "t", "duration": "1h"}],
                },
                "status": status,
            }))
            .unwrap()
        };
        let goal = |status: serde_json::Value| match Request::parse(&reset(&status)).unwrap().work {
            Work::Entries(entries) => entries[0].goal.clone(),
            Work::Undo(_) | Work::File(_) => unreachable!(),
        };
        let from = |time: &str| Goal::Timestamp(time.parse::<Timestamp>().unwrap().as_millisecond());
        let seen_at = "2026-11-24T08:00:01Z";
        assert_eq!(goal(serde_json::json!({"startTime": seen_at})), from("2026-11-24T07:00:00Z"), "no plan depends on it yet");
        // It was suspended until noon.
        let status = serde_json::json!({"startTime": seen_at, "planningStartTime": "2026-11-24T12:00:00.500000Z"});
        assert_eq!(goal(status), from("2026-11-24T11:00:00.5Z"));
    }
}
