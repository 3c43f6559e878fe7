//! Locks between passes: while one pass relies on the recorded state of other resets, no other pass may change it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::api::{Phase, TargetRef};

/// The locks of all passes. They are in this process only: leader election lets one operator work at a time.
#[derive(Default)]
pub struct Locks {
    groups: NamedLocks,
    workloads: NamedLocks,
}

/// The locks that a step of a pass holds until this is dropped.
pub(in crate::reconcile) struct Lock {
    guards: Vec<OwnedMutexGuard<()>>,
    /// The step releases them once the decision is recorded; otherwise after the effect.
    pub until_recorded: bool,
}

impl Locks {
    /// Waits for the locks that a phase needs, if any.
    ///
    /// - To begin, and to be admitted (when the finalizer is added, before anything is stopped): the lock of the group's name,
    ///   across namespaces, because Kafka groups know no namespaces.
    /// - To stop, during a canary and to restore: the locks of the targets, because several resets may share a workload, and the last one
    ///   restores it.
    pub(in crate::reconcile) async fn acquire(
        &self,
        phase: Option<Phase>,
        admitted: bool,
        (namespace, targets): (&str, &[TargetRef]),
        group: &str,
    ) -> Option<Lock> {
        match phase {
            None | Some(Phase::Pending) => Some(self.of_group(group, true).await),
            Some(Phase::Stopping) if !admitted => Some(self.of_group(group, false).await),
            Some(Phase::Stopping | Phase::Canary | Phase::Restoring) => Some(self.holds_of(namespace, targets).await),
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

    async fn of_group(&self, group: &str, until_recorded: bool) -> Lock {
        Lock { guards: vec![self.groups.acquire(group).await], until_recorded }
    }

    /// Waits for the locks of workloads, which every change to their holds needs. The names tell them apart before they are
    /// read: in a namespace one kind has one name once, in whatever version it is written.
    pub(in crate::reconcile) async fn holds_of(&self, namespace: &str, targets: &[TargetRef]) -> Lock {
        // In one order everywhere, so that no two passes wait for each other.
        let names: BTreeSet<String> =
            targets.iter().map(|target| format!("{namespace}/{}/{}", target.kind, target.name)).collect();
        let mut guards = vec![];
        for name in &names {
            guards.push(self.workloads.acquire(name).await);
        }
        Lock { guards, until_recorded: false }
    }
}

impl Lock {
    /// Awaits a future with the locks released, then acquires them again. What was read under them before is read again after that,
    /// where a decision relies on it.
    pub(in crate::reconcile) async fn released_while<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mutexes: Vec<_> = self.guards.drain(..).map(|guard| Arc::clone(OwnedMutexGuard::mutex(&guard))).collect();
        let done = future.await;
        // In the order in which they were acquired first.
        for mutex in mutexes {
            self.guards.push(mutex.lock_owned().await);
        }
        done
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

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use serde_json::json;
    use tokio::sync::oneshot;

    use super::*;

    fn targets(names: &[&str]) -> Vec<TargetRef> {
        names.iter().map(|name| serde_json::from_value(json!({"name": name})).unwrap()).collect()
    }

    #[tokio::test]
    async fn a_restore_waits_only_for_passes_over_the_same_workload() {
        let locks = Locks::default();
        let acquire = |namespace: &'static str, names: &'static [&'static str]| {
            let (locks, targets) = (&locks, targets(names));
            async move { locks.acquire(Some(Phase::Restoring), true, (namespace, &targets), "orders").await }
        };
        let first = acquire("shop", &["a", "b"]).await;
        assert!(acquire("shop", &["c"]).now_or_never().is_some(), "it is another workload");
        assert!(acquire("bank", &["a"]).now_or_never().is_some(), "it is another namespace");
        let mut same = Box::pin(acquire("shop", &["c", "b"]));
        assert!((&mut same).now_or_never().is_none());
        assert!(locks.holds_of("shop", &targets(&["b"])).now_or_never().is_none(), "so do passes over its Lease");
        drop(first);
        assert!(same.now_or_never().flatten().is_some());
    }

    #[tokio::test]
    async fn a_workload_that_is_named_twice_is_locked_once_and_in_any_order() {
        let locks = Locks::default();
        let both = locks.holds_of("shop", &targets(&["b", "a", "b"])).now_or_never().expect("it waits for nothing");
        let mut reversed = Box::pin(async {
            let targets = targets(&["a", "b"]);
            locks.holds_of("shop", &targets).await
        });
        assert!((&mut reversed).now_or_never().is_none());
        drop(both);
        assert!(reversed.now_or_never().is_some());
    }

    #[tokio::test]
    async fn other_passes_get_locks_that_are_released_and_keep_them_to_their_end() {
        let locks = Locks::default();
        let mut lock = locks.holds_of("shop", &targets(&["a", "b"])).await;
        let (asked, answer) = oneshot::channel();
        let mut query = Box::pin(lock.released_while(answer));
        assert!((&mut query).now_or_never().is_none(), "there is no answer yet");
        let other = locks.holds_of("shop", &targets(&["b"])).now_or_never().expect("it does not wait for the answer");
        asked.send("answer").unwrap();
        assert!((&mut query).now_or_never().is_none(), "the other pass is not at its end");
        drop(other);
        assert_eq!(query.now_or_never(), Some(Ok("answer")));
        assert!(locks.holds_of("shop", &targets(&["a"])).now_or_never().is_none(), "both are locked again");
        assert!(locks.holds_of("shop", &targets(&["b"])).now_or_never().is_none(), "both are locked again");
    }
}
