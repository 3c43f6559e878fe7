//! The receipt of an earlier run of the same name and spec.

use jiff::Timestamp;

use crate::api::{GroupStatus, PartitionStatus, Phase};

/// A receipt that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// The UID of the run that wrote it last.
    pub uid: String,
    /// How far that run came.
    pub state: RunState,
}

/// How far a run came.
#[derive(Clone, Debug, PartialEq)]
pub enum RunState {
    /// It began to commit, and its outcome is not recorded.
    Committing {
        /// When its plan became final.
        final_plan_time: Timestamp,
        /// The final plan.
        partitions: Vec<PartitionStatus>,
        /// The group, with its members before the stop.
        group: Option<GroupStatus>,
    },
    /// It is over.
    Over {
        /// Its terminal phase.
        phase: Phase,
        /// When it ended.
        at: Timestamp,
        /// The message of its outcome.
        message: String,
    },
}
