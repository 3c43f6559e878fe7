//! What becomes of a hold. A claim whose reset is gone (its finalizer was taken off by hand) or over belongs to nobody: [`care_for`] says
//! what follows.

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

/// What becomes of a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Care {
    /// Somebody needs it; looked at again when the time of the hold is over, if nothing happens before.
    Keep,
    /// Some claims belong to nobody any more: these stay.
    Keeping(Vec<Claim>),
    /// Nobody needs it: the workload gets its replicas back, if it is still as it was seen.
    Restore {
        /// The version of the workload that was seen.
        resource_version: String,
    },
    /// Nothing is held: the report goes. In words, what is to be said about the workload, when something is.
    Forget(Option<String>),
    /// It cannot be seen; looked at again.
    Unseen(String),
}

/// What becomes of a hold, from the workload and from all resets of the namespace as they are now. An object that cannot be decoded is
/// not among them: nobody carries it out, so it must not keep consumers at zero.
#[must_use]
pub fn care_for(hold: &Hold, workload: &Seen<Workload>, resets: &[PeerReset], now: Timestamp) -> Care {
    let is_alive = |claim: &&Claim| !Guard::ClaimOrphaned.allows(!is_alive(claim, hold, resets, now));
    let alive: Vec<Claim> = hold.claims.iter().filter(is_alive).cloned().collect();
    if !alive.is_empty() {
        return if alive.len() == hold.claims.len() { Care::Keep } else { Care::Keeping(alive) };
    }
    match workload {
        Seen::Unknown(why) => Care::Unseen(why.clone()),
        Seen::Missing => Care::Forget(None),
        Seen::Known(found) if found.uid != hold.uid => Care::Forget(None),
        Seen::Known(_) if hold.was_restored(resets) => Care::Forget(None),
        Seen::Known(found) if found.replicas == 0 && hold.replicas > 0 => {
            Care::Restore { resource_version: found.resource_version.clone() }
        }
        Seen::Known(found) if found.replicas == hold.replicas => Care::Forget(None),
        Seen::Known(found) => Care::Forget(Some(format!(
            "was left at {} replicas, which somebody else had set meanwhile; before it was stopped it had {}",
            found.replicas, hold.replicas
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
