//! Rates, and how long a backlog lasts at them.

use jiff::SignedDuration;

use crate::{
    api::ForecastUnknown,
    machine::facts::{PerPartition, Progress, TimestampMatch, TopicPartition},
};

/// Over how long it is counted what was produced.
pub const PRODUCED_OVER: SignedDuration = SignedDuration::from_mins(10);

/// The longest time that a forecast says: whatever takes longer takes at least this.
const LONGEST: SignedDuration = SignedDuration::from_hours(1_000_000);

/// So many records in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::machine) struct Rate {
    records: i64,
    millis: i64,
}

impl Rate {
    /// A rate over a time of at least a millisecond.
    pub fn new(records: i64, over: SignedDuration) -> Self {
        Self { records: records.max(0), millis: i64::try_from(over.as_millis()).unwrap_or(i64::MAX).max(1) }
    }

    /// In records per minute, rounded down.
    pub fn per_minute(self) -> i64 {
        let found = i128::from(self.records) * 60_000 / i128::from(self.millis);
        i64::try_from(found).unwrap_or(i64::MAX)
    }

    /// How fast a backlog shrinks, as the records in as many milliseconds.
    fn above(self, other: Self) -> (i128, i128) {
        let (own, others) = (i128::from(self.records), i128::from(other.records));
        let (own_time, others_time) = (i128::from(self.millis), i128::from(other.millis));
        (own * others_time - others * own_time, own_time * others_time)
    }

    /// The faster one.
    pub fn faster(self, other: Self) -> Self {
        if self.above(other).0 >= 0 { self } else { other }
    }
}

/// How long it takes until a backlog is gone; "never" is the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::machine) enum CatchUp {
    /// At least so long.
    AtLeast(SignedDuration),
    /// At least as much is produced as is consumed.
    Never,
}

/// How long a backlog takes at least, in whole seconds, if nobody consumes faster and at least as much is produced.
pub(in crate::machine) fn catch_up(backlog: i64, consumed: Rate, produced: Option<Rate>) -> CatchUp {
    if backlog <= 0 {
        return CatchUp::AtLeast(SignedDuration::ZERO);
    }
    // What is not known makes a bound lower, and never higher.
    let produced = produced.unwrap_or(Rate { records: 0, millis: 1 });
    let (records, millis) = consumed.above(produced);
    if records <= 0 {
        return CatchUp::Never;
    }
    let seconds = i128::from(backlog).saturating_mul(millis) / records / 1_000;
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX).min(LONGEST.as_secs());
    CatchUp::AtLeast(SignedDuration::from_secs(seconds))
}

/// What was produced on a partition, from the first record of the last minutes. A record that has arrived since the end was read
/// does not count.
pub(super) fn produced(recent: &PerPartition<Option<TimestampMatch>>, at: &TopicPartition, log_end: i64) -> Option<Rate> {
    let first = recent.get(at)?.as_ref().ok()?;
    let records = first.map_or(0, |first| log_end.saturating_sub(first.offset));
    Some(Rate::new(records, PRODUCED_OVER))
}

/// How fast the group consumes from a partition at most, as long as its consumers work as they were seen to.
///
/// Only consumers with a backlog during the whole measurement work at full speed: those that have consumed everything wait for
/// producers, and would consume faster after a reset. A backlog that is smaller than what was consumed in the meantime may be no
/// more than the records since the last commit.
///
/// # Errors
/// Why the speed is not known.
pub(super) fn speed(progress: &Progress, log_end: i64) -> Result<Rate, ForecastUnknown> {
    let (records, time) = progress.between_commits().ok_or(ForecastUnknown::FewCommits)?;
    if log_end.saturating_sub(progress.last()) < records {
        return Err(ForecastUnknown::NoBacklog);
    }
    Ok(Rate::new(records, time))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn in_a_minute(records: i64) -> Rate {
        Rate::new(records, SignedDuration::from_mins(1))
    }

    #[rstest]
    #[case::nothing_is_produced(6_000, 600, Some(0), Some(600))]
    #[case::half_of_it_is_produced(6_000, 600, Some(300), Some(1_200))]
    #[case::production_is_not_known(6_000, 600, None, Some(600))]
    #[case::rounded_down(100, 601, Some(0), Some(9))]
    #[case::as_much_is_produced(1, 600, Some(600), None)]
    #[case::more_is_produced(1, 600, Some(601), None)]
    #[case::nothing_to_do(0, 0, Some(600), Some(0))]
    #[case::nothing_is_consumed(1, 0, Some(0), None)]
    #[case::beyond_all_measure(i64::MAX, 1, Some(0), Some(3_600_000_000))]
    fn a_backlog_lasts_as_long_as_consumption_exceeds_production(
        #[case] backlog: i64,
        #[case] consumed: i64,
        #[case] produced: Option<i64>,
        #[case] seconds: Option<i64>,
    ) {
        let found = catch_up(backlog, in_a_minute(consumed), produced.map(in_a_minute));
        let expected = seconds.map_or(CatchUp::Never, |seconds| CatchUp::AtLeast(SignedDuration::from_secs(seconds)));
        assert_eq!(found, expected);
        assert!(found <= CatchUp::Never);
    }

    #[test]
    fn the_faster_of_two_rates_is_found_whatever_their_times_are() {
        let (slow, fast) = (Rate::new(10, SignedDuration::from_secs(10)), Rate::new(3, SignedDuration::from_secs(2)));
        assert_eq!((slow.faster(fast), fast.faster(slow)), (fast, fast));
        assert_eq!((slow.per_minute(), fast.per_minute()), (60, 90));
    }

    /// Two commits five seconds apart, as far as the looks can tell.
    fn committed(from: i64, to: i64) -> Progress {
        let at = SignedDuration::from_secs;
        let mut progress = Progress::from(0);
        for (second, committed) in [(1, from), (2, from), (3, from), (4, from), (5, from), (6, from), (7, to)] {
            progress.look(at(second), at(second), committed);
        }
        progress
    }

    #[rstest]
    #[case::with_a_backlog(1_200, Ok(100 * 60 / 5))]
    #[case::with_just_enough(300, Ok(100 * 60 / 5))]
    #[case::that_is_no_more_than_the_last_commit(299, Err(ForecastUnknown::NoBacklog))]
    #[case::at_the_end(200, Err(ForecastUnknown::NoBacklog))]
    fn only_consumers_with_a_backlog_show_their_speed(#[case] log_end: i64, #[case] per_minute: Result<i64, ForecastUnknown>) {
        assert_eq!(speed(&committed(100, 200), log_end).map(Rate::per_minute), per_minute);
    }

    #[test]
    fn one_commit_shows_no_speed() {
        assert_eq!(speed(&committed(100, 100), 10_000), Err(ForecastUnknown::FewCommits));
    }

    #[rstest]
    #[case::since_a_record(Some(40), Some(6))]
    #[case::none_that_young(None, Some(0))]
    #[case::after_the_end_was_read(Some(101), Some(0))]
    fn what_was_produced_is_counted_up_to_the_end_that_the_plan_has(#[case] first: Option<i64>, #[case] per_minute: Option<i64>) {
        let at = TopicPartition::new("orders", 0);
        let first = first.map(|offset| TimestampMatch { offset, timestamp: 7 });
        let recent = PerPartition::from([(at.clone(), Ok(first))]);
        assert_eq!(produced(&recent, &at, 100).map(Rate::per_minute), per_minute);
        assert_eq!(produced(&recent, &TopicPartition::new("orders", 1), 100), None, "unknown is not nothing");
    }
}
