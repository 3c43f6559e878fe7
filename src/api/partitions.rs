//! What is recorded of the partitions: the plan, and what became of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Position, status::is_false};

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_none_of_them(n: &i64) -> bool {
    *n == 0
}

/// Counts over all partitions.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Partitions in the plan.
    pub partitions: i64,
    /// Partitions whose offset was read back as planned.
    pub reset: i64,
    /// Partitions for which a commit was sent that was not read back: they may or may not have been reset.
    #[serde(default, skip_serializing_if = "is_none_of_them")]
    pub unconfirmed: i64,
    /// Partitions that could not be reset.
    pub failed: i64,
    /// Partitions whose target was moved into the log's bounds.
    pub clamped: i64,
    /// Partitions that are left as they are: out of range with outOfRange: Skip, or in range with position: Current.
    #[serde(default, skip_serializing_if = "is_none_of_them")]
    pub left_alone: i64,
    /// Reports that will be consumed again, over the partitions with a committed offset before.
    pub replayed: i64,
    /// Reports that will not be consumed, over the partitions with a committed offset before.
    pub skipped: i64,
}

/// One partition: before, requested, after.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionStatus {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The committed offset before the reset; absent when the group had not committed here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<i64>,
    /// The string that stood beside the committed offset before the reset; the reset puts its own there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_metadata: Option<String>,
    /// The position that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_position: Option<Position>,
    /// The shift that was asked for, from `before`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_shift: Option<i64>,
    /// The offset that was asked for, or that a shift, another group, an undo or the current position have come to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_offset: Option<i64>,
    /// The time that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_timestamp: Option<MicroTime>,
    /// The timestamp of the record that was found for it; absent when no record is that young.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched_timestamp: Option<MicroTime>,
    /// The smallest offset of the partition when the target was last computed.
    pub log_start: i64,
    /// The largest offset of the partition (one past the last record) when the target was last computed.
    pub log_end: i64,
    /// The offset to commit; of a partition that is left alone, what it would have been.
    pub target_offset: i64,
    /// How many records lie between the log's start and the target: what retention may take before the consumers are at risk.
    #[serde(default)]
    pub headroom: i64,
    /// How many records will be consumed again.
    #[serde(default, skip_serializing_if = "is_none_of_them")]
    pub replayed: i64,
    /// How many records will not be consumed.
    #[serde(default, skip_serializing_if = "is_none_of_them")]
    pub skipped: i64,
    /// Why the target is not what was asked for; absent when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clamped: Option<Clamp>,
    /// The offset that was read back after the commit; absent until it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// What became of it.
    pub outcome: PartitionOutcome,
    /// Kafka's words, when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Why a target is not what was asked for.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum Clamp {
    /// The offset is below the smallest: the smallest was taken.
    BelowLogStart,
    /// The offset is above the largest: the largest was taken.
    AboveLogEnd,
    /// The time is before the earliest record: the earliest was taken.
    BeforeFirstRecord,
    /// No record is as young as the time: the end was taken, as it was before the lookup.
    AfterLastRecord,
    /// The partition has no records: its end was taken.
    PartitionEmpty,
}

/// What became of a partition.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum PartitionOutcome {
    /// Not committed.
    Planned,
    /// A commit was sent, and it was not read back whether it stands: in between for a moment, and at the end only of a reset that was
    /// cut short. The offset is either before or target.
    Unconfirmed,
    /// Committed and read back.
    Reset,
    /// Not reset; the message says why.
    Failed,
    /// Left as it was, because its target is out of range and outOfRange is Skip.
    Skipped,
    /// Left as it was, because it is in range and position is Current.
    Unchanged,
}

/// How a plan differs from the one of the dry run before it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftStatus {
    /// When the dry run's plan was made.
    pub first_plan_time: Time,
    /// What the dry run's plan came to.
    pub first_totals: Totals,
    /// Partitions on which the group has committed another offset since.
    #[serde(default)]
    pub moved: i64,
    /// Partitions whose target is another one now.
    #[serde(default)]
    pub retargeted: i64,
    /// Partitions that were not in the first plan.
    #[serde(default)]
    pub added: i64,
    /// Partitions of the first plan that are not in this one.
    #[serde(default)]
    pub removed: i64,
}

/// Where the receipt is.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptStatus {
    /// A ConfigMap in this namespace, which belongs to nobody and stays.
    pub config_map: String,
    /// It says how the run has ended.
    #[serde(default, skip_serializing_if = "is_false")]
    pub settled: bool,
}

/// Where the whole report is.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportStatus {
    /// A ConfigMap in this namespace, which goes with the OffsetReset.
    pub config_map: String,
    /// Its files are compressed: they end in .gz and stand in binaryData.
    #[serde(default, skip_serializing_if = "is_false")]
    pub compressed: bool,
}
