//! A receipt that was read: what an earlier run of the same name and spec left.

use jiff::Timestamp;

use crate::api::{GroupStatus, PartitionStatus, Phase};

/// A receipt that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// The UID of the run that wrote it last.
    pub uid: String,
    /// How far that run had come.
    pub state: RunState,
}

/// How far a run had come.
#[derive(Clone, Debug, PartialEq)]
pub enum RunState {
    /// It had begun to commit, and has not said how it ended.
    Committing {
        /// When its plan became final.
        final_plan_time: Timestamp,
        /// The final plan.
        partitions: Vec<PartitionStatus>,
        /// The group, with its members before the stop.
        group: Option<GroupStatus>,
    },
    /// It has ended.
    Over {
        /// As what.
        phase: Phase,
        /// When.
        at: Timestamp,
        /// In words.
        message: String,
    },
}
