//! What a pass has seen. Unknown never counts as empty, stopped or absent.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{
    denial::Denial,
    forecast::ForecastSeen,
    hold::Hold,
    kafka::{Access, Bounds, Committed, Group, KafkaError, PerPartition, TimestampMatch},
    peer::{Blocker, PeerReset},
    receipt::Receipt,
    scaled_object::ScaledObjectSeen,
    seen::Seen,
    workload::{ForeignPod, Unscalable, Workload},
};
use crate::api::{OffsetReset, PartitionStatus, Phase};

/// What one pass has seen; it reads only what its phase needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The object's UID.
    pub uid: String,
    /// The group that it is about.
    pub group: String,
    /// The object is being deleted.
    pub deleting: bool,
    /// Our finalizer is on the object.
    pub finalizer: bool,
    /// The object's generation.
    pub generation: Option<i64>,
    /// How long after its end the object is to be deleted; `None` when it is to be kept.
    pub time_to_live: Option<SignedDuration>,
    /// The operator is being uninstalled.
    pub uninstalling: bool,
    /// The reset that goes first. Read in Pending only.
    pub blocker: Option<Blocker>,
    /// All other resets of this operator. Read in Planning, Stopping and Restoring.
    pub others: Vec<PeerReset>,
    /// Why the report of the plan is missing, when it is needed and missing.
    pub report_lost: Option<Denial>,
    /// The receipt of an earlier run of the same name and spec. Read in Pending only.
    pub receipt: Option<Seen<Receipt>>,
    /// The targets, in the order of the spec.
    pub targets: Vec<Seen<Workload>>,
    /// The Leases of the targets, in the same order. Read in Planning, Stopping and Restoring.
    pub holds: Vec<Seen<Hold>>,
    /// Why each target's kind cannot be scaled, in the same order. Read in Planning and Restoring;
    /// empty otherwise.
    pub unscalable: Vec<Option<Unscalable>>,
    /// The ScaledObjects of the targets, in the same order. Read in Planning, and in Stopping and
    /// Restoring where there is one.
    pub autoscalers: Vec<ScaledObjectSeen>,
    /// What was seen of Kafka.
    pub kafka: KafkaSeen,
    /// Pods of the namespace at the addresses of members that run outside the target pods. Read in
    /// Planning only, and only where another member runs in one.
    pub foreign_pods: Vec<ForeignPod>,
    /// The reset that undoes this one. Read after the end only, while the offsets are watched.
    pub undo: Option<UndoSeen>,
}

/// The reset that undoes this one, once it does more than plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoSeen {
    /// Its namespace and name.
    pub name: String,
    /// Whether it has set every offset of its plan.
    pub committed: bool,
}

impl UndoSeen {
    /// What another reset is to the one with this namespace and name, which ended at a time. An undo that was planned before undid
    /// an earlier object of that name.
    #[must_use]
    pub fn of(other: &OffsetReset, namespace: &str, name: &str, ended: Option<Timestamp>) -> Option<Self> {
        let is_undo = other.spec.undo.as_ref().is_some_and(|undo| undo.name == name);
        if !is_undo || other.spec.dry_run || other.metadata.namespace.as_deref() != Some(namespace) {
            return None;
        }
        let status = other.status.as_ref().filter(|status| !status.dry_run)?;
        let is_earlier = status.planning_start_time.as_ref().zip(ended).is_some_and(|(planned, ended)| planned.0 < ended);
        if is_earlier {
            return None;
        }
        let totals = status.totals.unwrap_or_default();
        let set = totals.reset + totals.unconfirmed;
        let committed = set > 0 && set >= totals.partitions;
        let phase = status.phase?;
        let is_under_way = phase.may_hold() && !matches!(phase, Phase::Canary | Phase::Restoring);
        let other = other.metadata.name.as_deref().unwrap_or_default();
        (set > 0 || is_under_way).then(|| Self { name: format!("{namespace}/{other}"), committed })
    }
}

/// What was seen of Kafka.
#[derive(Clone, Debug, PartialEq)]
pub enum KafkaSeen {
    /// The phase does not ask Kafka.
    NotAsked,
    /// Asking failed as a whole.
    Failed(KafkaError),
    /// The answers that a plan is made from.
    ForPlan(Box<PlanSeen>),
    /// The answer about the group alone.
    Group(Group),
    /// The answers that a commit is decided on.
    ForCommit(CommitSeen),
    /// The answers about the group and its offsets while a canary runs, and after the run.
    AfterReset(AfterResetSeen),
}

/// What is read while a canary runs and after the run, in this order. The offsets come before the bounds, so that a record
/// that arrives between the two queries makes no offset look as if it were beyond the log's end; and
/// before the group, so that a consumer that commits has been a member by then.
#[derive(Clone, Debug, PartialEq)]
pub struct AfterResetSeen {
    /// The committed offsets.
    pub committed: PerPartition<Option<Committed>>,
    /// The bounds.
    pub bounds: PerPartition<Bounds>,
    /// Where the first transaction that is still open begins; read while a canary runs only. Records
    /// from there on prove nothing, because consumers that read committed records do not get them yet.
    pub stable_ends: PerPartition<i64>,
    /// The group.
    pub group: Group,
}

/// What a plan is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanSeen {
    /// The cluster's own id, where it has one.
    pub cluster_id: Option<String>,
    /// The group.
    pub group: Group,
    /// The session timeout of the members of a group of the new protocol, where the broker says it.
    pub session_timeout: Option<SignedDuration>,
    /// What the broker allows the operator, as far as it reports that.
    pub access: Access,
    /// Everything that the group has committed; a partition that is not here has no commit.
    pub committed: PerPartition<Option<Committed>>,
    /// Everything that each other group whose commits are wanted has committed.
    pub sources: BTreeMap<String, Result<PerPartition<Option<Committed>>, KafkaError>>,
    /// The reset to undo, if any.
    pub undone: Option<Seen<Undone>>,
    /// Each topic of the request with its partitions, or why they are not known.
    pub topics: BTreeMap<String, Result<Vec<i32>, KafkaError>>,
    /// The bounds, read before the times were looked up, so that no record can fall between the
    /// two.
    pub bounds: PerPartition<Bounds>,
    /// Where the first transaction that is still open begins, for the partitions whose goal is the
    /// latest committed record.
    pub stable_ends: PerPartition<i64>,
    /// The answers by time, for the partitions whose goal is a time.
    pub times: PerPartition<Option<TimestampMatch>>,
    /// What was read for the forecast.
    pub forecast: ForecastSeen,
}

/// A reset to undo.
#[derive(Clone, Debug, PartialEq)]
pub struct Undone {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// The id of its cluster, where it has recorded one.
    pub cluster_id: Option<String>,
    /// Whether it named one of the brokers that this reset names. The brokers of a binding are not
    /// recorded.
    pub same_brokers: bool,
    /// The partitions that it has recorded.
    pub partitions: Vec<PartitionStatus>,
}

/// The answers that a commit is decided on, read in this order: the group last.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitSeen {
    /// The bounds as they are now.
    pub bounds: PerPartition<Bounds>,
    /// Where the first transaction that is still open begins now, for the partitions whose goal is
    /// the latest committed record.
    pub stable_ends: PerPartition<i64>,
    /// The committed offsets as they are now.
    pub committed: PerPartition<Option<Committed>>,
    /// The id of each topic that has one in the plan, as far as the brokers report it now: read
    /// after the bounds and the offsets, which may be those of a later topic of the same name.
    pub topic_ids: BTreeMap<String, String>,
    /// The group.
    pub group: Group,
}
