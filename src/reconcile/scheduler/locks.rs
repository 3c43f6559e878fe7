//! Locks between passes: while one pass relies on the recorded state of other resets, no other pass may change it.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::api::Phase;

/// The locks of all passes. They are in this process only: leader election lets one operator work at a time.
#[derive(Default)]
pub struct Locks {
    groups: NamedLocks,
    namespaces: NamedLocks,
}

/// A lock that a pass holds until this is dropped.
pub(in crate::reconcile) struct Lock {
    _guard: OwnedMutexGuard<()>,
    /// The pass releases it once the decision is recorded; otherwise after the effect.
    pub until_recorded: bool,
}

impl Locks {
    /// Waits for the lock that a phase needs, if any.
    ///
    /// - To begin, and to be admitted (when the finalizer is added, before anything is stopped): the lock of the group's name,
    ///   across namespaces, because Kafka groups know no namespaces.
    /// - To stop and to restore: the lock of the namespace, because several resets may share a workload, and the last one
    ///   restores it.
    pub(in crate::reconcile) async fn acquire(
        &self,
        phase: Option<Phase>,
        admitted: bool,
        namespace: &str,
        group: &str,
    ) -> Option<Lock> {
        match phase {
            None | Some(Phase::Pending) => Some(Lock { _guard: self.groups.acquire(group).await, until_recorded: true }),
            Some(Phase::Stopping) if !admitted => Some(Lock { _guard: self.groups.acquire(group).await, until_recorded: false }),
            Some(Phase::Stopping | Phase::Restoring) => Some(self.holds_in(namespace).await),
            Some(
                Phase::Planning
                | Phase::Draining
                | Phase::Resetting
                | Phase::Succeeded
                | Phase::Failed
                | Phase::Cancelled
                | Phase::Planned
                | Phase::Unknown,
            ) => None,
        }
    }

    /// Waits for the lock of a namespace, which every change to the holds there needs.
    pub(in crate::reconcile) async fn holds_in(&self, namespace: &str) -> Lock {
        Lock { _guard: self.namespaces.acquire(namespace).await, until_recorded: false }
    }
}

/// A lock for each name; unused ones are dropped.
#[derive(Default)]
struct NamedLocks(Mutex<HashMap<String, Weak<AsyncMutex<()>>>>);

impl NamedLocks {
    async fn acquire(&self, name: &str) -> OwnedMutexGuard<()> {
        self.of(name).lock_owned().await
    }

    fn of(&self, name: &str) -> Arc<AsyncMutex<()>> {
        let mut locks = self.0.lock();
        if let Some(lock) = locks.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        locks.insert(name.to_owned(), Arc::downgrade(&lock));
        lock
    }
}
