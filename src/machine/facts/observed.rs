//! What a pass has seen. Unknown is never empty, stopped or absent.

use std::collections::BTreeMap;

use super::{
    hold::Hold,
    kafka::{Access, Bounds, Committed, Group, KafkaError, PerPartition, TimestampMatch},
    peer::{Blocker, PeerReset},
    receipt::Receipt,
    scaled_object::ScaledObjectSeen,
    seen::Seen,
    workload::{Unscalable, Workload},
};
use crate::api::PartitionStatus;

/// What one pass has seen; only what its phase needs is looked at.
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
    /// Who goes first. Looked at in Pending only.
    pub blocker: Option<Blocker>,
    /// All resets that this operator looks after, as ones that want groups and workloads. Looked at in Planning, Stopping and Restoring.
    pub others: Vec<PeerReset>,
    /// Why the report of the plan is not there, when it is needed and is not.
    pub report_lost: Option<String>,
    /// The receipt of an earlier run of the same name and spec. Looked at in Pending only.
    pub receipt: Option<Seen<Receipt>>,
    /// The targets, in the order of the spec.
    pub targets: Vec<Seen<Workload>>,
    /// Who holds each of the targets at zero, in the same order. Looked at in Planning, Stopping and Restoring.
    pub holds: Vec<Seen<Hold>>,
    /// Which of the targets are of a kind that cannot be scaled, in the same order. Looked at in Planning and Restoring; empty otherwise.
    pub unscalable: Vec<Option<Unscalable>>,
    /// What scales each of the targets, in the same order. Looked at in Planning, and in Stopping and Restoring where there is something.
    pub autoscalers: Vec<ScaledObjectSeen>,
    /// Kafka's side.
    pub kafka: KafkaSeen,
}

/// What was seen of Kafka.
#[derive(Clone, Debug, PartialEq)]
pub enum KafkaSeen {
    /// The phase does not ask.
    NotAsked,
    /// Asking failed as a whole.
    Failed(KafkaError),
    /// Seen for a plan.
    ForPlan(Box<PlanSeen>),
    /// The group alone.
    Group(Group),
    /// Seen for a commit.
    ForCommit(CommitSeen),
}

/// What a plan is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanSeen {
    /// The cluster's own id, where it has one.
    pub cluster_id: Option<String>,
    /// The group.
    pub group: Group,
    /// What the broker allows us, as far as it says.
    pub access: Access,
    /// Everything that the group has committed; a partition that is not here has no commit.
    pub committed: PerPartition<Option<Committed>>,
    /// Everything that each other group whose commits are wanted has committed.
    pub sources: BTreeMap<String, Result<PerPartition<Option<Committed>>, KafkaError>>,
    /// The reset that is to be taken back, when one is.
    pub undone: Option<Seen<Undone>>,
    /// Each topic in question with its partitions, or why they are not known.
    pub topics: BTreeMap<String, Result<Vec<i32>, KafkaError>>,
    /// The bounds, read before the times were looked up, so that no record can fall between the two.
    pub bounds: PerPartition<Bounds>,
    /// Where the first transaction that is still open begins, for the partitions whose goal is the latest committed record.
    pub stable_ends: PerPartition<i64>,
    /// The answers by time, for the partitions whose goal is a time.
    pub times: PerPartition<Option<TimestampMatch>>,
}

/// A reset that is to be taken back.
#[derive(Clone, Debug, PartialEq)]
pub struct Undone {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// The id of its cluster, where it has recorded one.
    pub cluster_id: Option<String>,
    /// Whether it named one of the brokers that this reset names. What a binding names nobody has recorded.
    pub same_brokers: bool,
    /// What it has recorded.
    pub partitions: Vec<PartitionStatus>,
}

/// What a commit is decided on, read in this order: the group last.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitSeen {
    /// The bounds as they are now.
    pub bounds: PerPartition<Bounds>,
    /// Where the first transaction that is still open begins now, for the partitions whose goal is the latest committed record.
    pub stable_ends: PerPartition<i64>,
    /// What stands committed now.
    pub committed: PerPartition<Option<Committed>>,
    /// The group.
    pub group: Group,
}
