//! The install itself: whether it is in use, and whether it is being removed.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::kubernetes::{IN_USE_POLICY, InUse, Policies};

/// What is known of the install.
pub struct Install {
    /// The record that it is in use; none for an operator that is not installed, and runs without leader election.
    pub in_use: Option<InUse>,
    /// Reads the policy that keeps it from being deleted; none for an operator for some namespaces only.
    pub policies: Option<Policies>,
    /// Whether the policy was seen.
    protected: AtomicBool,
    /// Whether the policy is gone.
    unprotected: AtomicBool,
    /// Whether this process terminates because the Deployment goes.
    terminates: AtomicBool,
}

impl Install {
    /// With nothing known yet.
    #[must_use]
    pub fn new(in_use: Option<InUse>, policies: Option<Policies>) -> Self {
        let [protected, unprotected, terminates] = [false; 3].map(AtomicBool::new);
        Self { in_use, policies, protected, unprotected, terminates }
    }

    /// Whether the operator is being removed: nothing more is stopped, and what is held is restored.
    pub fn is_being_removed(&self) -> bool {
        self.unprotected.load(Ordering::Acquire) || self.terminates.load(Ordering::Acquire)
    }

    /// This process terminates, and no other one follows.
    pub fn terminate_for_good(&self) {
        Self::notice(&self.terminates, "its Deployment was deleted or scaled to zero");
    }

    fn notice(sign: &AtomicBool, why: &str) {
        if !sign.swap(true, Ordering::AcqRel) {
            tracing::warn!(why, "the operator is being uninstalled: restoring the consumers that are held at zero");
        }
    }

    /// The policy goes with the rest of the install, and is what an administrator deletes to remove it at once. Where it was
    /// never seen, its absence says nothing.
    pub(super) async fn look_at_policy(&self) {
        let Some(policies) = &self.policies else { return };
        match policies.is_bound(IN_USE_POLICY).await {
            Some(true) => {
                self.protected.store(true, Ordering::Release);
                if self.unprotected.swap(false, Ordering::AcqRel) {
                    tracing::info!("the operator is installed again");
                }
            }
            Some(false) if self.protected.load(Ordering::Acquire) => {
                Self::notice(&self.unprotected, &format!("its admission policy {IN_USE_POLICY} was deleted"));
            }
            Some(false) | None => {}
        }
    }
}
