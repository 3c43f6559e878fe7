//! The next action on a hold. A claim is orphaned when its reset is gone (its finalizer was removed by hand) or finished;
//! [`decide_hold`] decides what follows.

use crate::machine::{
    facts::{Claim, Hold, PeerReset, Seen, Workload},
    guards::Guard,
};
use jiff::Timestamp;

impl Hold {
    /// Nobody needs the workload at zero any more: each claim's reset is over, or is gone.
    pub(in crate::machine) fn is_over(&self, resets: &[PeerReset], now: Timestamp) -> bool {
        !self.claims.iter().any(|claim| is_alive(claim, self, resets, now))
    }

    /// The workload had its replicas back already: each claim's reset says so, and only the record has stayed, because it could not be
    /// written, or because what scales the workload could not be let go. Zero is its owner's then.
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
    let is_alive = |claim: &&Claim| Guard::ClaimOfNobody.stops(is_alive(claim, hold, resets, now));
    let alive: Vec<Claim> = hold.claims.iter().filter(is_alive).cloned().collect();
    if !alive.is_empty() {
        return if alive.len() == hold.claims.len() { HoldAction::Keep } else { HoldAction::Keeping(alive) };
    }
    match workload {
        Seen::Unknown(why) => HoldAction::Unseen(why.clone()),
        Seen::Missing => HoldAction::Forget(None),
        Seen::Known(found) if found.uid != hold.uid => HoldAction::Forget(None),
        Seen::Known(_) if hold.was_restored(resets) => HoldAction::Forget(None),
        Seen::Known(found) if found.replicas == 0 && hold.replicas > 0 => {
            HoldAction::Restore { resource_version: found.resource_version.clone() }
        }
        Seen::Known(found) if found.replicas == hold.replicas => HoldAction::Forget(None),
        Seen::Known(found) => HoldAction::Forget(Some(format!(
            "was left at {} replicas, which somebody else had set meanwhile; before it was stopped it had {}",
            found.replicas, hold.replicas
        ))),
    }
}

/// Whether a claim is somebody's: of a reset that holds, or that is about to take up what it (or one of its name, deleted and created
/// again with the same spec) had begun. The latter only for as long as the hold may last: it may wait for others.
fn is_alive(claim: &Claim, hold: &Hold, resets: &[PeerReset], now: Timestamp) -> bool {
    resets.iter().any(|reset| {
        let itself = reset.uid == claim.uid;
        let heir = reset.name == claim.name && reset.key == claim.key && !reset.deleting && !reset.suspended;
        (itself && reset.is_holding()) || ((itself || heir) && reset.may_still_hold() && now < hold.until)
    })
}
