//! Requests that nothing waits for, such as Events: sent in the background, those about one object in their order.

use std::{
    future::Future,
    hash::{BuildHasher, RandomState},
    pin::Pin,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How many requests are under way at once.
const LANES: usize = 4;

/// How many requests wait in each lane. A plan has up to 32 warnings.
const WAITING: usize = 256;

/// Sends requests in the background.
pub(super) struct Outbox {
    lanes: Vec<mpsc::Sender<Job>>,
    seed: RandomState,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Default for Outbox {
    fn default() -> Self {
        let (mut lanes, mut tasks) = (vec![], vec![]);
        for _ in 0..LANES {
            let (lane, mut jobs) = mpsc::channel::<Job>(WAITING);
            lanes.push(lane);
            tasks.push(AbortOnDropHandle::new(tokio::spawn(async move {
                while let Some(job) = jobs.recv().await {
                    job.await;
                }
            })));
        }
        Self { lanes, seed: RandomState::new(), _tasks: tasks }
    }
}

impl Outbox {
    /// Sends a request about an object after those about it so far. False when too many wait.
    pub fn post(&self, object: &str, request: impl Future<Output = ()> + Send + 'static) -> bool {
        let lane = usize::try_from(self.seed.hash_one(object) % LANES as u64).unwrap_or(0);
        self.lanes[lane].try_send(Box::pin(request)).is_ok()
    }

    /// Waits until all requests so far are done, or for `limit`.
    pub async fn flush(&self, limit: Duration) {
        let all = futures::future::join_all(self.lanes.iter().map(|lane| async {
            let (done, is_done) = oneshot::channel();
            let last: Job = Box::pin(async move { _ = done.send(()) });
            if lane.send(last).await.is_ok() {
                let _ = is_done.await;
            }
        }));
        let _ = tokio::time::timeout(limit, all).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::Arc};

    use parking_lot::Mutex;

    use super::*;

    #[tokio::test]
    async fn requests_about_one_object_are_sent_in_their_order_and_flushed() {
        let (outbox, sent) = (Outbox::default(), Arc::new(Mutex::new(vec![])));
        for number in 0..20 {
            let sent = Arc::clone(&sent);
            assert!(outbox.post("a", async move {
                tokio::task::yield_now().await;
                sent.lock().push(number);
            }));
        }
        assert!(sent.lock().is_empty(), "nothing was waited for");
        outbox.flush(Duration::MAX).await;
        assert_eq!(*sent.lock(), (0..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_server_that_never_answers_holds_up_neither_a_pass_nor_the_end() {
        let outbox = Outbox::default();
        let posted = (0..10 * WAITING).filter(|_| outbox.post("a", pending())).count();
        assert!((WAITING..=WAITING + 1).contains(&posted), "{posted}");
        outbox.flush(Duration::from_millis(10)).await;
    }
}
