//! What a pass has seen. Unknown is never empty, stopped or absent.

use std::collections::BTreeMap;

use super::world::{Bounds, Committed, Group, KafkaError, PerPartition, TimestampMatch, Workload};

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<T> {
    /// Looking failed; the text says how.
    Unknown(String),
    /// It is not there, says somebody who must know.
    Missing,
    /// It is there.
    Known(T),
}

/// Another `OffsetReset` that must go first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// Its namespace and name.
    pub name: String,
    /// What both want: the group or a workload, in words.
    pub shared: String,
}

/// What one pass has seen; only what its phase needs is looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The object is being deleted.
    pub deleting: bool,
    /// Our finalizer is on the object.
    pub finalizer: bool,
    /// The object's generation.
    pub generation: Option<i64>,
    /// Who goes first. Looked at in Pending only.
    pub blocker: Option<Blocker>,
    /// The targets, in the order of the spec.
    pub targets: Vec<Seen<Workload>>,
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
    ForPlan(PlanSeen),
    /// The group alone.
    Group(Group),
    /// Seen for a commit.
    ForCommit(CommitSeen),
}

/// What a plan is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanSeen {
    /// The group.
    pub group: Group,
    /// Whether the group has committed anything at all.
    pub has_commits: bool,
    /// Each topic of the request with its partitions, or why they are not known.
    pub topics: BTreeMap<String, Result<Vec<i32>, KafkaError>>,
    /// The bounds, read before the times were looked up, so that no record can fall between the two.
    pub bounds: PerPartition<Bounds>,
    /// The answers by time, for the partitions whose goal is a time.
    pub times: PerPartition<Option<TimestampMatch>>,
    /// What the group has committed.
    pub committed: PerPartition<Option<Committed>>,
}

/// What a commit is decided on, read in this order: the group last.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitSeen {
    /// The bounds as they are now.
    pub bounds: PerPartition<Bounds>,
    /// What stands committed now.
    pub committed: PerPartition<Option<Committed>>,
    /// The group.
    pub group: Group,
}
