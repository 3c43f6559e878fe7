//! The spec of an `OffsetReset`. Its docs are the user manual; the API server refuses what
//! [`rules`] and the schema do not allow. That fields cannot be changed is a rule that the CRD has
//! for all of them, made of its schema.

// On the module, because a derive copies the fields into a type of its own.
#![expect(clippy::struct_field_names, reason = "each field of the limits is a maximum, by its name in the resource")]
#![allow(clippy::duplicated_attributes, reason = "KubeSchema takes an attribute several times, once for each rule")]
#![allow(clippy::struct_excessive_bools, reason = "each field of the spec is a choice of its own, as the API has it")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema, core::Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    durations::{a_duration, perhaps_a_duration},
    entry::ResetSpec,
    kafka::KafkaSpec,
    rules,
    status::OffsetResetStatus,
    target::{RestoreSpec, TargetRef},
};

/// What to reset, and how. Of the spec only suspend and ttlSecondsAfterFinished can be changed, and
/// dryRun from true to false.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "offsetreset.dev",
    version = "v1alpha1",
    kind = "OffsetReset",
    namespaced,
    shortname = "ofr",
    status = "OffsetResetStatus",
    doc = "Resets the committed offsets of a Kafka consumer group, once.",
    derive = "PartialEq",
    printcolumn(name = "Group", type_ = "string", json_path = ".spec.group"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    // A string, because kubectl shows a date as an age, and one in the future as <invalid>.
    printcolumn(name = "Until", type_ = "string", json_path = ".status.heldUntil"),
    printcolumn(name = "Targets", type_ = "string", json_path = ".status.targetNames", priority = 1),
    printcolumn(name = "Replayed", type_ = "integer", json_path = ".status.totals.replayed", priority = 1),
    printcolumn(name = "Skipped", type_ = "integer", json_path = ".status.totals.skipped", priority = 1),
    printcolumn(name = "Clamped", type_ = "integer", json_path = ".status.totals.clamped", priority = 1),
    printcolumn(name = "Downtime", type_ = "string", json_path = ".status.hold.downtime", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::DRY_RUN,
    validation = rules::RESETS_OR_UNDO,
    validation = rules::OTHER_GROUP,
    validation = rules::NAMED_PARTITIONS,
    validation = rules::REMOVAL_NEEDS_TARGETS,
    validation = rules::DRAIN_COVERS_SESSION,
    validation = rules::HOLD_COVERS_DRAIN,
    validation = rules::HOLD_COVERS_CANARY,
    validation = rules::CANARY_NEEDS_TARGETS,
    validation = rules::NO_CANARY_OF_CONNECTOR
)]
pub struct OffsetResetSpec {
    /// The workloads whose pods are the group's consumers, in this namespace: Deployments,
    /// StatefulSets, other kinds with a scale subresource, and sink connectors of Strimzi
    /// (KafkaConnector). All are scaled to zero for the reset, or stopped by spec.state, and restored
    /// afterwards. Where another workload controls the workload, name the controlling one. Without any
    /// (the default) nothing is stopped: the consumers run elsewhere, and the group must become empty
    /// by itself within drainTimeout.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(validation = rules::TARGETS_ONCE)]
    pub target_refs: Vec<TargetRef>,

    /// How to connect to the Kafka cluster that has the group.
    pub kafka: Box<KafkaSpec>,

    /// The consumer group, by its group.id. A group that the broker does not know is refused, so
    /// that a typo creates none; see allowNewGroup.
    #[schemars(length(min = 1, max = 255))]
    pub group: String,

    /// What to reset and where to, as up to 500 entries. Entries may mix topics, partitions and
    /// kinds of target; a partition must not be in two of them. All together may have 2,000 items in
    /// partitions and partitionRanges. Required unless resetsFrom or
    /// undo is given.
    #[serde(default)]
    #[schemars(length(max = 500))]
    pub resets: Vec<ResetSpec>,

    /// Instead of resets: a file in a ConfigMap with a line for each partition, for up to 20,000
    /// partitions. Its format is that of kafka-consumer-groups --export and --from-file:
    /// topic,partition,offset, or group,topic,partition,offset, of which the lines of other groups
    /// are ignored. It is read while the plan is made; a later change of the ConfigMap changes
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resets_from: Option<ResetsFromSpec>,

    /// Instead of resets: restores the offsets that another OffsetReset found before it committed
    /// its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<UndoSpec>,

    /// How to treat a partition whose target is out of range: an offset below the smallest or above
    /// the largest, a time after the last record, or a time before the first record when older
    /// records have been deleted. An empty partition is never out of range. Clamp (the default)
    /// takes the nearest offset in range, and the status reports it. Fail resets nothing at all.
    /// Skip leaves the partition as it is.
    #[serde(default)]
    pub out_of_range: OutOfRange,

    /// How many records the reset may replay and skip at most, counted as differences of offsets, and
    /// how long the group may take to catch up. A plan that exceeds a limit is refused before anything
    /// is stopped. Without limits any plan is carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSpec>,

    /// When true, the reset ends in phase Planned with the plan in its status: the plan is made on
    /// the live group, and neither consumers nor offsets are touched. It may be changed from true
    /// to false, once: then the plan is made again and carried out. The default is false.
    #[serde(default)]
    pub dry_run: bool,

    /// When true, the reset waits in phase Pending: it reads nothing from Kafka and stops nothing,
    /// and other resets of the same group go first. It has no effect once the consumers are being
    /// stopped; to cancel then, delete the OffsetReset. The default is false.
    #[serde(default)]
    pub suspend: bool,

    /// The time after which the reset never begins, in RFC 3339 with a zone, such as
    /// 2026-11-24T18:00:00Z: it then fails with reason Expired, and nothing is touched. It keeps an
    /// old manifest inert when that is applied again to a rebuilt cluster. A reset that has begun
    /// to stop consumers goes on. Without it the reset may begin at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40))]
    #[x_kube(validation = rules::NOT_AFTER)]
    pub not_after: Option<Time>,

    /// How many seconds after its end (status.completionTime) the operator deletes this OffsetReset,
    /// as ttlSecondsAfterFinished of a Job does; 0 is at once. It may be changed at any time, even
    /// after the end. Each final phase counts: Succeeded, Failed, Cancelled and Planned.
    /// Conditions ConsumersResumed and ConsumptionProven may become final up to an hour after the
    /// end, so a shorter time leaves no object to read them from. The report is deleted too, so the
    /// reset cannot be undone any more; the receipt remains. By default the OffsetReset is kept
    /// until a user deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // With a maximum, because API servers before 1.34 do not enforce `format: int32`.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub ttl_seconds_after_finished: Option<i32>,

    /// Distinguishes this run from an earlier run with the same name and spec. A reset with the
    /// same name and spec never runs twice, even when the object is deleted and created again, as
    /// GitOps tools do on their own: it then ends at once with reason AlreadyApplied. To run it
    /// again, delete it and create it with another runId.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub run_id: Option<String>,

    /// Why the offsets are reset, as one line of up to 256 characters, such as "INC-4711: replay after
    /// the wrong tax rate". The operator does not interpret it. It is in every Event of the reset, in
    /// the report and the receipt, and after the marker in the metadata of the commits, where the
    /// broker's offset.metadata.max.bytes allows that length; an undo restores the metadata from before
    /// instead. It does not distinguish runs; see runId.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::REASON)]
    pub reason: Option<String>,

    /// Where position: Latest is. ReadUncommitted (the default) is the end of the log, as Kafka's
    /// own tool has it: records of a transaction that is still open are skipped. ReadCommitted is
    /// before the first record of a transaction that is still open.
    #[serde(default)]
    pub isolation_level: IsolationLevel,

    /// When true, the reset creates the group if the broker does not know it. By default an unknown
    /// group is refused, because committing offsets would create it, and a typo would look
    /// like a success.
    #[serde(default)]
    pub allow_new_group: bool,

    /// When true, the reset stops targets whose pods are ready even when the group has no members,
    /// because consumers that use assign() commit offsets without joining the group, or when all
    /// members have addresses of pods of other workloads, because the targets connect to Kafka
    /// through a proxy in the namespace. By default such a group is refused, because it is most
    /// likely not the group that the pods use.
    #[serde(default, skip_serializing_if = "super::schema::is_false")]
    pub allow_no_members: bool,

    /// The session.timeout.ms of the consumers (with the new protocol, KIP-848, the group's
    /// consumer.session.timeout.ms on the broker), as a duration of up to 30m, such as 45s. For that
    /// long the broker counts a consumer as a member that did not leave the group, and for twice as
    /// long one that died while it joined the group. The reset reports that time and never waits for
    /// it: it continues as soon as the broker reports the group empty. Planning waits that long, and
    /// at least 45 seconds, for members outside the target pods to leave. For a group of the new protocol
    /// the operator reads the value from the broker (status.group.sessionTimeoutMs) where it has
    /// DescribeConfigs on the group, and the longer value counts. Where neither value is known, messages
    /// name no time; Kafka's default is 45 seconds.
    #[serde(default, deserialize_with = "perhaps_a_duration", skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::SESSION_TIMEOUT)]
    // Not nullable: null is left out then, and a rule that reads it never fails.
    #[schemars(with = "Duration", length(max = 32))]
    pub session_timeout: Option<Duration>,

    /// How long the group may take to become empty after the last container has terminated, as a
    /// duration of up to 24h, such as 2m (the default); at least sessionTimeout, if that is given. When
    /// it expires, nothing is reset and the replicas are restored. For as long, counted from when the
    /// group is empty, the reset waits for a transaction with offsets of the group that is still open.
    #[serde(default = "default_drain_timeout", deserialize_with = "a_duration")]
    #[x_kube(validation = rules::DRAIN_TIMEOUT)]
    #[schemars(length(max = 32))]
    pub drain_timeout: Duration,

    /// How to treat members that remain in the group after the targets' last container has
    /// terminated: static members (group.instance.id) and those of killed pods. Wait (the default)
    /// waits until the broker ends their session. Remove removes all remaining members from the
    /// group at once; a consumer that still runs elsewhere joins again, so members in pods of
    /// another workload of the namespace are refused with Remove, too. Remove has no effect on
    /// groups of the new protocol (KIP-848).
    #[serde(default)]
    pub remaining_members: RemainingMembers,

    /// How long the consumers may be held at zero in all, as a duration of up to 24h, such as 10m
    /// (the default); longer than drainTimeout. When it expires, the replicas are restored,
    /// whatever the reset is waiting for.
    #[serde(default = "default_hold_timeout", deserialize_with = "a_duration")]
    #[x_kube(validation = rules::HOLD_TIMEOUT)]
    #[schemars(length(max = 32))]
    pub hold_timeout: Duration,

    /// How long the consumers may take to resume after the restore, as a duration of up to 24h,
    /// such as 15m: the pods to become ready, and the members to return to the group. It delays and
    /// ends nothing. When it expires, condition ConsumersResumed says what is missing; until an hour
    /// after the restore, or until it expires if that is later, the operator looks again every 30
    /// seconds, and the condition becomes True when the consumers are there. The default is 5m. For
    /// a StatefulSet with podManagementPolicy OrderedReady, whose pods start one after the other,
    /// 1m and minReadySeconds are added for each replica.
    #[serde(default, deserialize_with = "perhaps_a_duration", skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::RESUME_TIMEOUT)]
    #[schemars(length(max = 32))]
    pub resume_timeout: Option<Duration>,

    /// How the targets are restored after the offsets were committed and read back. By default all
    /// replicas come back at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreSpec>,
}

fn default_drain_timeout() -> Duration {
    std::time::Duration::from_mins(2).into()
}

fn default_hold_timeout() -> Duration {
    std::time::Duration::from_mins(10).into()
}

/// Where the list of what to reset is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ResetsFromSpec {
    /// A key of a ConfigMap in this namespace. The user who creates the OffsetReset needs the right to
    /// get that ConfigMap.
    pub config_map_key_ref: ConfigMapKeyRef,
}

/// A key of a ConfigMap.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyRef {
    /// The name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::CONFIG_MAP_NAME)]
    pub name: String,
    /// The key of its data that has the file, such as offsets.csv.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::CONFIG_MAP_KEY)]
    pub key: String,
}

/// The OffsetReset to undo.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct UndoSpec {
    /// The name of an OffsetReset in this namespace that has committed offsets for the same group.
    /// Each partition that it set goes back to the offset that was committed before, within the
    /// log's range. Where there was none, the committed offset is removed, which needs the operation
    /// Delete on the group; without it such a partition is left as it is, and a warning says so.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::UNDO_NAME)]
    pub name: String,
}

/// How to treat a partition whose target is out of range.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum OutOfRange {
    /// The nearest offset in range is taken, and the status reports it.
    #[default]
    Clamp,
    /// Nothing is reset at all.
    Fail,
    /// The partition is left as it is.
    Skip,
}

/// How to treat members that remain in the group after the targets' last container has terminated.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum RemainingMembers {
    /// The reset waits until the broker ends their session.
    #[default]
    Wait,
    /// The operator removes them from the group.
    Remove,
}

/// How transactions that are still open count for `position: Latest`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum IsolationLevel {
    /// Latest is the end of the log.
    #[default]
    ReadUncommitted,
    /// Latest is before the first record of a transaction that is still open.
    ReadCommitted,
}

/// Limits of a reset. Records are counted over all partitions, as differences of offsets. On a
/// partition without a committed offset the group has consumed nothing yet, whatever its consumers'
/// auto.offset.reset is: the records from the start of the log to the target are skipped, and none
/// is replayed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LimitsSpec {
    /// How many records the group may consume again at most, over all partitions that have a
    /// committed offset. Without it there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::MAX_REPLAY)]
    pub max_replay: Option<i64>,
    /// How many records the group may miss at most, over all partitions: those from the committed
    /// offset to the target, or from the start of the log where there is none. Without it there is
    /// no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::MAX_SKIP)]
    pub max_skip: Option<i64>,
    /// How long the group may take to catch up after the restore, as a duration of up to 8760h, such as
    /// 2h. It is compared with status.forecast.total.catchUpAtLeast, which is a lower bound: a plan that
    /// is carried out may still take longer. A plan is refused when the bound exceeds the limit (reason
    /// LimitExceeded), and when nothing can be said (CatchUpUnknown), as for a group that has consumed
    /// everything. Planning takes up to 12 seconds more for it. Without it there is no limit.
    #[serde(default, deserialize_with = "perhaps_a_duration", skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::MAX_CATCH_UP)]
    #[schemars(length(max = 32))]
    pub max_catch_up: Option<Duration>,
}
