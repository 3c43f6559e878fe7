//! What to reset and how: the options have the names of `kafka-consumer-groups` where that has them.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, ValueEnum};

use super::{
    format::Format,
    names::{groups, resets, topics, workloads},
    words::{Target, TopicPartitions, deadline, duration, offset, target, timestamp, topic},
};

/// The options that make an OffsetReset.
#[derive(Args, Debug, Clone)]
pub struct MakeArgs {
    /// Which offsets.
    #[command(flatten)]
    pub goal: GoalArgs,
    /// Which consumers.
    #[command(flatten)]
    pub consumers: ConsumerArgs,
    /// Which Kafka.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Within which bounds.
    #[command(flatten)]
    pub bounds: BoundArgs,
    /// How to make and print it.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The group, the partitions and where to.
#[derive(Args, Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[command(next_help_heading = "What to reset")]
#[command(group = ArgGroup::new("goal").required(true))]
#[command(group = ArgGroup::new("whose").required(true).multiple(true))]
pub struct GoalArgs {
    /// The consumer group. Required unless --like has one, or --selector is given.
    #[arg(long, value_name = "GROUP", group = "whose", add = groups())]
    pub group: Option<String>,
    /// A topic, or some of its partitions, such as orders:0,3-5; repeat it for several topics.
    #[arg(long = "topic", value_name = "TOPIC[:PARTITIONS]", value_parser = topic, add = topics(), required_unless_present_any = ["all_topics", "from_file"], conflicts_with_all = ["all_topics", "from_file"])]
    pub topics: Vec<TopicPartitions>,
    /// All partitions on which the group has committed offsets.
    #[arg(long, conflicts_with = "from_file")]
    pub all_topics: bool,
    /// To the first record that is kept.
    #[arg(long, group = "goal")]
    pub to_earliest: bool,
    /// To the end, so that only new records are consumed.
    #[arg(long, group = "goal")]
    pub to_latest: bool,
    /// To the group's committed offsets: only offsets that are out of range change.
    #[arg(long, group = "goal")]
    pub to_current: bool,
    /// To no offset: the committed offsets are removed, and consumers start where their auto.offset.reset says.
    #[arg(long, group = "goal")]
    pub delete_offsets: bool,
    /// To this offset.
    #[arg(long, group = "goal", value_name = "OFFSET", allow_negative_numbers = true, value_parser = offset)]
    pub to_offset: Option<i64>,
    /// To the first record at or after this time, such as 2026-11-24T18:00:00Z, or Unix time. Without a zone it is UTC, as in Kafka's
    /// own tool.
    #[arg(long, group = "goal", value_name = "TIME", value_parser = timestamp)]
    pub to_datetime: Option<jiff::Timestamp>,
    /// To the first record from this long ago or later, such as PT1H30M, 90m or 2d.
    #[arg(long, group = "goal", value_name = "DURATION", value_parser = duration)]
    pub by_duration: Option<Duration>,
    /// By this many records: forward, or back when negative.
    #[arg(long, group = "goal", value_name = "N", allow_negative_numbers = true)]
    pub shift_by: Option<i64>,
    /// To the offsets that this other group has committed.
    #[arg(long, group = "goal", value_name = "GROUP", add = groups())]
    pub from_group: Option<String>,
    /// To the offsets in this CSV file, as --export of Kafka's tool writes it: topic,partition,offset. - is the standard input.
    #[arg(long, group = "goal", value_name = "FILE")]
    pub from_file: Option<PathBuf>,
}

/// The consumers.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Consumers")]
pub struct ConsumerArgs {
    /// The workload whose pods are the consumers, which is stopped for the reset: orders, statefulset/orders,
    /// rollouts.argoproj.io/orders; by default a Deployment. Repeat it for several. Without it nothing is stopped, and the group must
    /// be empty.
    #[arg(long = "target", value_name = "[KIND/]NAME", value_parser = target, add = workloads())]
    pub targets: Vec<Target>,
    /// How to treat members that remain after the last container has terminated: Wait (the default) or Remove.
    #[arg(long, value_name = "HOW", ignore_case = true)]
    pub remaining_members: Option<Remaining>,
    /// The session.timeout.ms of the consumers, such as 45s (Kafka's default); without it the reset does not report when a session ends.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub session_timeout: Option<Duration>,
    /// How long the group may take to become empty; the default is 2m.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub drain_timeout: Option<Duration>,
    /// How long the consumers may be at zero in all; the default is 10m. When it is over, they are restored.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub hold_timeout: Option<Duration>,
    /// How long the consumers may take to resume before a condition says what is missing; the default is 5m.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub resume_timeout: Option<Duration>,
    /// Let this many replicas of each target come back first; the others follow when these have consumed past the targets.
    #[arg(long, value_name = "REPLICAS", value_parser = clap::value_parser!(i32).range(1..))]
    pub canary: Option<i32>,
    /// How long the canary may take to consume past the targets; the default is 3m.
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "canary")]
    pub canary_timeout: Option<Duration>,
    /// What follows when the canary crashes or does not consume: Keep the offsets of the reset (the default), or Undo them.
    #[arg(long, value_name = "HOW", ignore_case = true, requires = "canary")]
    pub canary_on_failure: Option<OnCanaryFailure>,
    /// Stop the targets even when the group has no members, as of consumers that use assign().
    #[arg(long)]
    pub allow_no_members: bool,
}

/// The connection that the operator uses: one of these.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Connection of the operator to Kafka")]
#[command(group = ArgGroup::new("connection").required(true))]
pub struct KafkaArgs {
    /// The brokers, as host:port,host:port, in plaintext. For TLS and passwords use one of the others.
    #[arg(long, group = "connection", value_name = "HOST:PORT,...")]
    pub bootstrap_server: Option<String>,
    /// Strimzi's KafkaUser of this name: its cluster, its CA and its credentials.
    #[arg(long, group = "connection", value_name = "NAME")]
    pub strimzi_user: Option<String>,
    /// The Secret of a service binding, which has the whole connection.
    #[arg(long, group = "connection", value_name = "SECRET")]
    pub binding: Option<String>,
    /// As another OffsetReset: its connection, and unless they are given its group, targets and timeouts.
    #[arg(long, groups = ["connection", "whose"], value_name = "OFFSETRESET", add = resets())]
    pub like: Option<String>,
}

/// The bounds.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Bounds")]
pub struct BoundArgs {
    /// Refuse a plan that replays more records than this.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub max_replay: Option<i64>,
    /// Refuse a plan that skips more records than this.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub max_skip: Option<i64>,
    /// Refuse a plan after which the group takes longer to catch up, or of which that is not known.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub max_catch_up: Option<Duration>,
    /// How to treat targets out of the log's range: Clamp (the default), Fail or Skip.
    #[arg(long, value_name = "HOW", ignore_case = true)]
    pub out_of_range: Option<OutOfRange>,
    /// Where the latest offset is: ReadUncommitted (the default) or ReadCommitted.
    #[arg(long, value_name = "LEVEL", ignore_case = true)]
    pub isolation_level: Option<Isolation>,
    /// The time after which the reset never begins, such as 2026-11-24T20:00:00Z, or from now, such as 2h.
    #[arg(long, value_name = "TIME|DURATION", value_parser = deadline)]
    pub not_after: Option<jiff::Timestamp>,
    /// Create the group if the broker does not know it.
    #[arg(long)]
    pub allow_new_group: bool,
}

/// The object and its output.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Object and output")]
pub struct OutputArgs {
    /// The name of the OffsetReset; by default the group's name and some random letters.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Distinguishes this run from an earlier one with the same name and spec.
    #[arg(long, value_name = "ID")]
    pub run_id: Option<String>,
    /// Why the offsets are reset, as one line: it is in the Events, the report and the metadata of the commits.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// How long after its end the operator deletes the OffsetReset, such as 7d.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub ttl: Option<Duration>,
    /// client only prints the manifest, for Git; server lets the API server check it. Nothing is created.
    #[arg(long, value_name = "WHERE", require_equals = true, num_args = 0..=1, default_missing_value = "client")]
    pub dry_run: Option<Where>,
    /// As JSON or YAML: the manifest with --dry-run, else the planned object.
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Format>,
    /// Which partitions to list; by default all up to 30, then a line for each topic.
    #[arg(long, value_name = "WHICH")]
    pub partitions: Option<Which>,
    /// How long to wait at most, such as 90s or 15m; then the exit code is 4. By default there is no limit.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
}

/// How to run.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Confirmation")]
pub struct RunArgs {
    /// Does not ask: for pipelines.
    #[arg(short, long)]
    pub yes: bool,
    /// Refuse unless this is the context: a guard for scripts with --yes.
    #[arg(long, value_name = "CONTEXT")]
    pub confirm_context: Option<String>,
    /// Do not watch it to its end.
    #[arg(long)]
    pub no_watch: bool,
}

/// Where a dry run is made.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// Here: only printed.
    Client,
    /// The API server checks it and stores nothing.
    Server,
}

/// Which partitions are listed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those whose offset changes.
    Changed,
    /// Those whose target was moved into the log's range.
    Clamped,
    /// Those that failed.
    Failed,
}

/// As in the spec.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "PascalCase")]
pub enum OutOfRange {
    /// The nearest offset in range.
    Clamp,
    /// Nothing is reset at all.
    Fail,
    /// The partition is left as it is.
    Skip,
}

/// As in the spec.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "PascalCase")]
pub enum Remaining {
    /// Wait until the broker ends their session.
    Wait,
    /// Remove them from the group.
    Remove,
}

/// As in the spec.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "PascalCase")]
pub enum OnCanaryFailure {
    /// The offsets of the reset stay.
    Keep,
    /// The offsets from before are committed again.
    Undo,
}

/// As in the spec.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "PascalCase")]
pub enum Isolation {
    /// The end of the log.
    ReadUncommitted,
    /// Before the first record of a transaction that is still open.
    ReadCommitted,
}
