//! Starts the clients' processes, and limits their number.

use std::{
    future::Future,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    memory::Memory,
    process::{Idle, Process, Program},
    slot::{Slot, Standing},
};
use crate::{
    kafka::{connection::Connection, port::Allowance},
    machine::facts::{KafkaError, KafkaErrorKind},
};

/// How many processes run at once: each needs memory, and the operator's is limited. Some of them
/// are only for clients of resets that hold consumers.
const MAX_PROCESSES: usize = 32;
const RESERVED: usize = 8;

/// How many of the others may be for clusters of which no broker has answered yet. So brokers that
/// accept connections and do not respond cannot take the places of clusters that work.
const MAX_UNPROVEN: usize = 12;

/// The time limit for a call that waits for a process while that many run.
pub(super) const SLOT_LIMIT: Duration = Duration::from_secs(30);

/// How often a waiting call checks for an idle process to stop.
const IDLE_CHECK: Duration = Duration::from_millis(250);

/// Starts processes of one program.
pub(in crate::kafka) struct Launcher {
    program: Program,
    /// For how long commits may be under way.
    pub allowance: Allowance,
    places: Places,
    memory: Arc<Memory>,
    /// The running processes, and some that have exited.
    started: Mutex<Vec<Weak<Process>>>,
}

/// The places of processes.
struct Places {
    any: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
    unproven: Arc<Semaphore>,
}

impl Places {
    fn new() -> Self {
        let semaphore = |places| Arc::new(Semaphore::new(places));
        Self { any: semaphore(MAX_PROCESSES - RESERVED), reserved: semaphore(RESERVED), unproven: semaphore(MAX_UNPROVEN) }
    }

    /// How many processes have a place.
    fn taken(&self) -> usize {
        (MAX_PROCESSES - RESERVED - self.any.available_permits()) + (RESERVED - self.reserved.available_permits())
    }

    /// Waits for the right to start a process for a cluster of which no broker has answered yet;
    /// `None` where it needs none. The semaphores are never closed.
    async fn unproven(&self, standing: &Standing) -> Option<OwnedSemaphorePermit> {
        if standing.is_preferred() || standing.has_answered() {
            return None;
        }
        Arc::clone(&self.unproven).acquire_owned().await.ok()
    }

    /// Waits for a place.
    async fn place(&self, standing: &Standing) -> Option<OwnedSemaphorePermit> {
        let any = Arc::clone(&self.any).acquire_owned();
        if !standing.is_preferred() {
            return any.await.ok();
        }
        tokio::select! {
            biased;
            place = any => place.ok(),
            place = Arc::clone(&self.reserved).acquire_owned() => place.ok(),
        }
    }
}

impl Launcher {
    /// Starts no process yet.
    pub fn new(program: PathBuf, arguments: Vec<String>, allowance: Allowance) -> Self {
        let (places, memory) = (Places::new(), Arc::default());
        Self { program: Program { path: program, arguments }, allowance, places, memory, started: Mutex::default() }
    }

    /// How many processes run.
    pub fn running(&self) -> usize {
        self.places.taken()
    }

    /// Starts a process, if necessary in the place of an idle one.
    pub(super) async fn start(&self, connection: &Connection, standing: &Standing) -> Result<Arc<Process>, KafkaError> {
        // A cluster that works makes no room for one of which it is unknown.
        let unproven = self.making_room(self.places.unproven(standing), |idle| !idle.has_answered).await;
        let is_preferred = standing.is_preferred();
        let place = self.making_room(self.places.place(standing), |idle| is_preferred || !idle.is_preferred).await;
        let slot = Slot { place: place.ok_or_else(no_slot)?, unproven };
        let process = Process::start(&self.program, connection, slot, standing.clone(), &self.memory)?;
        let process = Arc::new(process);
        let mut started = self.started.lock();
        started.retain(|process| process.upgrade().is_some_and(|process| process.is_running()));
        started.push(Arc::downgrade(&process));
        Ok(process)
    }

    /// Waits, and stops an idle process from time to time that `may_stop`.
    async fn making_room<T>(&self, wait: impl Future<Output = T>, may_stop: impl Fn(&Idle) -> bool) -> T {
        let mut wait = std::pin::pin!(wait);
        loop {
            match tokio::time::timeout(IDLE_CHECK, &mut wait).await {
                Ok(done) => return done,
                Err(_) => self.stop_an_idle_process(&may_stop),
            }
        }
    }

    /// Stops an idle process: preferably one whose broker has never answered, otherwise the one
    /// that has been idle for the longest.
    fn stop_an_idle_process(&self, may_stop: impl Fn(&Idle) -> bool) {
        let started: Vec<Arc<Process>> = self.started.lock().iter().filter_map(Weak::upgrade).collect();
        let idle = started.iter().filter_map(|process| Some((process.idle()?, process)));
        if let Some((_, process)) = idle.filter(|(idle, _)| may_stop(idle)).min_by_key(|(idle, _)| *idle) {
            process.stop_if_idle();
        }
    }
}

/// The error of a call that got no process.
pub(super) fn no_slot() -> KafkaError {
    let message = format!("clients for {MAX_PROCESSES} Kafka clusters are busy, which is the maximum; it is tried again");
    KafkaError::new(KafkaErrorKind::Unreachable, message)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn take(places: &Places, standing: &Standing) -> Option<Slot> {
        let unproven = places.unproven(standing).now_or_never()?;
        Some(Slot { place: places.place(standing).now_or_never()??, unproven })
    }

    #[tokio::test]
    async fn silent_brokers_take_no_place_of_clusters_that_work_and_neither_those_of_resets_that_hold() {
        let (places, unknown) = (Places::new(), Standing::default());
        let mut silent: Vec<Slot> = std::iter::from_fn(|| take(&places, &unknown)).take(100).collect();
        assert_eq!((silent.len(), places.taken()), (MAX_UNPROVEN, MAX_UNPROVEN));
        // A broker of one of them answers.
        silent[0].unproven = None;
        silent.extend(take(&places, &unknown));
        assert_eq!(silent.len(), MAX_UNPROVEN + 1);
        let (known, holding) = (Standing::default(), Standing::default());
        known.answered();
        let works: Vec<Slot> = std::iter::from_fn(|| take(&places, &known)).take(100).collect();
        assert_eq!(works.len(), MAX_PROCESSES - RESERVED - silent.len());
        holding.prefer();
        let held: Vec<Slot> = std::iter::from_fn(|| take(&places, &holding)).take(100).collect();
        assert_eq!((held.len(), places.taken()), (RESERVED, MAX_PROCESSES));
        drop(works);
        assert!(take(&places, &holding).is_some(), "it may have any other place too");
    }
}
