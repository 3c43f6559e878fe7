//! The partitions in the status: the plan, and its result.

use k8s_openapi::{
    ByteString,
    apimachinery::pkg::apis::meta::v1::{MicroTime, Time},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    entry::Position,
    schema::{is_false, is_none_of_them, own_description},
};

/// Counts of partitions and records over the whole plan.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// How many partitions are in the plan.
    pub partitions: i64,
    /// How many partitions were reset: their offset was read back as planned.
    pub reset: i64,
    /// How many partitions may or may not have been reset: a commit was sent, and its result was
    /// not read back.
    #[serde(default, skip_serializing_if = "is_none_of_them")]
    pub unconfirmed: i64,
    /// How many partitions could not be reset.
    pub failed: i64,
    /// How many partitions have a target that was moved into the log's range.
    pub clamped: i64,
    /// How many partitions are left as they are: out of range with outOfRange: Skip, or with a
    /// committed offset that is the target already.
    #[serde(default, skip_serializing_if = "is_none_of_them")]
    pub left_alone: i64,
    /// How many records will be consumed again, over the partitions that have a committed offset.
    /// On the others the group consumes records for the first time, which do not count.
    pub replayed: i64,
    /// How many records will not be consumed: those from the committed offset to the target, and,
    /// on a partition without a committed offset, those from the start of the log to the target.
    pub skipped: i64,
}

/// One partition: its offset before, as requested, and after.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionStatus {
    /// The topic of the partition.
    pub topic: String,
    /// The id of the topic when the plan was made, as `kafka-topics --describe` prints it, by which
    /// the topic is told from a later one of the same name. Absent when the brokers have no ids
    /// (before Kafka 2.8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// The number of the partition, from 0.
    pub partition: i32,
    /// The committed offset before the reset. Absent when the group had not committed here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<i64>,
    /// The metadata string of the committed offset before the reset, which the reset replaces and
    /// an undo of it restores. Absent when there was none, or when it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_metadata: Option<String>,
    /// The same in base64, when the metadata is not UTF-8. Absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub before_metadata_base64: Option<ByteString>,
    /// The position that was requested; None is the removal of the committed offset. Absent when
    /// something else was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = own_description)]
    pub requested_position: Option<Position>,
    /// The shift that was requested, in offsets from `before`. Absent when something else was
    /// requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_shift: Option<i64>,
    /// The offset that was requested, or that a shift, another group, an undo or position: Current
    /// resulted in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_offset: Option<i64>,
    /// The time that was requested. Absent when something else was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_timestamp: Option<MicroTime>,
    /// The timestamp of the record that was found for the requested time. Absent when no record is
    /// that young.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched_timestamp: Option<MicroTime>,
    /// The smallest offset of the partition when the target was last computed.
    pub log_start: i64,
    /// The largest offset of the partition (one past the last record) when the target was last
    /// computed.
    pub log_end: i64,
    /// The offset to commit; for a partition that is left as it is, the offset that would have been
    /// committed. Absent when the committed offset is to be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_offset: Option<i64>,
    /// The metadata string to restore together with the offset, which only an undo has; it may be
    /// empty. It is committed only when targetOffset is requestedOffset, because it belongs to that
    /// offset. Every other commit carries the string offset-reset/NAMESPACE/NAME/UID of this
    /// OffsetReset, and after a space spec.reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_metadata: Option<String>,
    /// The same in base64, when the metadata is not UTF-8. Absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub target_metadata_base64: Option<ByteString>,
    /// True when the broker has not stored the metadata string that was to be committed: it is
    /// longer than the broker allows, or the broker drops or changes it. The offset was then
    /// committed and read back without it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub metadata_not_stored: bool,
    /// True when the broker does not take metadata as long as the marker together with spec.reason:
    /// the offset was then committed with the marker alone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reason_not_stored: bool,
    /// How many records lie between the log's start and the target: retention can delete that many
    /// before the target is out of range.
    #[serde(default)]
    pub headroom: i64,
    /// How many records of this partition will be consumed again. Zero without a committed offset,
    /// and where it is removed: the consumers' auto.offset.reset decides then.
    #[serde(default, skip_serializing_if = "is_none_of_them")]
    pub replayed: i64,
    /// How many records of this partition will not be consumed: those from the committed offset to
    /// the target, or, without one, those from the start of the log to the target. Zero where the
    /// committed offset is removed: the consumers' auto.offset.reset decides then.
    #[serde(default, skip_serializing_if = "is_none_of_them")]
    pub skipped: i64,
    /// Why the target differs from what was requested; absent when it does not. BelowLogStart and
    /// AboveLogEnd are offsets out of range; BeforeFirstRecord and AfterLastRecord are times out of
    /// range; PartitionEmpty means that there are no records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = own_description)]
    pub clamped: Option<Clamp>,
    /// The offset that was read back after the commit. Absent until then, and where the committed
    /// offset was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// The commit that another client made over the offset of the reset, after it was read back.
    /// Absent when the operator saw none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overwritten: Option<OverwrittenStatus>,
    /// The offset of the reset that was undone because the canary had failed; targetOffset is then the
    /// offset from before the reset. Absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<UndoneStatus>,
    /// The result for this partition. Planned: not committed. Unconfirmed: a commit was sent and
    /// its result not read back, so the offset is either before or targetOffset. Reset: committed,
    /// or removed, and read back. Failed: not reset, for the reason in message. Skipped: left as it was,
    /// because its target is out of range and outOfRange is Skip. Unchanged: left as it was,
    /// because the committed offset is the target already.
    pub outcome: PartitionOutcome,
    /// Why the partition failed, with Kafka's own error. Absent when it did not fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl PartitionStatus {
    /// Whether the committed offset is to be removed.
    #[must_use]
    pub fn is_removal(&self) -> bool {
        if self.undone.is_some() { self.before.is_none() } else { self.requested_position == Some(Position::None) }
    }
}

/// The offset of the reset that an undo after a failed canary replaces.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UndoneStatus {
    /// The offset that the reset had committed and the canary has consumed from. Absent when the reset
    /// had removed the committed offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_offset: Option<i64>,
}

/// A commit over the offset of a reset that consumption from that offset does not explain.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverwrittenStatus {
    /// The offset that was found. Absent when the committed offset was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// Why it is not what consumers have committed. BelowTarget: consumers do not go back.
    /// BeyondLogEnd: it was beyond the end of the log. WithoutMembers: no consumer had been a member
    /// of the group since the restore. Deleted: there is no committed offset any more. ByOffsetReset:
    /// the OffsetReset in offsetReset has set it.
    #[schemars(transform = own_description)]
    pub evidence: OverwriteEvidence,
    /// The OffsetReset that has set it, as namespace/name: the offset has its marker, or it undoes
    /// this reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_reset: Option<String>,
    /// When the operator found it.
    pub time: MicroTime,
}

/// Why an offset is not what consumers have committed.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum OverwriteEvidence {
    /// It is below the target.
    BelowTarget,
    /// It was beyond the end of the log when it was found.
    BeyondLogEnd,
    /// It is past the target, and no consumer had been a member of the group since the restore.
    WithoutMembers,
    /// The committed offset was deleted.
    Deleted,
    /// Another OffsetReset has set it.
    ByOffsetReset,
    /// Evidence that another version of the operator has found and this one does not know.
    #[serde(other)]
    Unknown,
}

/// What became of the offsets that were reset: counts over the partitions with outcome Reset.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsumptionStatus {
    /// How many partitions the group has consumed from: their committed offset is past the target.
    #[serde(default)]
    pub continued: i64,
    /// How many partitions another client committed over. status.partitions has the offsets.
    #[serde(default)]
    pub overwritten: i64,
    /// How many partitions have records to consume while the committed offset is still the target.
    #[serde(default)]
    pub waiting: i64,
    /// How many partitions have no record to consume from the target on.
    #[serde(default)]
    pub without_records: i64,
    /// When the operator first saw a member in the group after the restore. Absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_member_time: Option<MicroTime>,
    /// When the operator first saw that the group had committed past a target. It looks every 1 to
    /// 10 seconds, and every 30 seconds past status.hold.resumeDeadline, so the commit may be older
    /// by that much. Absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_commit_time: Option<MicroTime>,
    /// The time from the restore (status.hold.endTime), or from the start of a canary
    /// (status.canary.startTime), to firstCommitTime, in seconds, such as 4.2s.
    /// Absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_first_commit: Option<String>,
    /// The partition that was the last one to be committed past its target; while partitions wait,
    /// one of them. Absent until a partition waits or was committed past its target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowest_partition: Option<SlowestPartitionStatus>,
    /// How fast the group catches up, measured from its first commit past a target until it has caught
    /// up, or until five minutes after the restore. Absent until that commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<CatchUpStatus>,
}

/// How fast the group catches up after the reset, over the partitions with outcome Reset. Records are
/// counted as differences of offsets.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CatchUpStatus {
    /// When the measurement began.
    pub start_time: MicroTime,
    /// How many records from the targets on the group had consumed at startTime.
    pub consumed_at_start: i64,
    /// How many records the group still had to consume at startTime.
    pub lag_at_start: i64,
    /// When the operator last looked.
    pub time: MicroTime,
    /// How many records from the targets on the group had consumed by then.
    pub consumed: i64,
    /// How many records the group still had to consume then.
    pub lag: i64,
    /// How many records the group consumed in a minute since startTime. Absent until ten seconds were
    /// measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumed_per_minute: Option<i64>,
    /// How many records were produced in a minute since startTime. Absent until ten seconds were
    /// measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub produced_per_minute: Option<i64>,
    /// How long the group takes at least from `time` on until it has caught up, if both rates stay as
    /// they are, such as 1h50m: lag divided by their difference. A single partition may take longer.
    /// Absent until ten seconds were measured, where nothing is left, and where the group consumes no
    /// faster than is produced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_at_least: Option<String>,
    /// How the measurement ended; absent while it goes on. CaughtUp: the group has consumed all records
    /// that were there at the look before. TimeOver: it had not within five minutes, or before the
    /// operator stopped looking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = own_description)]
    pub result: Option<CatchUpResult>,
}

/// How the measurement of a catch-up ended.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum CatchUpResult {
    /// The group has consumed all records that were there at the look before.
    CaughtUp,
    /// The group had not caught up when the measurement ended.
    TimeOver,
    /// A result that another version of the operator has written and this one does not know.
    #[serde(other)]
    Unknown,
}

/// The partition of a reset that the group takes longest to consume from.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlowestPartitionStatus {
    /// The topic of the partition.
    pub topic: String,
    /// The number of the partition, from 0.
    pub partition: i32,
    /// When the operator first saw that the group had committed past the target here. Absent while
    /// the partition waits, and when it did not come to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_time: Option<MicroTime>,
    /// The time to commitTime, counted as timeToFirstCommit, in seconds, such as 9.1s.
    /// Absent without that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_commit: Option<String>,
}

/// Why a target differs from what was requested.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum Clamp {
    /// The offset is below the smallest: the smallest was taken.
    BelowLogStart,
    /// The offset is above the largest: the largest was taken.
    AboveLogEnd,
    /// The time is before the earliest record: the earliest was taken.
    BeforeFirstRecord,
    /// No record is as young as the time: the end of the log before the lookup was taken.
    AfterLastRecord,
    /// The partition has no records: its end was taken.
    PartitionEmpty,
    /// A reason that another version of the operator has written and this one does not know.
    #[serde(other)]
    Unknown,
}

/// The result for a partition.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum PartitionOutcome {
    /// Not committed.
    Planned,
    /// Committed and read back.
    Reset,
    /// Not reset; the message has the reason.
    Failed,
    /// Left as it was, because its target is out of range and outOfRange is Skip.
    Skipped,
    /// Left as it was, with its metadata, because the committed offset is the target already.
    Unchanged,
    /// A commit was sent, and its result was not read back: for a moment during a reset, and at the
    /// end only of a reset that was interrupted. The offset is either the one before or the target.
    /// An outcome that another version of the operator has written counts as this one: it may have
    /// committed.
    #[serde(other)]
    Unconfirmed,
}

/// How the plan differs from the plan of the dry run before it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftStatus {
    /// When the dry run's plan was made.
    pub first_plan_time: Time,
    /// The counts of the dry run's plan.
    pub first_totals: Totals,
    /// How many partitions have another committed offset than in the first plan.
    #[serde(default)]
    pub moved: i64,
    /// How many partitions have another target than in the first plan.
    #[serde(default)]
    pub retargeted: i64,
    /// How many partitions were not in the first plan.
    #[serde(default)]
    pub added: i64,
    /// How many partitions of the first plan are not in this one.
    #[serde(default)]
    pub removed: i64,
}
