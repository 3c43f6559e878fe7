//! PURE: the protocol of client-go's leader election, so that its tools work with this Lease too. No client, no clock.
//!
//! The lease records its holder, its duration and its last renewal. Its timestamps are for people: a candidate judges whether
//! the holder is silent by how long the *candidate* has not seen the lease change, so the clocks may differ.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::{api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::MicroTime};

/// The longest wait between two attempts, as a multiple of the retry period; as in client-go.
const JITTER: f64 = 1.2;

/// The identity of this process, and the times of the election, which all candidates should share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Unique to this process: the same pod, started again, has another one.
    identity: String,
    lease_duration: Duration,
    renew_deadline: Duration,
    retry_period: Duration,
}

impl Terms {
    /// Terms under which two candidates cannot lead at the same time, provided that their clocks run equally fast.
    ///
    /// # Errors
    /// When the times cannot guarantee that; the message says what to write instead.
    pub fn new(
        identity: String,
        lease_duration: Duration,
        renew_deadline: Duration,
        retry_period: Duration,
    ) -> Result<Self, String> {
        if lease_duration.subsec_nanos() > 0 || i32::try_from(lease_duration.as_secs()).is_err() {
            return Err(format!("the lease duration {lease_duration:?} must be in whole seconds, such as 15s"));
        }
        if renew_deadline >= lease_duration {
            return Err(format!(
                "the renew deadline {renew_deadline:?} must be shorter than the lease duration {lease_duration:?}: \
                 a leader that cannot renew must exit before another takes over"
            ));
        }
        if retry_period.is_zero() || retry_period.mul_f64(JITTER) >= renew_deadline {
            return Err(format!(
                "the retry period {retry_period:?} must be well below the renew deadline {renew_deadline:?}: \
                 a failed renewal must be retried within it"
            ));
        }
        Ok(Self { identity, lease_duration, renew_deadline, retry_period })
    }

    /// The identity of this process.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// How long after the sending of a renewal this process leads for certain.
    #[must_use]
    pub fn renew_deadline(&self) -> Duration {
        self.renew_deadline
    }

    /// The wait between two attempts to acquire the lease; `random` is from 0 to 999.
    #[must_use]
    pub fn pause(&self, random: u64) -> Duration {
        let thousandths = u32::try_from(random % 1000).unwrap_or(0);
        self.retry_period + self.retry_period.mul_f64(JITTER - 1.0) / 1000 * thousandths
    }

    /// The longest time between two attempts to acquire or to renew the lease, when the API server does not answer.
    #[must_use]
    pub fn turn(&self) -> Duration {
        self.renew_deadline + self.retry_period.mul_f64(JITTER)
    }

    /// The wait between two renewals.
    #[must_use]
    pub fn retry_period(&self) -> Duration {
        self.retry_period
    }

    fn holds(&self, lease: &LeaseSpec) -> bool {
        holder(lease) == Some(self.identity.as_str())
    }
}

/// The holder of a lease; none when the name is empty, which is how client-go releases a lease.
fn holder(lease: &LeaseSpec) -> Option<&str> {
    lease.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// What a candidate does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Candidacy {
    /// Try again later: another candidate leads, or may still lead.
    Wait {
        /// The identity in the lease.
        holder: String,
    },
    /// There is no lease: create this one. The API server refuses a second creation.
    Create(LeaseSpec),
    /// The lease has no holder, or its holder has been silent for too long: write this over the version that was read.
    Take(LeaseSpec),
}

/// The lease as a candidate saw it last, and since when it has not changed.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    last: Option<(LeaseSpec, Instant)>,
}

impl Observation {
    /// Decides from the lease, `None` when there is none. `now` is the monotonic clock, `wall` the time to write into the lease.
    pub fn next(&mut self, terms: &Terms, lease: Option<&LeaseSpec>, now: Instant, wall: Timestamp) -> Candidacy {
        if let Some(lease) = lease
            && self.last.as_ref().is_none_or(|(last, _)| last != lease)
        {
            self.last = Some((lease.clone(), now));
        }
        // The holder of a deleted lease leads until its next renewal fails, so this covers a missing lease too.
        if let Some((last, since)) = &self.last
            && let Some(holder) = holder(last)
            && !terms.holds(last)
            && now.duration_since(*since) < duration_of(last, terms)
        {
            return Candidacy::Wait { holder: holder.to_owned() };
        }
        match lease {
            Some(lease) => Candidacy::Take(next_spec(terms, Some(lease), wall)),
            None => Candidacy::Create(next_spec(terms, None, wall)),
        }
    }
}

/// The duration in the lease: the holder's own, which may differ from this process's during an upgrade.
fn duration_of(lease: &LeaseSpec, terms: &Terms) -> Duration {
    let seconds = lease.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
    seconds.map_or(terms.lease_duration, Duration::from_secs)
}

/// The lease when this process acquires or renews it.
#[must_use]
pub fn next_spec(terms: &Terms, before: Option<&LeaseSpec>, wall: Timestamp) -> LeaseSpec {
    let ours = before.filter(|lease| terms.holds(lease));
    LeaseSpec {
        holder_identity: Some(terms.identity.clone()),
        lease_duration_seconds: i32::try_from(terms.lease_duration.as_secs()).ok(),
        acquire_time: ours.and_then(|lease| lease.acquire_time.clone()).or(Some(MicroTime(wall))),
        renew_time: Some(MicroTime(wall)),
        lease_transitions: Some(before.map_or(0, |lease| {
            let transitions = lease.lease_transitions.unwrap_or(0);
            if ours.is_some() { transitions } else { transitions.saturating_add(1) }
        })),
        ..before.cloned().unwrap_or_default()
    }
}

/// The lease when this process releases it: without a holder, and with the count of its holders.
#[must_use]
pub fn released_spec(_: &Terms, held: Option<&LeaseSpec>, wall: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        // The least that the API server accepts.
        lease_duration_seconds: Some(1),
        acquire_time: Some(MicroTime(wall)),
        renew_time: Some(MicroTime(wall)),
        ..held.cloned().unwrap_or_default()
    }
}

/// Why this process has lost its lease.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// It was not renewed in time. Another instance may take it over at any moment.
    #[error("it could not be renewed for {} s, and another instance may take it over soon; last error: {trouble}", .after.as_secs_f64())]
    Silence {
        /// The renew deadline.
        after: Duration,
        /// The last error of a renewal.
        trouble: String,
    },
    /// Another instance holds it.
    #[error("{holder} holds it now")]
    Taken {
        /// The identity in the lease.
        holder: String,
    },
    /// Another client has cleared the holder.
    #[error("another client has removed this instance's name from it")]
    Cleared,
    /// Another client has deleted it.
    #[error("another client has deleted it")]
    Deleted,
}

/// Checks a lease that this process held when it wrote it last, after the API server reported that it has changed.
///
/// # Errors
/// When this process does not hold it any more.
pub fn still_ours(terms: &Terms, lease: Option<&LeaseSpec>) -> Result<(), Lost> {
    let lease = lease.ok_or(Lost::Deleted)?;
    match holder(lease) {
        Some(_) if terms.holds(lease) => Ok(()),
        Some(holder) => Err(Lost::Taken { holder: holder.to_owned() }),
        None => Err(Lost::Cleared),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn terms() -> Terms {
        Terms::new("us".into(), seconds(15), seconds(10), seconds(2)).unwrap()
    }

    fn wall(second: i8) -> Timestamp {
        format!("2026-11-25T04:00:{second:02}Z").parse().unwrap()
    }

    fn held_by(holder: &str, renewed: i8) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            acquire_time: Some(MicroTime(wall(0))),
            renew_time: Some(MicroTime(wall(renewed))),
            lease_transitions: Some(3),
            ..LeaseSpec::default()
        }
    }

    fn released(second: i8) -> LeaseSpec {
        released_spec(&terms(), Some(&held_by("them", 0)), wall(second))
    }

    fn wait(holder: &str) -> Candidacy {
        Candidacy::Wait { holder: holder.into() }
    }

    #[rstest]
    #[case::client_go_s_own(seconds(15), seconds(10), seconds(2), None)]
    #[case::half_a_second(Duration::from_millis(1500), seconds(1), Duration::from_millis(200), Some("whole seconds"))]
    #[case::longer_than_a_lease_can_hold(Duration::from_secs(1 << 40), seconds(10), seconds(2), Some("whole seconds"))]
    #[case::as_long_as_the_lease(seconds(10), seconds(10), seconds(2), Some("shorter than the lease duration"))]
    #[case::no_second_try(seconds(10), seconds(5), seconds(5), Some("well below the renew deadline"))]
    #[case::no_pause(seconds(10), seconds(5), seconds(0), Some("well below the renew deadline"))]
    fn terms_that_would_let_two_lead_are_refused(
        #[case] lease: Duration,
        #[case] renew: Duration,
        #[case] retry: Duration,
        #[case] refused: Option<&str>,
    ) {
        let made = Terms::new("us".into(), lease, renew, retry);
        match refused {
            None => assert!(made.is_ok(), "{made:?}"),
            Some(words) => assert!(made.as_ref().unwrap_err().contains(words), "{made:?}"),
        }
    }

    #[test]
    fn a_pause_is_never_shorter_than_the_period_and_at_most_a_fifth_longer() {
        let pauses: Vec<Duration> = [0, 500, 999, 1000].iter().map(|random| terms().pause(*random)).collect();
        assert!(pauses.iter().all(|pause| (seconds(2)..Duration::from_millis(2400)).contains(pause)), "{pauses:?}");
        assert!(pauses[0] < pauses[1] && pauses[1] < pauses[2] && pauses[0] == pauses[3], "{pauses:?}");
    }

    /// The lease at some seconds of the candidate's clock, and what the candidate does at the last one.
    #[rstest]
    #[case::there_is_none_yet(&[(0, None)], Candidacy::Create(LeaseSpec { lease_transitions: Some(0), acquire_time: Some(MicroTime(wall(59))), ..held_by("us", 59) }))]
    #[case::another_holds_it(&[(0, Some(held_by("them", 0)))], wait("them"))]
    // Its timestamps are hours old or in the future: they do not count, only whether it changes while it is observed.
    #[case::it_looks_stale_and_is_seen_for_the_first_time(&[(7200, Some(held_by("them", 0)))], wait("them"))]
    #[case::it_is_renewed(&[(0, Some(held_by("them", 0))), (14, Some(held_by("them", 14))), (28, Some(held_by("them", 14)))], wait("them"))]
    #[case::it_is_silent_but_not_for_long(&[(0, Some(held_by("them", 0))), (14, Some(held_by("them", 0)))], wait("them"))]
    #[case::it_is_silent_for_its_duration(&[(0, Some(held_by("them", 0))), (15, Some(held_by("them", 0)))],
        Candidacy::Take(LeaseSpec { lease_transitions: Some(4), acquire_time: Some(MicroTime(wall(59))), ..held_by("us", 59) }))]
    #[case::its_own_duration_counts_and_not_ours(
        &[(0, Some(LeaseSpec { lease_duration_seconds: Some(60), ..held_by("them", 0) })), (59, Some(LeaseSpec { lease_duration_seconds: Some(60), ..held_by("them", 0) }))],
        wait("them"))]
    #[case::without_a_duration_ours_counts(
        &[(0, Some(LeaseSpec { lease_duration_seconds: None, ..held_by("them", 0) })), (14, Some(LeaseSpec { lease_duration_seconds: None, ..held_by("them", 0) }))],
        wait("them"))]
    #[case::it_was_released(&[(0, Some(held_by("them", 0))), (1, Some(released(1)))],
        Candidacy::Take(LeaseSpec { lease_transitions: Some(4), acquire_time: Some(MicroTime(wall(59))), ..held_by("us", 59) }))]
    #[case::it_has_another_holder_now(&[(0, Some(held_by("them", 0))), (15, Some(held_by("others", 0)))], wait("others"))]
    // The answer to this process's own write was lost.
    #[case::it_is_ours_already(&[(0, Some(held_by("us", 0)))], Candidacy::Take(held_by("us", 59)))]
    #[case::it_was_deleted_under_a_holder(&[(0, Some(held_by("them", 0))), (14, None)], wait("them"))]
    #[case::it_was_deleted_longer_ago_than_its_duration(&[(0, Some(held_by("them", 0))), (15, None)],
        Candidacy::Create(LeaseSpec { lease_transitions: Some(0), acquire_time: Some(MicroTime(wall(59))), ..held_by("us", 59) }))]
    #[case::it_was_deleted_after_it_was_released(&[(0, Some(released(0))), (1, None)],
        Candidacy::Create(LeaseSpec { lease_transitions: Some(0), acquire_time: Some(MicroTime(wall(59))), ..held_by("us", 59) }))]
    fn a_candidate_waits_until_no_other_can_lead(#[case] looks: &[(u64, Option<LeaseSpec>)], #[case] expected: Candidacy) {
        let (mut observation, begin, mut found) = (Observation::default(), Instant::now(), None);
        for (second, lease) in looks {
            assert!(found.is_none() || matches!(found, Some(Candidacy::Wait { .. } | Candidacy::Take(_))));
            found = Some(observation.next(&terms(), lease.as_ref(), begin + seconds(*second), wall(59)));
        }
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn a_renewal_keeps_the_acquire_time_and_the_fields_of_other_clients() {
        let before = LeaseSpec { preferred_holder: Some("another".into()), ..held_by("us", 0) };
        let after = next_spec(&terms(), Some(&before), wall(2));
        assert_eq!(after, LeaseSpec { renew_time: Some(MicroTime(wall(2))), ..before });
    }

    #[test]
    fn a_released_lease_has_no_holder_and_keeps_its_count() {
        let released = released(9);
        assert_eq!((holder(&released), released.lease_transitions), (None, Some(3)));
        assert_eq!(released.holder_identity.as_deref(), Some(""), "as client-go has it");
    }

    #[rstest]
    #[case::ours(Some(held_by("us", 0)), Ok(()))]
    #[case::stolen(Some(held_by("them", 0)), Err(Lost::Taken { holder: "them".into() }))]
    #[case::cleared(Some(held_by("", 0)), Err(Lost::Cleared))]
    #[case::without_a_holder(Some(LeaseSpec::default()), Err(Lost::Cleared))]
    #[case::deleted(None, Err(Lost::Deleted))]
    fn a_lease_with_another_holder_is_lost(#[case] lease: Option<LeaseSpec>, #[case] expected: Result<(), Lost>) {
        assert_eq!(still_ours(&terms(), lease.as_ref()), expected);
    }
}
