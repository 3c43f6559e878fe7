//! Whether the process still moves. A slow or absent API server, a Kafka cluster that does not answer and a night without any
//! reset are no reason to restart it: every loop turns and every pass ends then too, because each request has a time limit.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// A pass ends within its requests' time limits. The longest is a commit of 20,000 partitions to brokers that hang: some ten
/// minutes, and twenty more when the API server hangs too.
const LONGEST_PASS: Duration = Duration::from_hours(1);

/// What has to move, and when it last did. Clones share it.
#[derive(Clone, Default)]
pub struct Liveness {
    watched: Arc<Mutex<Watched>>,
}

#[derive(Default)]
struct Watched {
    /// When each loop has to have turned again.
    loops: BTreeMap<&'static str, Instant>,
    /// When each pass under way began, and the object that it is over.
    passes: HashMap<u64, (Instant, String)>,
    begun: u64,
}

/// A pass under way, until this is dropped.
pub struct PassUnderWay {
    watched: Arc<Mutex<Watched>>,
    number: u64,
}

impl Liveness {
    /// Records that a loop has turned, and does so again within `limit`, whatever its requests come to.
    pub fn turned(&self, name: &'static str, limit: Duration) {
        self.watched.lock().loops.insert(name, Instant::now() + limit);
    }

    /// Records that a loop has ended in order.
    pub fn ended(&self, name: &'static str) {
        self.watched.lock().loops.remove(name);
    }

    /// Records a pass over an object that begins now.
    #[must_use]
    pub fn pass(&self, object: String) -> PassUnderWay {
        let mut watched = self.watched.lock();
        watched.begun += 1;
        let number = watched.begun;
        watched.passes.insert(number, (Instant::now(), object));
        PassUnderWay { watched: Arc::clone(&self.watched), number }
    }

    /// What does not move any more, in words; none when everything does.
    #[must_use]
    pub fn stuck(&self) -> Vec<String> {
        self.stuck_at(Instant::now())
    }

    fn stuck_at(&self, now: Instant) -> Vec<String> {
        let watched = self.watched.lock();
        let loops = watched
            .loops
            .iter()
            .filter(|(_, until)| **until < now)
            .map(|(name, until)| format!("{name} is overdue by {} s", now.duration_since(*until).as_secs()));
        let passes =
            watched.passes.values().filter(|(begin, _)| now.duration_since(*begin) > LONGEST_PASS).map(|(begin, object)| {
                format!("the reconcile of {object} has been running for {} s", now.duration_since(*begin).as_secs())
            });
        loops.chain(passes).collect()
    }
}

impl Drop for PassUnderWay {
    fn drop(&mut self) {
        self.watched.lock().passes.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_quiet_process_is_alive_and_one_whose_loop_stands_is_not() {
        let (liveness, now) = (Liveness::default(), Instant::now());
        assert!(liveness.stuck_at(now + 1_000_000 * SECOND).is_empty(), "nothing is under way");
        liveness.turned("leader election", 60 * SECOND);
        assert!(liveness.stuck_at(now + 60 * SECOND).is_empty());
        assert_eq!(liveness.stuck_at(now + 90 * SECOND).len(), 1);
        assert!(liveness.stuck_at(now + 90 * SECOND)[0].starts_with("leader election is overdue by "));
        liveness.ended("leader election");
        assert!(liveness.stuck_at(now + 90 * SECOND).is_empty());
    }

    #[test]
    fn a_pass_may_take_long_but_not_for_ever() {
        let (liveness, now) = (Liveness::default(), Instant::now());
        let first = liveness.pass("shop/replay".into());
        let _second = liveness.pass("OffsetReset shop/other".into());
        assert!(liveness.stuck_at(now + LONGEST_PASS).is_empty());
        drop(first);
        let stuck = liveness.stuck_at(now + LONGEST_PASS + 10 * SECOND);
        assert_eq!(stuck.len(), 1);
        assert!(stuck[0].starts_with("the reconcile of OffsetReset shop/other has been running for 36"), "{stuck:?}");
    }
}
