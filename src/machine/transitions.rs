//! Which phase may follow which. `Pass::enter` is the only way into a phase; in tests it refuses what is not listed here, and
//! `tests::transitions` shows that each of these happens. The picture in the docs is drawn from this table.

use crate::api::Phase;

/// A change of phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The phase before; `None` for an object that has no status yet.
    pub from: Option<Phase>,
    /// The phase after.
    pub to: Phase,
    /// When it happens.
    pub when: &'static str,
}

const fn transition(from: Phase, to: Phase, when: &'static str) -> Transition {
    Transition { from: Some(from), to, when }
}

/// Every change of phase that this version makes.
pub const TRANSITIONS: [Transition; 31] = [
    Transition { from: None, to: Phase::Pending, when: "the OffsetReset is created" },
    transition(Phase::Pending, Phase::Planning, "its turn has come, and it is not suspended"),
    transition(
        Phase::Pending,
        Phase::Stopping,
        "an earlier run of the same reset was interrupted, and its consumers have been held since",
    ),
    transition(Phase::Pending, Phase::Succeeded, "the same reset has succeeded before: nothing is done again"),
    transition(
        Phase::Pending,
        Phase::Failed,
        "`notAfter` has passed, the same reset has failed before, or the spec is not valid",
    ),
    transition(Phase::Pending, Phase::Cancelled, "the OffsetReset is deleted"),
    transition(Phase::Planning, Phase::Pending, "another reset of the group goes first, or `suspend` is set"),
    transition(Phase::Planning, Phase::Planned, "the plan of a dry run is complete"),
    transition(Phase::Planning, Phase::Stopping, "the plan is complete"),
    transition(Phase::Planning, Phase::Succeeded, "every committed offset is the target already"),
    transition(Phase::Planning, Phase::Failed, "the plan is refused: nothing was stopped"),
    transition(Phase::Planning, Phase::Cancelled, "the OffsetReset is deleted"),
    transition(Phase::Planned, Phase::Pending, "`dryRun` is set to false"),
    transition(Phase::Failed, Phase::Pending, "it was a dry run, and `dryRun` is set to false"),
    transition(Phase::Stopping, Phase::Pending, "another reset has taken its turn before anything was stopped"),
    transition(Phase::Stopping, Phase::Draining, "the last container of the targets has terminated"),
    transition(Phase::Stopping, Phase::Restoring, "the stop fails, takes too long or is cancelled"),
    transition(Phase::Draining, Phase::Stopping, "consumers run again, so they are stopped again"),
    transition(Phase::Draining, Phase::Resetting, "the broker reports the group empty"),
    transition(Phase::Draining, Phase::Restoring, "the group does not become empty in time, or the reset is cancelled"),
    transition(Phase::Resetting, Phase::Stopping, "consumers run again, so they are stopped again"),
    transition(Phase::Resetting, Phase::Draining, "the group has members again"),
    transition(Phase::Resetting, Phase::Restoring, "every offset was read back, or the commit failed or was cancelled"),
    transition(Phase::Resetting, Phase::Canary, "every offset was read back, and `restore.canary` asks for a canary"),
    transition(
        Phase::Canary,
        Phase::Restoring,
        "the canary has passed, has failed with `onFailure: Keep`, or ends without a proof",
    ),
    transition(Phase::Canary, Phase::Stopping, "the canary has failed with `onFailure: Undo`"),
    transition(Phase::Restoring, Phase::Succeeded, "the replicas are restored, and the offsets were reset"),
    transition(Phase::Restoring, Phase::Failed, "the replicas are restored, and the reset had failed"),
    transition(Phase::Restoring, Phase::Cancelled, "the replicas are restored, and the OffsetReset was deleted"),
    transition(
        Phase::Unknown,
        Phase::Failed,
        "another version of the operator left it in a phase that this version does not know, and nothing is held",
    ),
    transition(
        Phase::Unknown,
        Phase::Restoring,
        "another version of the operator left it in a phase that this version does not know",
    ),
];

/// Records a change of phase. It must be listed, unless a guard is taken away.
#[cfg(test)]
pub fn made(from: Option<Phase>, to: Phase) {
    if from == Some(to) || !super::guards::all_stand() {
        return;
    }
    let listed = TRANSITIONS.iter().any(|listed| (listed.from, listed.to) == (from, to));
    assert!(listed, "{from:?} -> {to:?} is not in TRANSITIONS");
    SEEN.with_borrow_mut(|seen| seen.insert((from, to)));
}

#[cfg(not(test))]
pub const fn made(_: Option<Phase>, _: Phase) {}

#[cfg(test)]
thread_local! {
    /// The changes of phase that this thread has made.
    pub static SEEN: std::cell::RefCell<std::collections::HashSet<(Option<Phase>, Phase)>> = std::cell::RefCell::default();
}
