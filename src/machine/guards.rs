//! The conditions that keep consumers and offsets safe, each by its name, so that the model of this machine can show that it would
//! notice the loss of any of them (see `tests/model`).
//!
//! In the operator, a guard is the condition that it is given and nothing else. In the machine's own tests one guard at a time can be taken
//! away: it then lets everything pass.

/// A condition without which the machine must not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guard {
    /// The targets are at zero before the group is looked at and before offsets are committed.
    AtZero,
    /// And every container of theirs has ended before the group is looked at and before offsets are committed.
    ContainersTerminated,
    /// The broker calls the group free before offsets are committed.
    GroupEmpty,
    /// The finalizer is on before anything is stopped.
    FinalizerFirst,
    /// Our claim stands in the Lease, which says from how many replicas the workload is held, before it is stopped.
    ClaimedFirst,
    /// The count that comes back is not taken from a workload that was seen at zero already.
    NotSeenAtZero,
    /// Nor from one that somebody has scaled up while it was held.
    NotHeldAgain,
    /// What is stopped is the workload that was planned for.
    SameWorkloadToStop,
    /// What comes back is the workload that was stopped.
    SameWorkload,
    /// Only a workload that is still at zero gets its replicas back: another count is somebody else's.
    StillAtZero,
    /// No other reset needs the workload at zero.
    NeededByNoOther,
    /// A claim in a Lease belongs to nobody any more.
    ClaimOfNobody,
    /// The replicas are back before a run is over.
    RestoredFirst,
    /// A run that is over does nothing more.
    NotOver,
    /// The consumers have not been held for as long as they may be.
    HoldNotOver,
    /// Nobody goes first.
    NobodyFirst,
    /// Nobody else works on the same group of the same cluster.
    GroupOfNoOther,
    /// The plan was made final, and recorded, before the first commit.
    PlanFinal,
    /// A final target still lies within the log.
    WithinTheLog,
    /// What was planned stands there, with the marker of this run, before success is said.
    ReadBack,
    /// No run of the same name and spec has left a receipt.
    NoReceipt,
    /// A run leaves no receipt only when nothing was or may have been committed.
    NothingCommitted,
    /// A commit was refused by somebody who must know, before it counts as one that was not carried out.
    RefusedForSure,
}

#[cfg(test)]
impl Guard {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::AtZero,
        Self::ContainersTerminated,
        Self::GroupEmpty,
        Self::FinalizerFirst,
        Self::ClaimedFirst,
        Self::NotSeenAtZero,
        Self::NotHeldAgain,
        Self::SameWorkloadToStop,
        Self::SameWorkload,
        Self::StillAtZero,
        Self::NeededByNoOther,
        Self::ClaimOfNobody,
        Self::RestoredFirst,
        Self::NotOver,
        Self::HoldNotOver,
        Self::NobodyFirst,
        Self::GroupOfNoOther,
        Self::PlanFinal,
        Self::WithinTheLog,
        Self::ReadBack,
        Self::NoReceipt,
        Self::NothingCommitted,
        Self::RefusedForSure,
    ];
}

impl Guard {
    /// Whether what it asks for is so.
    #[must_use]
    pub fn holds(self, is_so: bool) -> bool {
        is_so || self.is_away()
    }

    /// Whether it stops the machine: it does where this is so.
    #[must_use]
    pub fn stops(self, is_so: bool) -> bool {
        is_so && !self.is_away()
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "only in tests can one be taken away")]
    const fn is_away(self) -> bool {
        false
    }

    #[cfg(test)]
    fn is_away(self) -> bool {
        AWAY.with(|away| away.get() == Some(self))
    }
}

#[cfg(test)]
thread_local! {
    static AWAY: std::cell::Cell<Option<Guard>> = const { std::cell::Cell::new(None) };
}

/// Does something without a guard, in this thread.
#[cfg(test)]
pub fn without<T>(guard: Option<Guard>, act: impl FnOnce() -> T) -> T {
    let before = AWAY.with(|away| away.replace(guard));
    let done = act();
    AWAY.with(|away| away.set(before));
    done
}
