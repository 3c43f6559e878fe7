//! The conditions that keep consumers and offsets safe, each with a name, so that the model can
//! show that it notices the loss of any one of them (see `tests/model`).
//!
//! In the operator, a guard is the condition that it is given and nothing else. In the machine's
//! own tests one guard at a time can be taken away: it then allows everything.

/// A condition without which the machine must not go on; each name says what must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guard {
    /// The targets are at zero before the group is looked at and before offsets are committed.
    AtZero,
    /// Every container of theirs has terminated before the group is looked at and before offsets
    /// are committed.
    ContainersTerminated,
    /// The broker reports the group as empty before offsets are committed.
    GroupEmpty,
    /// The finalizer is on the object before a target is stopped.
    FinalizerFirst,
    /// Before a workload is stopped, our claim is in its Lease, with the replica count that it is
    /// held from.
    ClaimedFirst,
    /// The count to restore is not taken from a workload that was seen at zero before.
    NotSeenAtZero,
    /// The count to restore is not taken from a workload that was scaled up while it was held.
    NotHeldAgain,
    /// The workload to stop is the one that was planned for.
    SameWorkloadToStop,
    /// The workload to restore is the one that was stopped.
    SameWorkload,
    /// Only a workload that is still at zero is restored: another count was set by another
    /// controller or a user.
    StillAtZero,
    /// No other reset needs the workload at zero.
    NeededByNoOther,
    /// The reset of a claim in a Lease is over or gone.
    ClaimOrphaned,
    /// The replicas are restored before a run is over.
    RestoredFirst,
    /// A run that is over does nothing more.
    NotOver,
    /// The hold's deadline has not passed.
    HoldNotOver,
    /// No other reset goes first.
    FirstInQueue,
    /// No other reset works on the same group of the same cluster.
    GroupNotShared,
    /// The plan was made final, and recorded, before the first commit.
    PlanFinal,
    /// A final target offset still lies within the log.
    WithinTheLog,
    /// The planned offset was read back, with the marker of this run, before success is reported.
    ReadBack,
    /// No run of the same name and spec has left a receipt.
    NoReceipt,
    /// Pods of one revision only run or are wanted before a target is stopped: only the newest
    /// revision would be restored.
    OneRevision,
    /// Only pods that the target controls are waited for.
    OwnPods,
    /// Where members run in pods of the targets, no member runs elsewhere before a target is
    /// stopped; where none does, not all of them run in pods of other workloads.
    NoMembersElsewhere,
    /// The group has members while pods of the targets are ready, before a target is stopped.
    HasMembers,
    /// A count that an admission policy stored in place of our zero was set by no other client.
    SetByOthers,
    /// Nothing was or may have been committed: only then does a run leave no receipt.
    NothingCommitted,
    /// The broker itself refused a commit, before that commit counts as not carried out.
    RefusedForSure,
    /// Before a canary is started, the workload's Lease has its replica count.
    CanaryRecorded,
    /// The count at which a workload is left as set by others is not that of a canary.
    NoCanaryCount,
    /// The count to restore is not taken from a workload that runs a canary.
    NotFromCanary,
    /// The canary has consumed past the targets before it passes.
    CanaryConsumed,
    /// No container of the canary was started again before it passes.
    CanarySteady,
    /// The canary goes on for some seconds after it was seen to have consumed, and is in the group, before it passes.
    CanaryGoesOn,
    /// An interrupted run is not resumed once a canary has consumed.
    NoCanarySince,
}

#[cfg(test)]
impl Guard {
    /// All of them.
    pub const ALL: [Self; 35] = [
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
        Self::ClaimOrphaned,
        Self::RestoredFirst,
        Self::NotOver,
        Self::HoldNotOver,
        Self::FirstInQueue,
        Self::GroupNotShared,
        Self::PlanFinal,
        Self::WithinTheLog,
        Self::ReadBack,
        Self::NoReceipt,
        Self::OneRevision,
        Self::OwnPods,
        Self::NoMembersElsewhere,
        Self::HasMembers,
        Self::SetByOthers,
        Self::NothingCommitted,
        Self::RefusedForSure,
        Self::CanaryRecorded,
        Self::NoCanaryCount,
        Self::NotFromCanary,
        Self::CanaryConsumed,
        Self::CanarySteady,
        Self::CanaryGoesOn,
        Self::NoCanarySince,
    ];
}

impl Guard {
    /// Whether the machine may go on: the guard's condition holds.
    #[must_use]
    pub fn allows(self, holds: bool) -> bool {
        holds || self.is_away()
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "a guard can be taken away in tests only")]
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

/// Whether no guard is taken away in this thread.
#[cfg(test)]
pub fn all_stand() -> bool {
    AWAY.with(|away| away.get().is_none())
}

/// Does something without a guard, in this thread.
#[cfg(test)]
pub fn without<T>(guard: Option<Guard>, act: impl FnOnce() -> T) -> T {
    let before = AWAY.with(|away| away.replace(guard));
    let done = act();
    AWAY.with(|away| away.set(before));
    done
}
