//! Whether this process leads for certain, by its own clock alone. Checked right before every write and every commit.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// The instant up to which this process leads for certain. Clones share it.
///
/// It is never certain while another may lead: a renewal counts from before its request was sent, and only up to the renew
/// deadline, while the others wait for the whole, longer lease duration, counted from when they saw the renewal. The check
/// costs no request, so it can come right before an effect begins. Once lost, leadership is lost for this process.
#[derive(Clone, Debug)]
pub struct Leadership {
    until: Arc<Mutex<Until>>,
}

#[derive(Clone, Copy, Debug)]
enum Until {
    /// Leader election is off.
    Always,
    /// The lease was not acquired yet.
    NotYet,
    Then(Instant),
    Over,
}

impl Leadership {
    /// Always leads: for a single operator, without leader election.
    #[must_use]
    pub fn unconditional() -> Self {
        Self { until: Arc::new(Mutex::new(Until::Always)) }
    }

    /// Does not lead yet: for a candidate.
    #[must_use]
    pub fn none_yet() -> Self {
        Self { until: Arc::new(Mutex::new(Until::NotYet)) }
    }

    /// Extends leadership to an instant. Without effect when it had expired before: another may have led since.
    pub fn extend(&self, until: Instant) {
        self.extend_at(Instant::now(), until);
    }

    fn extend_at(&self, now: Instant, until: Instant) {
        let mut current = self.until.lock();
        *current = match *current {
            Until::Always => Until::Always,
            Until::Over => Until::Over,
            Until::Then(old) if old <= now => Until::Over,
            Until::NotYet | Until::Then(_) => Until::Then(until),
        };
    }

    /// Ends leadership for good.
    pub fn end(&self) {
        *self.until.lock() = Until::Over;
    }

    /// Whether this process leads for certain now.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        !self.left().is_zero()
    }

    /// The remaining time for which this process leads for certain without another renewal; zero when it does not lead.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.left_at(Instant::now())
    }

    fn left_at(&self, now: Instant) -> Duration {
        match *self.until.lock() {
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
    fn leadership_is_certain_from_a_renewal_to_its_deadline_and_no_longer() {
        let (leadership, now) = (Leadership::none_yet(), Instant::now());
        assert_eq!(leadership.left_at(now), Duration::ZERO, "not before the lease is acquired");
        leadership.extend_at(now, now + 10 * SECOND);
        assert_eq!(leadership.left_at(now + 9 * SECOND), SECOND);
        assert_eq!(leadership.left_at(now + 10 * SECOND), Duration::ZERO);
        leadership.extend_at(now + 9 * SECOND, now + 19 * SECOND);
        assert_eq!(leadership.clone().left_at(now + 10 * SECOND), 9 * SECOND, "clones share it");
    }

    #[test]
    fn lost_leadership_stays_lost_however_late_an_answer_comes() {
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
    fn a_single_operator_always_leads() {
        assert!(Leadership::unconditional().is_certain());
        assert_eq!(Leadership::unconditional().left(), Duration::MAX);
    }
}
