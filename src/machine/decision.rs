//! What a step of a pass decides, and the answer to its effect.

use jiff::SignedDuration;

use super::facts::{Committed, GroupMember, Hold, KafkaError, PerPartition, TopicPartition};
use crate::api::{ActionKind, OffsetResetStatus, Phase, Reason};

/// What a step of a pass decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The status to write, before the effect.
    pub status: OffsetResetStatus,
    /// The one thing to do, if any.
    pub effect: Option<Effect>,
    /// When to look again, if nothing changes before.
    pub requeue: Option<SignedDuration>,
    /// The Events to publish.
    pub notes: Vec<Note>,
}

impl Decision {
    /// Whether the same pass goes on with another step at once, for a status that was in phase `before`.
    ///
    /// Not from or into Pending: other resets rely on the record of that phase, and the reset waits for its turn. Not into a
    /// phase that holds consumers either, because passes in such a phase have a rank of their own.
    #[must_use]
    pub fn goes_on(&self, before: Option<Phase>) -> bool {
        let waits_for_its_turn = |phase: Option<Phase>| matches!(phase, None | Some(Phase::Pending | Phase::Unknown));
        let holds = |phase: Option<Phase>| phase.is_some_and(Phase::may_hold);
        let after = self.status.phase;
        self.effect.is_none()
            && self.requeue == Some(SignedDuration::ZERO)
            && !waits_for_its_turn(before)
            && !waits_for_its_turn(after)
            && (holds(before) || !holds(after))
    }

    /// Whether the effect needs no record of its own: it writes into a Lease or into the receipt, and nothing else than the last
    /// action has changed since the status was `written`. Such a write is bound to the version of the Lease or the receipt, and to do
    /// it again after a crash changes nothing. A claim that is in the Lease and not in the status counts.
    #[must_use]
    pub fn needs_no_record(&self, written: &OffsetResetStatus) -> bool {
        let is_record = matches!(self.effect, Some(Effect::Claim { .. } | Effect::Release { .. } | Effect::SettleReceipt { .. }));
        is_record && self.status == OffsetResetStatus { last_action: self.status.last_action.clone(), ..written.clone() }
    }

    /// As [`Decision::goes_on`], with a status that may be written later: to lose it is the same as a crash before the
    /// decision, or right after the effect that it follows. The end of a run is always written.
    #[must_use]
    pub fn goes_on_unwritten(&self, before: Option<Phase>) -> bool {
        self.goes_on(before) && !self.status.phase.is_some_and(Phase::is_terminal)
    }
}

/// One thing to do. Every effect is idempotent.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Put our finalizer on the object: from here on it cannot go away before the replicas are
    /// restored.
    AddFinalizer,
    /// Remove our finalizer.
    RemoveFinalizer,
    /// Delete the object, if it is still as it was seen: its time to live is over.
    Delete,
    /// Set the replicas of a target, if it is still as it was seen.
    Scale {
        /// The index of the target in the status.
        target: usize,
        /// The resource version that was seen.
        resource_version: String,
        /// The replica count to set.
        replicas: i32,
        /// The state to set where a connector is not stopped.
        state: Option<String>,
        /// Whether this stops or restores the target.
        kind: ActionKind,
    },
    /// Write our claim into a target's Lease, which is created when it has no version yet.
    Claim {
        /// The index of the target in the status.
        target: usize,
        /// The content to write, over the version that was read.
        hold: Hold,
    },
    /// Remove our claim from a target's Lease, and delete the Lease when no other claim remains.
    Release {
        /// The index of the target in the status.
        target: usize,
        /// The content to write, over the version that was read.
        hold: Hold,
    },
    /// Pause the ScaledObject of a target, if it is still as it was seen.
    Pause {
        /// The index of the target in the status.
        target: usize,
        /// The resource version that was seen.
        resource_version: String,
    },
    /// Remove our pause from the ScaledObject of a target, if it is still as it was seen.
    Resume {
        /// The index of the target in the status.
        target: usize,
        /// The resource version that was seen.
        resource_version: String,
    },
    /// Remove these members from the group: their containers have terminated.
    RemoveMembers(Vec<GroupMember>),
    /// Commit these offsets, each with its metadata: usually the marker of this run.
    Commit(Vec<(TopicPartition, Committed)>),
    /// Remove the committed offsets of these partitions. All rules for a commit apply.
    RemoveOffsets(Vec<TopicPartition>),
    /// Write the outcome into the receipt, or delete the receipt.
    SettleReceipt {
        /// Whether the receipt is kept: something was or may have been committed.
        keep: bool,
    },
}

impl Effect {
    /// Whether a broker carries it out, and not the API server.
    #[must_use]
    pub fn is_on_kafka(&self) -> bool {
        matches!(self, Self::Commit(_) | Self::RemoveOffsets(_) | Self::RemoveMembers(_))
    }

    /// Whether it changes the object itself, over the version of it that was read: then it fails when that is outdated.
    #[must_use]
    pub fn is_on_the_object(&self) -> bool {
        matches!(self, Self::AddFinalizer | Self::RemoveFinalizer | Self::Delete)
    }
}

/// The answer to an effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It was done.
    Done,
    /// It was done, and the API server stored this replica count instead of the requested one.
    Overridden(i32),
    /// The object has changed or is gone: nothing was done, and the next pass looks again.
    Stale,
    /// It was refused and would be refused again; the text says why.
    Refused(String),
    /// The API server does not let the operator do it, or not yet; the text says why.
    NotAllowed(String),
    /// A commit or a removal of offsets was answered, for each partition.
    Committed(PerPartition<()>),
    /// A commit or a removal failed as a whole: unless the broker refused it, something may have been committed.
    CommitFailed(KafkaError),
}

/// An Event to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether it is a Warning.
    pub warning: bool,
    /// The reason of the Event.
    pub reason: Reason,
    /// What happened, what it means and what to do.
    pub message: String,
    /// The index in the status of the target that gets the Event as well.
    pub target: Option<usize>,
}
