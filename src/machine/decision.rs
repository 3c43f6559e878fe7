//! What follows from a pass, and how it ended.

use jiff::SignedDuration;

use super::facts::{GroupMember, Hold, KafkaError, PerPartition, TopicPartition};
use crate::api::{ActionKind, OffsetResetStatus, Reason};

/// What follows from a pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The status to write, before the effect.
    pub status: OffsetResetStatus,
    /// The one thing to do.
    pub effect: Option<Effect>,
    /// When to look again, if nothing changes before.
    pub requeue: Option<SignedDuration>,
    /// What to tell people, as Events.
    pub notes: Vec<Note>,
}

/// One thing to do. Every effect is idempotent.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Put our finalizer on the object: from here on it cannot go before the replicas are back.
    AddFinalizer,
    /// Take our finalizer off.
    RemoveFinalizer,
    /// Set the replicas of a target, if it is still as it was seen.
    Scale {
        /// Which one, by its place in the status.
        target: usize,
        /// The version that was seen.
        resource_version: String,
        /// The replicas it is to have.
        replicas: i32,
        /// Stop or restore.
        kind: ActionKind,
    },
    /// Write into a target's Lease who holds it: made when it has no version yet.
    Claim {
        /// Which one, by its place in the status.
        target: usize,
        /// What is to stand there, over the version that was read.
        hold: Hold,
    },
    /// Take our claim out of a target's Lease, and delete it when no other is left.
    Release {
        /// Which one, by its place in the status.
        target: usize,
        /// What is to stand there, over the version that was read.
        hold: Hold,
    },
    /// Pause what scales a target, if it is still as it was seen.
    Pause {
        /// Which one, by its place in the status.
        target: usize,
        /// The version that was seen.
        resource_version: String,
    },
    /// Take our pause off what scales a target, if it is still as it was seen.
    Resume {
        /// Which one, by its place in the status.
        target: usize,
        /// The version that was seen.
        resource_version: String,
    },
    /// Take these members out of the group: no container of theirs runs any more.
    RemoveMembers(Vec<GroupMember>),
    /// Commit these offsets, each with the marker.
    Commit(Vec<(TopicPartition, i64)>),
    /// Say in the receipt how the run has ended, or delete it.
    SettleReceipt {
        /// Something was or may have been committed.
        keep: bool,
    },
}

/// How an effect ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It was accepted.
    Done,
    /// It was accepted, and the API server has stored another replica count than was asked for.
    Overridden(i32),
    /// The object had changed, or is gone: nothing was done, look again.
    Stale,
    /// It was refused, and would be again.
    Refused(String),
    /// A commit was answered, partition by partition.
    Committed(PerPartition<()>),
    /// A commit ended without an answer: nobody knows yet whether anything was committed.
    CommitFailed(KafkaError),
}

/// Something to tell people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Something went wrong.
    pub warning: bool,
    /// Why.
    pub reason: Reason,
    /// In words.
    pub message: String,
    /// Tell it on this target as well, by its place in the status.
    pub target: Option<usize>,
}
