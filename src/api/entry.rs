//! An entry of `spec.resets`: what to reset, and where to.

#![allow(clippy::duplicated_attributes, reason = "KubeSchema takes an attribute several times, once for each rule")]

use kube::{KubeSchema, core::Duration};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{durations::perhaps_a_duration, rules, schema::own_description};

/// One request: one topic or several, one or all of their partitions, and exactly one target.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::ONE_TARGET,
    validation = rules::ONE_SCOPE,
    validation = rules::ONE_WAY_TO_NAME_PARTITIONS
)]
pub struct ResetSpec {
    /// The name of one topic. For several topics use topicPattern instead; ".*" is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // Without a minimum, because the rule says what to write for all topics, as "" is in other APIs.
    #[schemars(length(max = 249))]
    #[x_kube(validation = rules::TOPIC)]
    pub topic: Option<String>,

    /// A regular expression (RE2) that a topic's whole name must match, such as "orders\\..*". It
    /// selects from the topics on which the group has committed offsets (with fromGroup: on which
    /// that group has), and of these the partitions with a committed offset; ".*" selects all of
    /// them. It is resolved once, when the plan is made. Topics have ASCII names, so \w and the like
    /// have only ASCII characters. All patterns of the reset together may have 1 MiB when they are
    /// compiled, which is enough for 500 patterns of 30 characters; a repetition such as {100}
    /// counts 100 times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249))]
    #[x_kube(validation = rules::TOPIC_PATTERN)]
    pub topic_pattern: Option<String>,

    /// The number of one partition, or -1 (the default) for all partitions that the topic has when
    /// the plan is made. For several write partitions or partitionRanges instead.
    #[serde(default = "default_partition")]
    #[x_kube(validation = rules::PARTITION)]
    pub partition: i32,

    /// The numbers of several partitions, such as [0, 3], each once. They may stand together with
    /// partitionRanges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // Not nullable: null is left out then, and a rule that reads it never fails.
    #[schemars(with = "Vec<i32>", length(min = 1, max = 1000), inner(range(min = 0, max = 2_147_483_647)))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub partitions: Option<Vec<i32>>,

    /// Ranges of partitions, such as {from: 5, to: 9}, which must not overlap. Each partition in a
    /// range has to exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<PartitionRange>", length(min = 1, max = 100))]
    pub partition_ranges: Option<Vec<PartitionRange>>,

    /// Target: this offset. One below the smallest becomes the smallest and one above the largest
    /// becomes the largest, as outOfRange says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::OFFSET)]
    pub offset: Option<i64>,

    /// Target: the first record at or after this time. Unix time (10 digits are seconds, 13 are
    /// milliseconds), as a number or in quotes, or RFC 3339 with a zone in quotes, such as
    /// "2019-10-23T13:22:24Z". A time before the earliest record becomes the earliest and one after
    /// the latest becomes the end of the log, as outOfRange says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = rules::TIMESTAMP_OF_EARLIEST,
        validation = rules::TIMESTAMP_OF_LATEST,
        validation = rules::TIMESTAMP
    )]
    pub timestamp: Option<TimestampSpec>,

    /// Target: a position in the log. Earliest is the first record that is kept, tiered storage
    /// included. Latest is the end, so that only new records are consumed; see isolationLevel.
    /// Current is where the group is, so that only an offset that is out of range changes, after a
    /// topic was recreated or records have expired. None removes the committed offset, so that
    /// consumers that subscribe to the topic start where their auto.offset.reset says, and lag is no
    /// longer reported for a topic that the group has left. It needs the operation Delete on the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = own_description)]
    pub position: Option<Position>,

    /// Target: the committed offset plus this many offsets, or minus when negative. It is counted
    /// from where the stopped consumers have committed; every partition needs a committed offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift_by: Option<i64>,

    /// Target: the first record from this long ago or later, as a duration such as 1h30m; write
    /// days as hours. It is counted back from status.planningStartTime, when planning began, so it
    /// is the same time throughout the run; requestedTimestamp of each partition has it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "perhaps_a_duration")]
    #[x_kube(validation = rules::DURATION)]
    #[schemars(length(max = 32))]
    pub duration: Option<Duration>,

    /// Target: the committed offsets of this other group, as they are when the plan is made.
    /// Partitions of a topic on which that group has not committed are left as they are; a
    /// partition that is given by its number must have an offset there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub from_group: Option<String>,
}

/// A range of partitions.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[x_kube(validation = rules::PARTITION_RANGE)]
pub struct PartitionRange {
    /// The number of the first partition, from 0.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub from: i32,
    /// The number of the last partition, which belongs to the range.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub to: i32,
}

/// A position in the log that needs no number, or none.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum Position {
    /// The first record that is kept.
    Earliest,
    /// The end: one past the last record.
    Latest,
    /// The committed offset, moved into the log's range when it is out of it.
    Current,
    /// None: the committed offset is removed.
    None,
}

fn default_partition() -> i32 {
    -1
}

/// A time as a user writes it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(untagged)]
pub enum TimestampSpec {
    /// Unix time: 10 digits are seconds, 13 are milliseconds.
    Unix(i64),
    /// RFC 3339 with a zone, or the digits of Unix time in quotes, as Terraform and templates of Helm
    /// write numbers.
    Text(String),
}

// By hand, because a structural schema allows "a number or a string" only as
// `x-kubernetes-int-or-string`.
impl JsonSchema for TimestampSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TimestampSpec".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true })
    }
}
