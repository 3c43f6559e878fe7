//! Whether we lead for certain, on our own clock alone: asked right before everything that changes the world.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Until when we lead for certain. Clones share it.
///
/// It never says yes when another may lead: a renewal counts from before its request was sent, and only up to the renew
/// deadline, while others wait for the whole, longer lease duration, counted from when they saw the renewal. Asking costs no
/// request, so it can be asked as late as the instant before an effect begins. Once over, it is over for this process.
#[derive(Clone, Debug)]
pub struct Leadership {
    until: Arc<Mutex<Until>>,
}

#[derive(Clone, Copy, Debug)]
enum Until {
    /// Nobody else is at work: the operator was started so.
    Always,
    /// We do not lead yet.
    NotYet,
    Then(Instant),
    Over,
}

impl Leadership {
    /// Of the only operator there is: leader election is off.
    #[must_use]
    pub fn unconditional() -> Self {
        Self { until: Arc::new(Mutex::new(Until::Always)) }
    }

    /// Of one who wants to lead.
    #[must_use]
    pub fn none_yet() -> Self {
        Self { until: Arc::new(Mutex::new(Until::NotYet)) }
    }

    /// We lead until then. Without effect when leading had come to its end by now: what another may have done since is not known.
    pub fn extend(&self, until: Instant) {
        self.extend_at(Instant::now(), until);
    }

    fn extend_at(&self, now: Instant, until: Instant) {
        let mut current = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        *current = match *current {
            Until::Always => Until::Always,
            Until::Over => Until::Over,
            Until::Then(old) if old <= now => Until::Over,
            Until::NotYet | Until::Then(_) => Until::Then(until),
        };
    }

    /// We lead no more.
    pub fn end(&self) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Until::Over;
    }

    /// Whether we lead for certain.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        !self.left().is_zero()
    }

    /// For how long we still lead for certain if no renewal comes; zero when we do not.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.left_at(Instant::now())
    }

    fn left_at(&self, now: Instant) -> Duration {
        match *self.until.lock().unwrap_or_else(PoisonError::into_inner) {
            Until::Always => Duration::MAX,
            Until::NotYet | Until::Over => Duration::ZERO,
            Until::Then(until) => until.saturating_duration_since(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_is_certain_from_a_renewal_to_its_deadline_and_not_an_instant_longer() {
        let (leadership, now) = (Leadership::none_yet(), Instant::now());
        assert_eq!(leadership.left_at(now), Duration::ZERO, "nobody leads before the lease is held");
        leadership.extend_at(now, now + 10 * SECOND);
        assert_eq!(leadership.left_at(now + 9 * SECOND), SECOND);
        assert_eq!(leadership.left_at(now + 10 * SECOND), Duration::ZERO);
        leadership.extend_at(now + 9 * SECOND, now + 19 * SECOND);
        assert_eq!(leadership.clone().left_at(now + 10 * SECOND), 9 * SECOND, "clones share it");
    }

    #[test]
    fn what_is_over_stays_over_however_late_an_answer_comes() {
        let now = Instant::now();
        let (late, ended) = (Leadership::none_yet(), Leadership::none_yet());
        late.extend_at(now, now + 10 * SECOND);
        late.extend_at(now + 10 * SECOND, now + 20 * SECOND);
        assert_eq!(late.left_at(now + 11 * SECOND), Duration::ZERO);
        late.extend_at(now + 11 * SECOND, now + 30 * SECOND);
        assert_eq!(late.left_at(now + 12 * SECOND), Duration::ZERO);
        ended.extend_at(now, now + 10 * SECOND);
        ended.end();
        ended.extend_at(now, now + 10 * SECOND);
        assert_eq!(ended.left_at(now), Duration::ZERO);
    }

    #[test]
    fn the_only_operator_there_is_always_leads() {
        assert!(Leadership::unconditional().is_certain());
        assert_eq!(Leadership::unconditional().left(), Duration::MAX);
    }
}
