//! The next action on a hold. A claim is orphaned when its reset is gone (its finalizer was removed by hand) or finished;
//! [`decide_hold`] decides what follows.

use crate::machine::{
    facts::{Claim, Hold, PeerReset, Seen, Workload},
    guards::Guard,
};
use jiff::Timestamp;

impl Hold {
    /// Whether the resets of all claims are over or gone: none needs the workload at zero.
    pub(in crate::machine) fn is_over(&self, resets: &[PeerReset], now: Timestamp) -> bool {
        !self.claims.iter().any(|claim| is_alive(claim, self, resets, now))
    }

    /// Whether the workload was restored already, by the status of each claim's reset: then the Lease
    /// stayed only because it could not be written, or because the ScaledObject could not be resumed,
    /// and a zero was set by the workload's owner.
    pub(in crate::machine) fn was_restored(&self, resets: &[PeerReset]) -> bool {
        let said = |claim: &Claim| {
            let reset = resets.iter().find(|reset| reset.uid == claim.uid);
            reset.is_some_and(|reset| reset.targets.iter().any(|target| target.uid == self.uid && target.restored.is_some()))
        };
        self.claims.iter().all(said)
    }
}

/// The next action on a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldAction {
    /// Every claim is in use. Decide again at the end of the hold, or on the next event before.
    Keep,
    /// Some claims are orphaned: keep these only.
    Keeping(Vec<Claim>),
    /// Every claim is orphaned: restore the workload, if it is still at the version that was seen.
    Restore {
        /// The version of the workload that was seen.
        resource_version: String,
    },
    /// The workload is not held: delete the Lease, and publish this message on the workload, if there is one.
    Forget(Option<String>),
    /// The workload could not be read, for this reason: try again later.
    Unseen(String),
}

/// Decides on a hold from the workload and all resets of the namespace, read live. Resets that cannot be decoded are not among
/// them: they never run, so they must not keep consumers at zero.
#[must_use]
pub fn decide_hold(hold: &Hold, workload: &Seen<Workload>, resets: &[PeerReset], now: Timestamp) -> HoldAction {
    let is_alive = |claim: &&Claim| !Guard::ClaimOrphaned.allows(!is_alive(claim, hold, resets, now));
    let alive: Vec<Claim> = hold.claims.iter().filter(is_alive).cloned().collect();
    if !alive.is_empty() {
        return if alive.len() == hold.claims.len() { HoldAction::Keep } else { HoldAction::Keeping(alive) };
    }
    match workload {
        Seen::Unknown(why) => HoldAction::Unseen(why.clone()),
        Seen::Missing => HoldAction::Forget(None),
        Seen::Known(found) if found.uid != hold.uid => HoldAction::Forget(None),
        Seen::Known(_) if hold.was_restored(resets) => HoldAction::Forget(None),
        Seen::Known(found) if (found.replicas, &found.state) == (hold.replicas, &hold.state) => HoldAction::Forget(None),
        Seen::Known(found)
            if hold.replicas > 0
                && (found.replicas == 0 || !Guard::NoCanaryCount.allows(Some(found.replicas) != hold.canary)) =>
        {
            HoldAction::Restore { resource_version: found.resource_version.clone() }
        }
        Seen::Known(found) => HoldAction::Forget(Some(format!(
            "was left at {}, which another controller or a user had set; before the stop it had {}",
            found.size(),
            hold.size()
        ))),
    }
}

/// Whether a claim is in use: by a reset that holds, or by one that is about to resume what it (or
/// a reset of its name, deleted and created again with the same spec) had begun. The latter only
/// until the hold may last at most, because it may wait for others.
fn is_alive(claim: &Claim, hold: &Hold, resets: &[PeerReset], now: Timestamp) -> bool {
    resets.iter().any(|reset| {
        let itself = reset.uid == claim.uid;
        let heir = reset.name == claim.name && reset.key == claim.key && !reset.deleting && !reset.suspended;
        (itself && reset.is_holding()) || ((itself || heir) && reset.may_still_hold() && now < hold.until)
    })
}
