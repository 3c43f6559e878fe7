//! The place of a client's process among those that may run, and what is known of the client.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

/// For so long after a reset with consumers at zero has asked for it, a client goes before others.
const PREFERRED: Duration = Duration::from_mins(2);

/// What is known of a client when its process is started or could be stopped. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Standing {
    /// Until when the client goes before others.
    preferred_until: Arc<Mutex<Option<Instant>>>,
    /// A broker has answered, to this process or to an earlier one.
    has_answered: Arc<AtomicBool>,
}

impl Standing {
    /// A reset that holds consumers is about to use the client.
    pub fn prefer(&self) {
        *self.preferred_until.lock() = Some(Instant::now() + PREFERRED);
    }

    pub fn is_preferred(&self) -> bool {
        self.preferred_until.lock().is_some_and(|until| Instant::now() < until)
    }

    /// A broker has answered.
    pub fn answered(&self) {
        self.has_answered.store(true, Ordering::Relaxed);
    }

    pub fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }
}

/// The place of a process among those that may run, until it is dropped.
pub(super) struct Slot {
    #[allow(dead_code, reason = "only its drop counts")]
    pub place: OwnedSemaphorePermit,
    /// Given back with the first answer of a broker.
    pub unproven: Option<OwnedSemaphorePermit>,
}
