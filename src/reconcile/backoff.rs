//! Backoff per object: doubled with each consecutive failure, with jitter, and reset by a success.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use parking_lot::Mutex;

const FIRST: Duration = Duration::from_millis(200);

const LONGEST: Duration = Duration::from_secs(10);

/// The longest wait while consumers are held at zero.
const LONGEST_HOLDING: Duration = Duration::from_secs(2);

/// The object that failed, by its name: of a deleted object nothing else is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackoffKey {
    kind: &'static str,
    namespace: String,
    name: String,
}

impl BackoffKey {
    /// An OffsetReset.
    #[must_use]
    pub fn reset(namespace: &str, name: &str) -> Self {
        Self { kind: "OffsetReset", namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The Lease of a held workload.
    #[must_use]
    pub fn lease(namespace: &str, name: &str) -> Self {
        Self { kind: "Lease", namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// The number of consecutive failures of each object.
#[derive(Default)]
pub struct Backoff {
    failures: Mutex<HashMap<BackoffKey, u32>>,
    seed: RandomState,
}

impl Backoff {
    /// Counts one more failure of an object, and returns the wait after it; a shorter one while consumers may be held at zero
    /// for it.
    #[must_use]
    pub fn next(&self, object: &BackoffKey, holding: bool) -> Duration {
        let mut failures = self.failures.lock();
        let count = failures.entry(object.clone()).or_insert(0);
        *count = count.saturating_add(1);
        delay(*count, if holding { LONGEST_HOLDING } else { LONGEST }, self.seed.hash_one((object, *count)))
    }

    /// Forgets the failures of an object, because a pass succeeded or the object is gone.
    pub fn reset(&self, object: &BackoffKey) {
        self.failures.lock().remove(object);
    }
}

/// Half to all of the doubled wait, at random, so that objects that failed together are not retried together.
fn delay(failures: u32, longest: Duration, random: u64) -> Duration {
    let full = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest);
    let half = full / 2;
    let thousandths = u32::try_from(random % 1000).unwrap_or(0);
    half + half / 1000 * thousandths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_a_bound_and_starts_again_after_a_success() {
        assert_eq!(delay(1, LONGEST, 0), FIRST / 2);
        assert!(delay(1, LONGEST, 999) <= FIRST);
        assert_eq!(delay(3, LONGEST, 0), FIRST * 2);
        assert_eq!(delay(30, LONGEST, 0), LONGEST / 2);
        let (backoff, object) = (Backoff::default(), BackoffKey::reset("shop", "a"));
        for _ in 0..20 {
            assert!(backoff.next(&object, false) <= LONGEST);
        }
        assert!(backoff.next(&object, false) >= LONGEST / 2);
        assert!(backoff.next(&BackoffKey::lease("shop", "a"), false) <= FIRST, "it is another object");
        backoff.reset(&object);
        assert!(backoff.next(&object, false) <= FIRST);
        backoff.reset(&object);
        backoff.reset(&BackoffKey::lease("shop", "a"));
        assert!(backoff.failures.lock().is_empty(), "nothing is kept of objects that are gone");
    }

    #[test]
    fn waits_two_seconds_at_most_while_consumers_are_held() {
        let (backoff, object) = (Backoff::default(), BackoffKey::reset("shop", "a"));
        for _ in 0..20 {
            assert!(backoff.next(&object, true) <= Duration::from_secs(2));
        }
        assert!(backoff.next(&object, false) >= LONGEST / 2, "nothing is held any more");
    }
}
