//! Backoff per object: doubled with each failure in a row, with jitter, forgotten after a success.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

const FIRST: Duration = Duration::from_millis(200);

/// Consumers may be waiting at zero, so it never becomes long.
const LONGEST: Duration = Duration::from_secs(10);

/// Consecutive failures of each object.
#[derive(Default)]
pub struct Backoff {
    failures: Mutex<HashMap<String, u32>>,
    seed: RandomState,
}

impl Backoff {
    /// The wait after one more failure of an object.
    #[must_use]
    pub fn next(&self, uid: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(uid.to_owned()).or_insert(0);
        *count = count.saturating_add(1);
        delay(*count, self.seed.hash_one((uid, *count)))
    }

    /// A pass of the object went well, or it is gone.
    pub fn reset(&self, uid: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// Between half of it and all of it, so that many objects that failed together do not come back together.
fn delay(failures: u32, random: u64) -> Duration {
    let full = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST);
    let half = full / 2;
    let thousandths = u32::try_from(random % 1000).unwrap_or(0);
    half + half / 1000 * thousandths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_a_bound_and_starts_anew_after_a_success() {
        assert_eq!(delay(1, 0), FIRST / 2);
        assert!(delay(1, 999) <= FIRST);
        assert_eq!(delay(3, 0), FIRST * 2);
        assert_eq!(delay(30, 0), LONGEST / 2);
        let backoff = Backoff::default();
        for _ in 0..20 {
            assert!(backoff.next("a") <= LONGEST);
        }
        assert!(backoff.next("a") >= LONGEST / 2);
        backoff.reset("a");
        assert!(backoff.next("a") <= FIRST);
    }
}
