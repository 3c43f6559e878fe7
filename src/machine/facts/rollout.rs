//! Which revisions of a workload its pods have, as far as the workload's status tells.

use jiff::SignedDuration;

/// The state of a workload's rollout. Readiness does not count: consumers of one revision that all crash are one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Rollout {
    /// All pods have the revision that the workload creates pods of after a stop, or there are no pods.
    #[default]
    Complete,
    /// The workload's controller has not observed its newest spec yet, so the status tells nothing
    /// about it.
    Unobserved,
    /// Pods of another revision run or are wanted, and the workload's controller is replacing pods.
    Progressing {
        /// The revisions in words, such as "1 of 4 pods has its newest revision".
        pods: String,
        /// How long the workload itself gives its rollout to make progress; `None` when it sets no limit.
        deadline: Option<SignedDuration>,
    },
    /// Pods of another revision run or are wanted, and the workload's controller does not replace them.
    Blocked {
        /// The revisions in words, such as "1 of 4 pods has its newest revision".
        pods: String,
        /// Why, and what to do about it.
        why: Blocked,
    },
    /// The status does not tell the revisions of pods apart.
    Unknown,
}

/// Why a rollout does not continue by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The predicate of a sentence about the workload, such as "is paused in the middle of the rollout".
    pub cause: String,
    /// What to do, in the imperative.
    pub advice: String,
}
