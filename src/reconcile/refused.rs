//! Orphaned holds whose workloads the API server refuses to restore. No OffsetReset has a status for them, so the metrics ask here.

use std::{collections::HashSet, sync::Arc};

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use parking_lot::Mutex;

/// The UIDs of their Leases. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct RefusedOrphans(Arc<Mutex<HashSet<String>>>);

impl RefusedOrphans {
    /// Records whether the last attempt to restore the workload of a Lease was refused.
    pub(super) fn set(&self, lease: &Lease, refused: bool) {
        let Some(uid) = lease.uid() else { return };
        if refused {
            self.0.lock().insert(uid);
        } else {
            self.0.lock().remove(&uid);
        }
    }

    /// Whether the last attempt to restore the workload of a Lease was refused.
    #[must_use]
    pub fn contains(&self, lease: &Lease) -> bool {
        lease.metadata.uid.as_ref().is_some_and(|uid| self.0.lock().contains(uid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_of_the_same_name_is_another_hold() {
        let lease = |uid: &str| -> Lease {
            serde_json::from_value(serde_json::json!({"metadata": {"name": "hold", "uid": uid}})).unwrap()
        };
        let refused = RefusedOrphans::default();
        let shared = refused.clone();
        refused.set(&lease("1"), true);
        assert!(shared.contains(&lease("1")) && !shared.contains(&lease("2")));
        refused.set(&lease("2"), false);
        assert!(shared.contains(&lease("1")));
        refused.set(&lease("1"), false);
        assert!(!shared.contains(&lease("1")));
    }
}
