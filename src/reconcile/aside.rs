//! Work on the processor whose amount a user decides, such as compiling and matching regular expressions. It runs beside the
//! asynchronous workers, of which there may be one: there it would hold up all other passes and the renewal of the leader lease.

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Semaphore,
    task::block_in_place,
};

/// How much of such work runs at the same time. Its memory is bounded for each.
static RUNNING: Semaphore = Semaphore::const_new(2);

/// The same for passes that may hold workloads, which do not wait for the others.
static RUNNING_FOR_HOLDING: Semaphore = Semaphore::const_new(2);

/// Does such work.
pub(super) async fn aside<T>(may_hold: bool, work: impl FnOnce() -> T) -> T {
    // They are never closed.
    let _permit = if may_hold { RUNNING_FOR_HOLDING.acquire().await } else { RUNNING.acquire().await };
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => block_in_place(work),
        // A unit test: there are no other passes.
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn the_only_worker_stays_free() {
        let (done, waits) = mpsc::channel();
        let work = tokio::spawn(aside(false, move || waits.recv()));
        // On the same worker, whose tasks would not run before the work is done.
        tokio::spawn(async move { done.send(7) }).await.unwrap().unwrap();
        assert_eq!(work.await.unwrap(), Ok(7));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn work_of_passes_that_hold_nothing_is_limited_and_does_not_hold_up_the_others() {
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let (release, waits) = mpsc::channel::<()>();
        let waits = std::sync::Arc::new(parking_lot::Mutex::new(waits));
        let mut tasks = vec![];
        for number in 0..3 {
            let (begun, waits) = (begun.clone(), std::sync::Arc::clone(&waits));
            tasks.push(tokio::spawn(aside(false, move || {
                begun.send(number).unwrap();
                waits.lock().recv().unwrap();
            })));
        }
        begins.recv().await.unwrap();
        begins.recv().await.unwrap();
        aside(true, || ()).await;
        assert!(begins.try_recv().is_err(), "two are at work, and the third waits");
        for _ in 0..3 {
            release.send(()).unwrap();
        }
        for task in tasks {
            task.await.unwrap();
        }
    }
}
