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
    admission: Arc<Mutex<()>>,
    namespaces: StdMutex<HashMap<String, Weak<Mutex<()>>>>,
}

/// A turn, until it is dropped.
pub(super) struct Turn {
    _guard: OwnedMutexGuard<()>,
    /// It is over once the decision is recorded; otherwise it lasts until the effect has been done.
    pub until_recorded: bool,
}

impl Turns {
    /// Waits for the turn that a phase needs. Beginning, and being let in (when the finalizer is put on, before anything is stopped): one
    /// in all, because groups do not know namespaces. Stopping and restoring: one per namespace, because several may share a workload, and the
    /// last one brings it back.
    pub(super) async fn take(&self, phase: Option<Phase>, let_in: bool, namespace: &str) -> Option<Turn> {
        match phase {
            None | Some(Phase::Pending) => {
                Some(Turn { _guard: Arc::clone(&self.admission).lock_owned().await, until_recorded: true })
            }
            Some(Phase::Stopping) if !let_in => {
                Some(Turn { _guard: Arc::clone(&self.admission).lock_owned().await, until_recorded: false })
            }
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
    pub(super) async fn of_holds(&self, namespace: &str) -> Turn {
        Turn { _guard: self.of_namespace(namespace).lock_owned().await, until_recorded: false }
    }

    fn of_namespace(&self, namespace: &str) -> Arc<Mutex<()>> {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = namespaces.get(namespace).and_then(Weak::upgrade) {
            return lock;
        }
        namespaces.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        namespaces.insert(namespace.to_owned(), Arc::downgrade(&lock));
        lock
    }
}
