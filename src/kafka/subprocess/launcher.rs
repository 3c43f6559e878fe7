//! Starts the clients' processes, and limits their number.

use std::{
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::process::{Process, Program};
use crate::{
    kafka::{connection::Connection, port::Allowance},
    machine::facts::{KafkaError, KafkaErrorKind},
};

/// How many processes run at once: each needs memory, and the operator's is limited.
const MAX_PROCESSES: usize = 32;

/// The time limit for a call that waits for a process while that many run.
pub(super) const SLOT_LIMIT: Duration = Duration::from_secs(30);

/// How often a waiting call checks for an idle process to stop.
const IDLE_CHECK: Duration = Duration::from_millis(250);

/// Starts processes of one program.
pub(in crate::kafka) struct Launcher {
    program: Program,
    /// For how long commits may be under way.
    pub allowance: Allowance,
    slots: Arc<Semaphore>,
    /// The running processes, and some that have exited.
    started: Mutex<Vec<Weak<Process>>>,
}

impl Launcher {
    /// Starts no process yet.
    pub fn new(program: PathBuf, arguments: Vec<String>, allowance: Allowance) -> Self {
        Self {
            program: Program { path: program, arguments },
            allowance,
            slots: Arc::new(Semaphore::new(MAX_PROCESSES)),
            started: Mutex::default(),
        }
    }

    /// Starts a process, if necessary in the slot of an idle one.
    pub(super) async fn start(&self, connection: &Connection) -> Result<Arc<Process>, KafkaError> {
        let mut slot = std::pin::pin!(Arc::clone(&self.slots).acquire_owned());
        let slot = loop {
            match tokio::time::timeout(IDLE_CHECK, &mut slot).await {
                // The semaphore is never closed.
                Ok(slot) => break slot.map_err(|_| no_slot())?,
                Err(_) => self.stop_an_idle_process(),
            }
        };
        let process = Arc::new(Process::start(&self.program, connection, slot)?);
        let mut started = self.started.lock();
        started.retain(|process| process.upgrade().is_some_and(|process| process.is_running()));
        started.push(Arc::downgrade(&process));
        Ok(process)
    }

    /// Stops an idle process: preferably one whose broker has never answered, otherwise the one
    /// that has been idle for the longest.
    fn stop_an_idle_process(&self) {
        let started: Vec<Arc<Process>> = self.started.lock().iter().filter_map(Weak::upgrade).collect();
        let idle = started.iter().filter_map(|process| Some((process.idle()?, process)));
        if let Some((_, process)) = idle.min_by_key(|(idle, _)| *idle) {
            process.stop_if_idle();
        }
    }
}

/// The error of a call that got no process.
pub(super) fn no_slot() -> KafkaError {
    let message = format!("clients for {MAX_PROCESSES} Kafka clusters are busy, which is the maximum; it is tried again");
    KafkaError::new(KafkaErrorKind::Unreachable, message)
}
