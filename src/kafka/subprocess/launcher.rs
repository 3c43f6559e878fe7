//! Starts the processes, and bounds how many there are.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::Semaphore;

use super::process::{Process, Program};
use crate::{
    kafka::{connection::Connection, port::Allowance},
    machine::facts::{KafkaError, KafkaErrorKind},
};

/// How many processes there are at once: each has its weight, and the operator's memory is bounded.
const PROCESSES: usize = 32;

/// How long one waits for a process when there are that many, and how often it is looked whether one of them is idle.
pub(super) const PLACE_LIMIT: Duration = Duration::from_secs(30);
const PLACE_LOOK: Duration = Duration::from_millis(250);

/// How processes are started.
pub(in crate::kafka) struct Launcher {
    program: Program,
    pub allowance: Allowance,
    places: Arc<Semaphore>,
    /// Those that run, and some that have ended.
    started: Mutex<Vec<Weak<Process>>>,
}

impl Launcher {
    pub fn new(program: PathBuf, arguments: Vec<String>, allowance: Allowance) -> Self {
        Self {
            program: Program { path: program, arguments },
            allowance,
            places: Arc::new(Semaphore::new(PROCESSES)),
            started: Mutex::default(),
        }
    }

    /// Starts a process, where need be in the place of an idle one.
    pub(super) async fn start(&self, connection: &Connection) -> Result<Arc<Process>, KafkaError> {
        let mut place = std::pin::pin!(Arc::clone(&self.places).acquire_owned());
        let place = loop {
            match tokio::time::timeout(PLACE_LOOK, &mut place).await {
                // Never closed.
                Ok(place) => break place.map_err(|_| no_place())?,
                Err(_) => self.end_an_idle_one(),
            }
        };
        let process = Arc::new(Process::start(&self.program, connection, place)?);
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.retain(|process| process.upgrade().is_some_and(|process| process.lives()));
        started.push(Arc::downgrade(&process));
        Ok(process)
    }

    /// The one whose broker has never answered, or that has been idle for the longest.
    fn end_an_idle_one(&self) {
        let started: Vec<Arc<Process>> =
            self.started.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect();
        let idle = started.iter().filter_map(|process| Some((process.idle()?, process)));
        if let Some((_, process)) = idle.min_by_key(|(idle, _)| *idle) {
            process.end_if_idle();
        }
    }
}

pub(super) fn no_place() -> KafkaError {
    let message = format!("{PROCESSES} Kafka clusters are being asked, and more are not at once; it is tried again");
    KafkaError::new(KafkaErrorKind::Unreachable, message)
}
