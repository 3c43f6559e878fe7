//! What goes wrong, and at which request: the layer that stands between an operator and everything that it asks.

use std::{
    collections::BTreeMap,
    fmt,
    future::{Future, pending},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use real_tests::layer;
use tokio::sync::Notify;

/// How often each kind of request was made.
pub type Counts = BTreeMap<String, usize>;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operator is killed right before it asks.
    KilledBefore,
    /// The operator is killed right after it was answered, before it can do anything about the answer.
    KilledAfter,
    /// The request is carried out, and the answer never comes. The operator lives.
    AnswerLost,
}

impl Fault {
    pub const ALL: [Self; 3] = [Self::KilledBefore, Self::KilledAfter, Self::AnswerLost];

    pub fn kills(self) -> bool {
        match self {
            Self::KilledBefore | Self::KilledAfter => true,
            Self::AnswerLost => false,
        }
    }
}

/// A fault at one request. Requests are told apart by their kind and by which one of that kind it is: several go on at the same time, so
/// that their place among all of them is another in each run.
#[derive(Clone, Debug)]
pub struct At {
    pub kind: String,
    pub nth: usize,
    pub fault: Fault,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}, number {}", self.fault, self.kind, self.nth)
    }
}

/// Counts the requests of one operator, and lets a fault happen at one of them.
#[derive(Default)]
pub struct Layer {
    fault: Option<At>,
    counts: Mutex<Counts>,
    /// As they were at the last request that changed something.
    until_the_last_change: Mutex<Counts>,
    /// The operator counts as killed: from here on nothing that it asks is sent, also what it asks at the same time elsewhere.
    killed: AtomicBool,
    happened: AtomicBool,
    news: Notify,
}

impl Layer {
    pub fn new(fault: Option<At>) -> Self {
        Self { fault, ..Self::default() }
    }

    /// How often each was made, up to the last one that changed something: how often the operator looks at what is over is a matter of
    /// how soon it is told to end.
    pub fn counts(&self) -> Counts {
        self.until_the_last_change.lock().unwrap().clone()
    }

    /// Whether the fault has happened by now.
    pub fn has_happened(&self) -> bool {
        self.happened.load(Ordering::SeqCst)
    }

    /// Waits until the fault has happened.
    pub async fn happened(&self) {
        let mut news = std::pin::pin!(self.news.notified());
        news.as_mut().enable();
        if !self.has_happened() {
            news.await;
        }
    }

    fn fault_at(&self, kind: &str) -> Option<Fault> {
        let mut counts = self.counts.lock().unwrap();
        let count = counts.entry(kind.to_owned()).or_default();
        *count += 1;
        let fault = self.fault.as_ref().filter(|at| at.kind == kind && at.nth == *count).map(|at| at.fault);
        if changes(kind) {
            self.until_the_last_change.lock().unwrap().clone_from(&counts);
        }
        fault
    }

    async fn die<T>(&self) -> T {
        self.killed.store(true, Ordering::SeqCst);
        self.happen();
        pending().await
    }

    fn happen(&self) {
        self.happened.store(true, Ordering::SeqCst);
        self.news.notify_waiters();
    }
}

impl layer::Layer for Layer {
    async fn around<T: Send, E: Send>(
        &self,
        kind: &str,
        request: impl Future<Output = Result<T, E>> + Send,
        lost: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        if self.killed.load(Ordering::SeqCst) {
            return pending().await;
        }
        match self.fault_at(kind) {
            None => request.await,
            Some(Fault::KilledBefore) => self.die().await,
            Some(Fault::KilledAfter) => {
                let _ = request.await;
                self.die().await
            }
            Some(Fault::AnswerLost) => {
                let _ = request.await;
                self.happen();
                lost()
            }
        }
    }
}

/// Whether a request changes something that the reset is about; Events only tell of it.
fn changes(kind: &str) -> bool {
    let verb = kind.split(' ').next().unwrap_or_default();
    kind == "Kafka commit" || (["create", "update", "patch", "delete"].contains(&verb) && kind != "create events")
}
