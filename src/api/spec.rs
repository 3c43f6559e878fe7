//! What a user asks for. Everything that can be refused at `kubectl apply` is refused there, in words that say what to write instead.

#![allow(clippy::duplicated_attributes, reason = "an attribute of KubeSchema may stand several times, once for each rule")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema, core::Duration};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{kafka::KafkaSpec, status::OffsetResetStatus};

/// Moves the committed offsets of a Kafka consumer group, once: plans while the consumers still run, scales them to zero,
/// waits until the broker calls the group free, commits, reads back, and puts the replicas back, whatever happens.
/// A one-shot, like a Job: of the spec only suspend can be changed, and dryRun from true to false. Delete it to cancel; replicas come back first.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "offsetreset.dev",
    version = "v1alpha1",
    kind = "OffsetReset",
    namespaced,
    shortname = "ofr",
    status = "OffsetResetStatus",
    doc = "Moves the committed offsets of a Kafka consumer group, once: plans while the consumers still run, scales them to zero, waits until the broker calls the group free, commits, reads back, and puts the replicas back, whatever happens. A one-shot, like a Job: of the spec only suspend can be changed, and dryRun from true to false. Delete it to cancel; replicas come back first.",
    derive = "PartialEq",
    printcolumn(name = "Group", type_ = "string", json_path = ".spec.group"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Reset", type_ = "integer", json_path = ".status.totals.reset"),
    printcolumn(name = "Of", type_ = "integer", json_path = ".status.totals.partitions"),
    printcolumn(name = "Clamped", type_ = "integer", json_path = ".status.totals.clamped", priority = 1),
    printcolumn(name = "Downtime", type_ = "string", json_path = ".status.hold.downtime", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.targetRefs == oldSelf.targetRefs && self.kafka == oldSelf.kafka && self.group == oldSelf.group && self.resets == oldSelf.resets && has(self.undo) == has(oldSelf.undo) && (!has(self.undo) || self.undo == oldSelf.undo) && self.outOfRange == oldSelf.outOfRange && has(self.limits) == has(oldSelf.limits) && (!has(self.limits) || self.limits == oldSelf.limits) && has(self.runId) == has(oldSelf.runId) && (!has(self.runId) || self.runId == oldSelf.runId) && has(self.notAfter) == has(oldSelf.notAfter) && (!has(self.notAfter) || self.notAfter == oldSelf.notAfter) && self.isolationLevel == oldSelf.isolationLevel && self.allowNewGroup == oldSelf.allowNewGroup && has(self.allowNoMembers) == has(oldSelf.allowNoMembers) && (!has(self.allowNoMembers) || self.allowNoMembers == oldSelf.allowNoMembers) && self.remainingMembers == oldSelf.remainingMembers && self.sessionTimeout == oldSelf.sessionTimeout && self.drainTimeout == oldSelf.drainTimeout && self.holdTimeout == oldSelf.holdTimeout").message("an OffsetReset is a one-shot, like a Job: its spec cannot be changed, except for suspend, and dryRun from true to false. Create another OffsetReset under a new name"),
    validation = Rule::new("self.dryRun == oldSelf.dryRun || oldSelf.dryRun").message("dryRun can only be changed from true to false: a reset that may have run cannot become a dry run. Create another OffsetReset under a new name"),
    validation = Rule::new("has(self.undo) != (self.resets.size() > 0)").message("write either resets (what to reset, and where to) or undo (the name of the OffsetReset to take back)"),
    validation = Rule::new("self.resets.all(r, !has(r.fromGroup) || r.fromGroup != self.group)").message("fromGroup must name another group than spec.group. To repair the group's own offsets where they are out of range, write position: Current"),
    validation = Rule::new("self.remainingMembers != 'Remove' || self.targetRefs.size() > 0").message("remainingMembers: Remove is for members that are left when the targets have stopped, and targetRefs names none. Name the workloads, or write Wait"),
    validation = Rule::new("duration(self.drainTimeout) >= duration(self.sessionTimeout)").message("drainTimeout must be at least sessionTimeout: the broker frees the group of a stopped consumer only then. Raise drainTimeout"),
    validation = Rule::new("duration(self.holdTimeout) > duration(self.drainTimeout)").message("holdTimeout must be longer than drainTimeout: it bounds the whole time at zero, the drain included. Raise holdTimeout")
)]
pub struct OffsetResetSpec {
    /// The workloads whose pods are the consumers: all are scaled to zero, and put back afterwards. Deployments, StatefulSets,
    /// and whatever else has a scale subresource, in this namespace. Not one that another workload controls: name that one.
    /// Empty when the consumers run elsewhere: then the group must become empty by itself within drainTimeout.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.all(t, self.exists_one(u, u.apiVersion == t.apiVersion && u.kind == t.kind && u.name == t.name))").message("targetRefs names the same workload twice. Name it once"))]
    pub target_refs: Vec<TargetRef>,

    /// The Kafka cluster that the group lives on.
    pub kafka: Box<KafkaSpec>,

    /// The consumer group: its group.id. It must be known to the broker, so that a typo never makes a new one; see allowNewGroup.
    #[schemars(length(min = 1, max = 255))]
    pub group: String,

    /// What to reset, and where to. Entries may mix topics, partitions and kinds of target; no partition may be meant by two of them.
    #[serde(default)]
    #[schemars(length(max = 500))]
    pub resets: Vec<ResetSpec>,

    /// Instead of resets: go back to what another OffsetReset has recorded as the offsets before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<UndoSpec>,

    /// What becomes of a partition whose target is out of range: an offset below the smallest or above the largest, a time after the
    /// last record, or a time before the first record when older records have been deleted. An empty partition is never out of range.
    /// Clamp: the nearest offset in range is taken, and the status says so. Fail: nothing is reset at all. Skip: the partition is left as it is.
    #[serde(default)]
    pub out_of_range: OutOfRange,

    /// How much the reset may replay and skip at most; a plan beyond that is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSpec>,

    /// Make the plan on the live group, touch nothing, and end in phase Planned with everything that the reset would do.
    /// May be changed from true to false, once: then it runs, planned anew.
    #[serde(default)]
    pub dry_run: bool,

    /// Keep it waiting: nothing is asked of Kafka and nothing is stopped until suspend is false. Others of the same group go before it.
    /// Without effect once the consumers are being stopped; to cancel then, delete the OffsetReset.
    #[serde(default)]
    pub suspend: bool,

    /// A time, such as 2026-11-24T18:00:00Z, after which the reset never begins: it ends as Failed with reason Expired, and nothing is
    /// touched. Keeps an old manifest inert when it is applied again to a rebuilt cluster. What has begun to stop consumers goes on.
    // The API server reads the time itself for a rule; the format alone lets through what nobody can read, such as a zone of +99:99.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= timestamp('1970-01-01T00:00:00Z') && self < timestamp('9999-01-01T00:00:00Z')").message("notAfter must be a time after 1970, such as 2026-11-24T18:00:00Z"))]
    pub not_after: Option<Time>,

    /// What tells this run from another one of the same name and spec. The same name and spec never move offsets twice, also when the object
    /// is deleted and created again, as GitOps tools do on their own; then it ends at once with reason AlreadyApplied. To run it
    /// again, delete it and create it with another runId.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub run_id: Option<String>,

    /// What position: Latest is. ReadUncommitted: the end of the log, as Kafka's own tool takes it; records of a transaction that is
    /// still open are skipped. ReadCommitted: before the first record of a transaction that is still open.
    #[serde(default)]
    pub isolation_level: IsolationLevel,

    /// Let the reset create the group when the broker does not know it. Without this an unknown group is refused, because
    /// committing offsets would create it, and a typo would look like a success.
    #[serde(default)]
    pub allow_new_group: bool,

    /// Let the reset stop targets whose pods are ready although the group has no members, as of consumers that use assign() and only
    /// commit in the group. Without this such a group is refused, because it is most likely not the one that the pods use.
    #[serde(default, skip_serializing_if = "super::status::is_false")]
    pub allow_no_members: bool,

    /// What the consumers' session.timeout.ms is, as a duration such as 10s. A consumer that did not leave the group counts as a member
    /// until then. A bound for what is reported, not a sleep: the moment the broker calls the group free, the reset goes on.
    #[serde(default = "default_session_timeout", deserialize_with = "a_duration")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) > duration('0s') && duration(self) <= duration('30m')").message("sessionTimeout must be a duration from 1ms to 30m, such as 10s or 1m30s"))]
    #[schemars(length(max = 32))]
    pub session_timeout: Duration,

    /// How long the group may take to become empty, counted from the end of the last container, such as 2m. At least sessionTimeout.
    /// After that nothing is reset and the replicas come back.
    #[serde(default = "default_drain_timeout", deserialize_with = "a_duration")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) > duration('0s') && duration(self) <= duration('24h')").message("drainTimeout must be a duration of up to 24h, such as 2m"))]
    #[schemars(length(max = 32))]
    pub drain_timeout: Duration,

    /// What becomes of members that are still in the group after the last container of the targets has ended: static ones (group.instance.id),
    /// and those whose pods were killed. Wait: until the broker ends their session. Remove: they are taken out of the group at once, all
    /// that are left, whoever they are; one that still runs elsewhere joins again. Without effect on groups of the new protocol (KIP-848).
    #[serde(default)]
    pub remaining_members: RemainingMembers,

    /// How long the consumers may be held at zero in all, whatever happens, such as 10m. After that the replicas come back.
    #[serde(default = "default_hold_timeout", deserialize_with = "a_duration")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) > duration('0s') && duration(self) <= duration('24h')").message("holdTimeout must be a duration of up to 24h, such as 10m"))]
    #[schemars(length(max = 32))]
    pub hold_timeout: Duration,
}

/// How many digits a number in a duration may have before its point: as many as a duration has that the definition takes as hours and that is
/// written in seconds, as every client does that reads an object and writes it back.
const DIGITS_OF_A_DURATION: usize = 13;

/// The crate that makes durations panics on one that is too long, or negative in its middle (kube 5.0), and an object that ends the operator must
/// not be decoded by luck only: the definition's rules refuse these, but another version of it may be installed.
fn a_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let positive = text.strip_prefix('-').unwrap_or(&text);
    let only_numbers_and_units = positive.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    let whole_numbers = positive.split(|of: char| of.is_ascii_alphabetic()).map(|number| number.split('.').next().unwrap_or(""));
    if !only_numbers_and_units || whole_numbers.map(str::len).any(|digits| digits > DIGITS_OF_A_DURATION) || text.len() > 100 {
        return Err(D::Error::custom(format!("'{text:.100}' is no duration, such as 10s or 1m30s")));
    }
    text.parse().map_err(D::Error::custom)
}

fn perhaps_a_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    #[derive(Deserialize)]
    struct Given(#[serde(deserialize_with = "a_duration")] Duration);
    Ok(Option::<Given>::deserialize(deserializer)?.map(|given| given.0))
}

fn default_session_timeout() -> Duration {
    std::time::Duration::from_secs(10).into()
}

fn default_drain_timeout() -> Duration {
    std::time::Duration::from_mins(2).into()
}

fn default_hold_timeout() -> Duration {
    std::time::Duration::from_mins(10).into()
}

/// A workload in the namespace of the OffsetReset: a Deployment, a StatefulSet, or whatever has a scale subresource.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.apiVersion != 'apps/v1' || self.kind in ['Deployment', 'StatefulSet', 'ReplicaSet']").message("of apps/v1, a Deployment, a StatefulSet or a ReplicaSet can be a target. For a kind of another API group write its apiVersion too, such as argoproj.io/v1alpha1 for a Rollout. A DaemonSet has no replicas: stop it yourself and leave it out of targetRefs, and the reset waits until the group is empty"))]
pub struct TargetRef {
    /// The API version of the workload's kind, as in the workload's own manifest.
    #[serde(default = "default_api_version")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?v[0-9]+([a-z]+[0-9]+)?$')").message("apiVersion must be as in the workload's own manifest: group and version, such as apps/v1 or argoproj.io/v1alpha1"))]
    pub api_version: String,

    /// The workload's kind, as in the workload's own manifest. Any kind that has a scale subresource. For kinds other than Deployment
    /// and StatefulSet the operator has to be given the rights, by a ClusterRole with the label
    /// offsetreset.dev/aggregate-to-operator: "true".
    #[serde(default = "default_kind")]
    #[schemars(length(max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Z][A-Za-z0-9]*$')").message("kind must be as in the workload's own manifest, such as StatefulSet: not a plural, not a short name"))]
    pub kind: String,

    /// How the API server calls the kind's resource, where that is not the kind in lower case with an "s": proxies for Proxy;
    /// `kubectl api-resources` shows it. Whoever creates an OffsetReset must be allowed to scale that very resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("resource must be as kubectl api-resources shows it under NAME, such as proxies: without the API group, without a subresource"))]
    pub resource: Option<String>,

    /// The workload's name.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message("name must be the workload's metadata.name: small letters, digits, '-' and '.'"))]
    pub name: String,

    /// Scale a StatefulSet to zero although its persistentVolumeClaimRetentionPolicy.whenScaled is Delete: the volumes of its pods
    /// are deleted, and the pods come back with new and empty ones. Without this such a StatefulSet is refused.
    #[serde(default, skip_serializing_if = "super::status::is_false")]
    pub accept_volume_deletion: bool,

    /// Stop the workload even while pods of more than one of its revisions run, as in the middle of a rollout: all its replicas are
    /// restored as its newest revision, whether that one has proved itself or not. Without this the reset waits for a rollout that makes
    /// progress, and is refused while a rollout is paused or blocked.
    #[serde(default, skip_serializing_if = "super::status::is_false")]
    pub accept_revision_change: bool,
}

impl TargetRef {
    /// A workload by its kind and name.
    #[must_use]
    pub fn new(api_version: &str, kind: &str, name: &str) -> Self {
        let (api_version, kind, name) = (api_version.to_owned(), kind.to_owned(), name.to_owned());
        Self { api_version, kind, resource: None, name, accept_volume_deletion: false, accept_revision_change: false }
    }

    /// The resource whose `scale` the creator's rights are checked for, by the same rule as in deploy/policies.yaml.
    #[must_use]
    pub fn checked_resource(&self) -> String {
        self.resource.clone().unwrap_or_else(|| format!("{}s", self.kind.to_ascii_lowercase()))
    }
}

/// The workload that a status is about.
impl From<&super::TargetStatus> for TargetRef {
    fn from(target: &super::TargetStatus) -> Self {
        Self::new(&target.api_version, &target.kind, &target.name)
    }
}

fn default_api_version() -> String {
    "apps/v1".into()
}

fn default_kind() -> String {
    "Deployment".into()
}

/// The OffsetReset to take back.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct UndoSpec {
    /// The name of an OffsetReset in this namespace that has committed offsets for the same group. Each partition that it has set goes
    /// back to the offset that was committed before it, within the log's bounds; a partition that had none is left as it is.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message("undo.name must be the metadata.name of an OffsetReset in this namespace"))]
    pub name: String,
}

/// What becomes of a partition whose target is out of range.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum OutOfRange {
    /// The nearest offset in range is taken, and the status says so.
    #[default]
    Clamp,
    /// Nothing is reset at all.
    Fail,
    /// The partition is left as it is.
    Skip,
}

/// What becomes of members that are left in the group when no container of the targets runs any more.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum RemainingMembers {
    /// The broker ends their session in its time.
    #[default]
    Wait,
    /// They are taken out of the group.
    Remove,
}

/// How transactions that are still open count for position: Latest.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum IsolationLevel {
    /// The end of the log.
    #[default]
    ReadUncommitted,
    /// Before the first record of a transaction that is still open.
    ReadCommitted,
}

/// Bounds of what a reset may do, in records over all partitions, counted as differences of offsets. Partitions
/// without a committed offset do not count: nobody knows where their consumers would have started.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LimitsSpec {
    /// How many records may be consumed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 0").message("maxReplay must be 0 or more"))]
    pub max_replay: Option<i64>,
    /// How many records may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 0").message("maxSkip must be 0 or more"))]
    pub max_skip: Option<i64>,
}

/// One request: a topic or several, one or all of their partitions, and exactly one target.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.offset) ? 1 : 0) + (has(self.timestamp) ? 1 : 0) + (has(self.position) ? 1 : 0) + (has(self.shiftBy) ? 1 : 0) + (has(self.duration) ? 1 : 0) + (has(self.fromGroup) ? 1 : 0) == 1").message("each entry of resets needs exactly one target: write one of offset, timestamp, position, shiftBy, duration and fromGroup"))]
#[x_kube(validation = Rule::new("has(self.topic) != has(self.topicPattern)").message("each entry of resets needs either topic or topicPattern"))]
pub struct ResetSpec {
    /// The topic's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249))]
    #[x_kube(validation = Rule::new("self.matches('^[a-zA-Z0-9._-]+$') && self != '.' && self != '..'").message("topic must be the name of one topic: letters, digits, '.', '_' and '-'. For several topics write topicPattern"))]
    pub topic: Option<String>,

    /// A regular expression that a topic's whole name must match, such as "orders\\..*". Of the topics on which the group has committed
    /// offsets (with fromGroup: on which that group has), and there of the partitions with a committed offset; ".*" is the whole group.
    /// Resolved once, when the plan is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249))]
    #[x_kube(validation = Rule::new("'topic'.matches(self) in [true, false]").message("topicPattern must be a regular expression (RE2), such as \"orders\\..*\""))]
    pub topic_pattern: Option<String>,

    /// The partition's number, or -1 for all partitions that the topic has when the plan is made.
    #[serde(default = "default_partition")]
    #[x_kube(validation = Rule::new("self >= -1 && self <= 2147483647").message("partition must be a partition's number from 0, or -1 for all partitions"))]
    pub partition: i32,

    /// The offset to go to. Below the smallest it becomes the smallest, above the largest the largest; the status says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 0").message("offset must be 0 or more: Kafka's negative offsets have other meanings"))]
    pub offset: Option<i64>,

    /// Go to the first record at or after this time: Unix time as a number (10 digits are seconds, 13 are milliseconds),
    /// or RFC 3339 with a zone such as "2019-10-23T13:22:24Z". Before the earliest record it becomes the earliest,
    /// after the latest the end; the status says so.
    // By size and ending (a zone, or none), without a pattern and without asking for the type: the API server reckons that a
    // number-or-string may be megabytes long, and for hundreds of entries anything more would cost more than it allows. A size
    // is no question for a number, but then `||` has its answer already. What slips through is refused while planning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("(self >= 1000000000 && self <= 9999999999) || (self >= 1000000000000 && self <= 9999999999999) || (self.size() <= 40 && ((self.size() >= 20 && (self.endsWith('Z') || self.endsWith('z'))) || (self.size() >= 25 && (self.endsWith(':00') || self.endsWith(':30') || self.endsWith(':45')))))").message("timestamp must be Unix time in seconds (10 digits) or milliseconds (13 digits), or RFC 3339 with a zone in quotes, such as \"2019-10-23T13:22:24Z\""))]
    pub timestamp: Option<TimestampSpec>,

    /// Earliest: the first record that is kept, tiered storage included. Latest: the end, so that only new records are consumed; see isolationLevel.
    /// Current: where the group is, so that only what is out of range changes (after a topic was created anew, or records have expired).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,

    /// So many records on (or back, when negative) from where the group's consumers have stopped. Every partition needs a committed offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift_by: Option<i64>,

    /// Go to the first record of at most this long before the reset was taken up, such as 1h30m. Resolved to a time once.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "perhaps_a_duration")]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) > duration('0s')").message("duration must be a duration such as 90m or 36h: how long ago. Days are not known, write hours"))]
    #[schemars(length(max = 32))]
    pub duration: Option<Duration>,

    /// Go where another group is: to its committed offsets, as they are when the plan is made. Partitions of a topic on which that group has
    /// not committed are left as they are; a partition that is named must have a commit there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub from_group: Option<String>,
}

/// A place in a partition that needs no number.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum Position {
    /// The first record that is kept.
    Earliest,
    /// The end: one past the last record.
    Latest,
    /// Where the group is, moved into the log's bounds when it is out of them.
    Current,
}

fn default_partition() -> i32 {
    -1
}

/// A point in time as a user writes it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(untagged)]
pub enum TimestampSpec {
    /// Unix time: 10 digits are seconds, 13 are milliseconds.
    Unix(i64),
    /// RFC 3339 with a zone.
    Rfc3339(String),
}

// By hand, because only `x-kubernetes-int-or-string` lets a structural schema say "a number or a string".
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1m30s", Some(90_000))]
    #[case("1.5h", Some(5_400_000))]
    #[case("999999999h", Some(3_599_999_996_400_000))]
    #[case("9999999999999h", Some(35_999_999_999_996_400_000))]
    #[case("-5s", Some(5_000))]
    #[case("99999999999999999999999h", None)]
    #[case("1h-5m", None)]
    #[case("1h+5m", None)]
    #[case("infs", None)]
    #[case("1e30s", None)]
    #[case("ten", None)]
    fn a_duration_is_read_or_refused_and_never_ends_the_operator(#[case] text: &str, #[case] millis: Option<u128>) {
        #[derive(Deserialize)]
        struct Read(#[serde(deserialize_with = "a_duration")] Duration);
        let read: Result<Read, _> = serde_json::from_value(serde_json::json!(text));
        assert_eq!(read.ok().map(|read| std::time::Duration::from(read.0).as_millis()), millis);
    }

    #[test]
    fn the_longest_duration_that_the_definition_takes_is_read_as_it_is_written() {
        #[derive(Serialize, Deserialize)]
        struct Read(#[serde(deserialize_with = "a_duration")] Duration);
        let read: Read = serde_json::from_value(serde_json::json!("2562047h")).unwrap();
        let written = serde_json::to_value(&read).unwrap();
        assert_eq!(written, "9223369200s");
        assert_eq!(serde_json::from_value::<Read>(written).unwrap().0, read.0);
    }
}
