//! Who may pass: where one pass relies on what others have recorded, no other may record at the same time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex as StdMutex, PoisonError, Weak},
};

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::api::Phase;

/// Hands out turns. In this process only: one operator at a time is at work.
#[derive(Default)]
pub struct Turns {
    groups: Locks,
    namespaces: Locks,
}

/// A turn, until it is dropped.
pub(in crate::reconcile) struct Turn {
    _guard: OwnedMutexGuard<()>,
    /// It is over once the decision is recorded; otherwise it lasts until the effect has been done.
    pub until_recorded: bool,
}

impl Turns {
    /// Waits for the turn that a phase needs. Beginning, and being let in (when the finalizer is put on, before anything is stopped): one
    /// per name of a group in all namespaces, because groups do not know namespaces. Stopping and restoring: one per namespace, because
    /// several may share a workload, and the last one brings it back.
    pub(in crate::reconcile) async fn take(
        &self,
        phase: Option<Phase>,
        let_in: bool,
        namespace: &str,
        group: &str,
    ) -> Option<Turn> {
        match phase {
            None | Some(Phase::Pending) => Some(Turn { _guard: self.groups.lock(group).await, until_recorded: true }),
            Some(Phase::Stopping) if !let_in => Some(Turn { _guard: self.groups.lock(group).await, until_recorded: false }),
            Some(Phase::Stopping | Phase::Restoring) => Some(self.of_holds(namespace).await),
            Some(
                Phase::Planning
                | Phase::Draining
                | Phase::Resetting
                | Phase::Succeeded
                | Phase::Failed
                | Phase::Cancelled
                | Phase::Planned,
            ) => None,
        }
    }

    /// The turn of whoever changes what is held in a namespace.
    pub(in crate::reconcile) async fn of_holds(&self, namespace: &str) -> Turn {
        Turn { _guard: self.namespaces.lock(namespace).await, until_recorded: false }
    }
}

/// A lock for each name; those that nobody uses are forgotten.
#[derive(Default)]
struct Locks(StdMutex<HashMap<String, Weak<Mutex<()>>>>);

impl Locks {
    async fn lock(&self, name: &str) -> OwnedMutexGuard<()> {
        self.of(name).lock_owned().await
    }

    fn of(&self, name: &str) -> Arc<Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        locks.insert(name.to_owned(), Arc::downgrade(&lock));
        lock
    }
}
