//! What is read for the forecast of a plan: rates, and how long topics keep their records.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::kafka::{KafkaError, PerPartition, TimestampMatch, TopicPartition};

/// How long a topic keeps its records, from its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicConfig {
    /// `retention.ms`, in milliseconds; `None` where records do not expire: it is -1, or `cleanup.policy` lacks `delete`.
    pub retention_ms: Option<i64>,
    /// Whether `cleanup.policy` has `compact`: then the log has fewer records than offsets.
    pub compacted: bool,
}

impl TopicConfig {
    /// From the values of a topic's configuration, which the broker reports with its defaults.
    #[must_use]
    pub fn of<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Self {
        let has = |policy: &str| value("cleanup.policy").is_some_and(|all| all.split(',').any(|one| one.trim() == policy));
        let retention_ms = value("retention.ms").and_then(|text| text.parse().ok()).filter(|millis| *millis >= 0);
        Self { retention_ms: retention_ms.filter(|_| has("delete")), compacted: has("compact") }
    }
}

/// What was read for the forecast of a plan. What is missing was not asked for, or not answered: a forecast never fails a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForecastSeen {
    /// The first record of the last ten minutes, looked up after the bounds.
    pub recent: PerPartition<Option<TimestampMatch>>,
    /// The configuration of each topic, or why it may not be read.
    pub configs: BTreeMap<String, Result<TopicConfig, KafkaError>>,
    /// For each partition of a topic whose records expire: the first record that retention keeps until the hold has ended. A partition
    /// whose record at the target is known to be kept is not looked up, and left out.
    pub kept: PerPartition<Option<TimestampMatch>>,
    /// Whether the rate of consumption was measured, where there was a backlog.
    pub measured: bool,
    /// The commits on the partitions on which the group had a backlog.
    pub progress: BTreeMap<TopicPartition, Progress>,
}

/// The commits of a group on a partition, as looks at short intervals show them. Times are counted from the first look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    last: i64,
    last_asked: SignedDuration,
    first: Option<(i64, SignedDuration)>,
    latest: Option<(i64, SignedDuration)>,
}

impl Progress {
    /// From the first committed offset that was read.
    #[must_use]
    pub fn from(committed: i64) -> Self {
        Self { last: committed, last_asked: SignedDuration::ZERO, first: None, latest: None }
    }

    /// Adds a look: what was committed at a moment between the request and its answer.
    pub fn look(&mut self, asked: SignedDuration, answered: SignedDuration, committed: i64) {
        if committed != self.last {
            match self.first {
                // It was committed no later than the answer came.
                None => self.first = Some((committed, answered)),
                // It was committed no sooner than the look before, which has not seen it.
                Some(_) => self.latest = Some((committed, self.last_asked)),
            }
            self.last = committed;
        }
        self.last_asked = asked;
    }

    /// What the consumers did between the first commit that was seen and the last one: so many records in at least that time. So the
    /// quotient is not below their speed. `None` when not two commits were seen, or too close together to tell.
    #[must_use]
    pub fn between_commits(&self) -> Option<(i64, SignedDuration)> {
        let ((from, begin), (to, end)) = (self.first?, self.latest?);
        let time = end.checked_sub(begin).filter(SignedDuration::is_positive)?;
        (to > from).then_some((to.saturating_sub(from), time))
    }

    /// The last committed offset that was seen.
    #[must_use]
    pub fn last(&self) -> i64 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::usual("delete", "604800000", Some(604_800_000), false)]
    #[case::unlimited("delete", "-1", None, false)]
    #[case::compacted("compact", "604800000", None, true)]
    #[case::both("compact, delete", "1000", Some(1_000), true)]
    #[case::without_a_number("delete", "soon", None, false)]
    fn records_expire_where_the_policy_deletes_and_retention_is_limited(
        #[case] policy: &str,
        #[case] retention: &str,
        #[case] retention_ms: Option<i64>,
        #[case] compacted: bool,
    ) {
        let found = TopicConfig::of(|name| match name {
            "cleanup.policy" => Some(policy),
            "retention.ms" => Some(retention),
            _ => None,
        });
        assert_eq!(found, TopicConfig { retention_ms, compacted });
    }

    fn at(millis: i64) -> SignedDuration {
        SignedDuration::from_millis(millis)
    }

    #[rstest]
    #[case::no_commit(&[100, 100, 100], None)]
    #[case::one_commit(&[100, 200, 200, 200], None)]
    #[case::two_commits_in_a_row(&[100, 200, 300], None)]
    #[case::every_look(&[100, 200, 300, 400, 500], Some((300, 990)))]
    #[case::every_third_look(&[100, 100, 250, 250, 250, 400, 400], Some((150, 990)))]
    #[case::back_by_another_client(&[500, 600, 600, 600, 100], None)]
    fn the_time_between_two_commits_is_never_longer_than_it_was(#[case] looks: &[i64], #[case] expected: Option<(i64, i64)>) {
        let mut progress = Progress::from(looks[0]);
        for (index, committed) in (1..).zip(&looks[1..]) {
            // Asked every half a second, and answered ten milliseconds later.
            progress.look(at(index * 500), at(index * 500 + 10), *committed);
        }
        assert_eq!(progress.between_commits(), expected.map(|(records, millis)| (records, at(millis))));
    }
}
