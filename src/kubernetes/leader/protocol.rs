//! PURE: the protocol of client-go's leader election, so that any tool that knows that one knows this one. No client, no clock.
//!
//! The lease says who holds it, for how long that is meant, and when it was last renewed. Times in it are for people: whether a
//! holder has fallen silent is judged by how long *we* have not seen the lease change, so clocks may differ as they like.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::{api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::MicroTime};

/// A retry comes up to so much later than the period says, as with client-go.
const JITTER: f64 = 1.2;

/// Who we are, and the times that everybody who wants the lease should have alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Unique to this process: one that is started again is somebody else.
    identity: String,
    lease_duration: Duration,
    renew_deadline: Duration,
    retry_period: Duration,
}

impl Terms {
    /// Terms under which no two can lead at the same time while clocks run equally fast.
    ///
    /// # Errors
    /// When the times cannot guarantee that; what to write instead.
    pub fn new(
        identity: String,
        lease_duration: Duration,
        renew_deadline: Duration,
        retry_period: Duration,
    ) -> Result<Self, String> {
        if lease_duration.subsec_nanos() > 0 || i32::try_from(lease_duration.as_secs()).is_err() {
            return Err(format!("the lease duration is {lease_duration:?}, and a Lease has whole seconds; such as 15s"));
        }
        if renew_deadline >= lease_duration {
            return Err(format!(
                "the renew deadline {renew_deadline:?} must be shorter than the lease duration {lease_duration:?}: \
                 whoever cannot renew has to be gone before another takes over"
            ));
        }
        if retry_period.is_zero() || retry_period.mul_f64(JITTER) >= renew_deadline {
            return Err(format!(
                "the retry period {retry_period:?} must be well below the renew deadline {renew_deadline:?}: \
                 a request that fails has to be tried again within it"
            ));
        }
        Ok(Self { identity, lease_duration, renew_deadline, retry_period })
    }

    /// Who we are.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// For how long after a renewal was sent we lead for certain.
    #[must_use]
    pub fn renew_deadline(&self) -> Duration {
        self.renew_deadline
    }

    /// How long to wait between two looks; `random` is from 0 to 999.
    #[must_use]
    pub fn pause(&self, random: u64) -> Duration {
        let thousandths = u32::try_from(random % 1000).unwrap_or(0);
        self.retry_period + self.retry_period.mul_f64(JITTER - 1.0) / 1000 * thousandths
    }

    /// How often the holder renews.
    #[must_use]
    pub fn retry_period(&self) -> Duration {
        self.retry_period
    }

    fn holds(&self, lease: &LeaseSpec) -> bool {
        holder(lease) == Some(self.identity.as_str())
    }
}

/// Who holds a lease: an empty name is nobody's, that is how client-go lets go.
fn holder(lease: &LeaseSpec) -> Option<&str> {
    lease.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// What a candidate has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Candidacy {
    /// Look again later: somebody else leads, or may still do.
    Wait {
        /// Who.
        holder: String,
    },
    /// There is no lease: create it like this. Whoever comes second is told so by the API server.
    Create(LeaseSpec),
    /// Nobody holds it, or its holder has been silent for too long: write this over the version that was read.
    Take(LeaseSpec),
}

/// What a candidate has seen, and since when it has stood there unchanged.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    last: Option<(LeaseSpec, Instant)>,
}

impl Sight {
    /// Looks at the lease, `None` when there is none. `now` is our own clock, `wall` is what is written for people.
    pub fn look(&mut self, terms: &Terms, lease: Option<&LeaseSpec>, now: Instant, wall: Timestamp) -> Candidacy {
        if let Some(lease) = lease
            && self.last.as_ref().is_none_or(|(last, _)| last != lease)
        {
            self.last = Some((lease.clone(), now));
        }
        // A lease that somebody has deleted: its holder does not know that yet, and leads until it tries to renew.
        if let Some((last, since)) = &self.last
            && let Some(holder) = holder(last)
            && !terms.holds(last)
            && now.duration_since(*since) < promised(last, terms)
        {
            return Candidacy::Wait { holder: holder.to_owned() };
        }
        match lease {
            Some(lease) => Candidacy::Take(next_spec(terms, Some(lease), wall)),
            None => Candidacy::Create(next_spec(terms, None, wall)),
        }
    }
}

/// For how long the holder has said that it holds on without a renewal. It counts, and not our own: in an upgrade they may differ.
fn promised(lease: &LeaseSpec, terms: &Terms) -> Duration {
    let seconds = lease.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
    seconds.map_or(terms.lease_duration, Duration::from_secs)
}

/// What the lease is when we hold it from now on, or still.
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

/// What the lease is when we have let go: free for whoever comes first, with the count of those who held it.
#[must_use]
pub fn released_spec(_: &Terms, held: Option<&LeaseSpec>, wall: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        // The least that the API server takes.
        lease_duration_seconds: Some(1),
        acquire_time: Some(MicroTime(wall)),
        renew_time: Some(MicroTime(wall)),
        ..held.cloned().unwrap_or_default()
    }
}

/// Why a lease that we held is ours no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Nobody has taken it as far as we know, but somebody may at any moment.
    #[error("it could not be renewed for {} s, and another instance may take it over soon; the last trouble: {trouble}", .after.as_secs_f64())]
    Silence {
        /// The renew deadline.
        after: Duration,
        /// What kept us from renewing.
        trouble: String,
    },
    /// Somebody else holds it.
    #[error("{holder} holds it now")]
    Taken {
        /// Who.
        holder: String,
    },
    /// Somebody has cleared its holder.
    #[error("somebody has taken our name off it")]
    Cleared,
    /// Somebody has deleted it.
    #[error("somebody has deleted it")]
    Deleted,
}

/// Looks at a lease that we held when we last wrote it, after the API server has said that it has changed.
///
/// # Errors
/// When it is ours no more.
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
    #[case::longer_than_a_lease_can_say(Duration::from_secs(1 << 40), seconds(10), seconds(2), Some("whole seconds"))]
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

    /// What is seen, second by second of our own clock, and what a candidate does each time.
    #[rstest]
    #[case::there_is_none_yet(&[(0, None)], Candidacy::Create(LeaseSpec { lease_transitions: Some(0), acquire_time: Some(MicroTime(wall(59))), ..held_by("us", 59) }))]
    #[case::somebody_holds_it(&[(0, Some(held_by("them", 0)))], wait("them"))]
    // Its times are hours old, or in the future: they do not count, only whether it changes under our eyes.
    #[case::it_looks_stale_and_is_seen_for_the_first_time(&[(7200, Some(held_by("them", 0)))], wait("them"))]
    #[case::it_is_renewed(&[(0, Some(held_by("them", 0))), (14, Some(held_by("them", 14))), (28, Some(held_by("them", 14)))], wait("them"))]
    #[case::it_is_silent_but_not_for_long(&[(0, Some(held_by("them", 0))), (14, Some(held_by("them", 0)))], wait("them"))]
    #[case::it_is_silent_for_as_long_as_it_promised(&[(0, Some(held_by("them", 0))), (15, Some(held_by("them", 0)))],
        Candidacy::Take(LeaseSpec { lease_transitions: Some(4), acquire_time: Some(MicroTime(wall(59))), ..held_by("us", 59) }))]
    #[case::what_it_promised_counts_and_not_our_own_terms(
        &[(0, Some(LeaseSpec { lease_duration_seconds: Some(60), ..held_by("them", 0) })), (59, Some(LeaseSpec { lease_duration_seconds: Some(60), ..held_by("them", 0) }))],
        wait("them"))]
    #[case::without_a_promise_our_own_terms_count(
        &[(0, Some(LeaseSpec { lease_duration_seconds: None, ..held_by("them", 0) })), (14, Some(LeaseSpec { lease_duration_seconds: None, ..held_by("them", 0) }))],
        wait("them"))]
    #[case::it_was_released(&[(0, Some(held_by("them", 0))), (1, Some(released(1)))],
        Candidacy::Take(LeaseSpec { lease_transitions: Some(4), acquire_time: Some(MicroTime(wall(59))), ..held_by("us", 59) }))]
    #[case::it_has_another_holder_now(&[(0, Some(held_by("them", 0))), (15, Some(held_by("others", 0)))], wait("others"))]
    // The answer to our own write was lost.
    #[case::it_is_ours_already(&[(0, Some(held_by("us", 0)))], Candidacy::Take(held_by("us", 59)))]
    #[case::it_was_deleted_under_a_holder(&[(0, Some(held_by("them", 0))), (14, None)], wait("them"))]
    #[case::it_was_deleted_and_the_holder_must_have_seen_that(&[(0, Some(held_by("them", 0))), (15, None)],
        Candidacy::Create(LeaseSpec { lease_transitions: Some(0), acquire_time: Some(MicroTime(wall(59))), ..held_by("us", 59) }))]
    #[case::it_was_deleted_after_it_was_released(&[(0, Some(released(0))), (1, None)],
        Candidacy::Create(LeaseSpec { lease_transitions: Some(0), acquire_time: Some(MicroTime(wall(59))), ..held_by("us", 59) }))]
    fn a_candidate_waits_until_nobody_can_lead_any_more(#[case] looks: &[(u64, Option<LeaseSpec>)], #[case] expected: Candidacy) {
        let (mut sight, begin, mut found) = (Sight::default(), Instant::now(), None);
        for (second, lease) in looks {
            assert!(found.is_none() || matches!(found, Some(Candidacy::Wait { .. } | Candidacy::Take(_))));
            found = Some(sight.look(&terms(), lease.as_ref(), begin + seconds(*second), wall(59)));
        }
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn a_renewal_keeps_since_when_it_is_held_and_what_others_have_written_beside_it() {
        let before = LeaseSpec { preferred_holder: Some("another".into()), ..held_by("us", 0) };
        let after = next_spec(&terms(), Some(&before), wall(2));
        assert_eq!(after, LeaseSpec { renew_time: Some(MicroTime(wall(2))), ..before });
    }

    #[test]
    fn a_released_lease_is_free_and_counts_on() {
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
    fn a_lease_with_another_name_on_it_is_lost(#[case] lease: Option<LeaseSpec>, #[case] expected: Result<(), Lost>) {
        assert_eq!(still_ours(&terms(), lease.as_ref()), expected);
    }
}
