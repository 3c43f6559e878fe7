//! How fast the group catches up after the reset: what is measured takes the place of the forecast.

use jiff::SignedDuration;

use super::consumption::is_looked_at;
use crate::api::{CatchUpResult, CatchUpStatus, OffsetResetStatus};
use crate::machine::{
    facts::{AfterResetSeen, KafkaSeen, TopicPartition},
    pass::Pass,
    plan::forecast::{CatchUp, Rate, catch_up},
    time::{as_in_spec, later},
};

/// How long after the restore it is measured at most.
const LONGEST: SignedDuration = SignedDuration::from_mins(5);

/// The pauses between two looks: the longer it takes, the longer they are, for each look is a few requests and a status.
const SHORTEST_PAUSE: SignedDuration = SignedDuration::from_secs(5);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(60);

/// For how long rates are measured until they are said: consumers commit every 5 seconds by default.
const ENOUGH: SignedDuration = SignedDuration::from_secs(10);

/// Records over all partitions that were reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sums {
    /// Those from the targets on that the group has consumed.
    consumed: i64,
    /// Those that it has not.
    lag: i64,
}

/// Whether it is still measured.
pub(in crate::machine) fn is_measured(status: &OffsetResetStatus) -> bool {
    let catch_up = status.consumption.as_ref().and_then(|consumption| consumption.catch_up.as_ref());
    catch_up.is_some_and(|catch_up| catch_up.result.is_none())
}

/// Measures from the offsets that this look has read, and returns whether nothing more is to be measured. `over`: the operator looks
/// for the last time.
pub(super) fn look(pass: &mut Pass<'_>, over: bool) -> bool {
    let over = over || pass.status.restored_at().is_none_or(|at| pass.now >= later(at, LONGEST));
    let sums = match &pass.seen.kafka {
        KafkaSeen::AfterReset(seen) => sums(&pass.status, seen),
        KafkaSeen::NotAsked | KafkaSeen::Failed(_) | KafkaSeen::ForPlan(_) | KafkaSeen::ForCommit(_) | KafkaSeen::Group(_) => {
            None
        }
    };
    let now = pass.instant();
    let Some(consumption) = &mut pass.status.consumption else { return true };
    // What another client has committed says nothing about the consumers.
    let over = over || consumption.overwritten > 0;
    match (&mut consumption.catch_up, sums) {
        (None, Some(found)) if consumption.continued > 0 && !over => {
            consumption.catch_up = Some(CatchUpStatus {
                start_time: now.clone(),
                consumed_at_start: found.consumed,
                lag_at_start: found.lag,
                time: now,
                consumed: found.consumed,
                lag: found.lag,
                consumed_per_minute: None,
                produced_per_minute: None,
                left_at_least: None,
                result: (found.lag == 0).then_some(CatchUpResult::CaughtUp),
            });
        }
        (None, _) => return true,
        (Some(known), Some(found)) if known.result.is_none() => {
            let since = now.0.duration_since(known.time.0);
            // A look that another change has brought forward adds nothing, and its status would bring forward the next one.
            if since >= SHORTEST_PAUSE || over || found.lag == 0 {
                let caught_up = found.lag == 0 || found.consumed >= known.consumed.saturating_add(known.lag);
                (known.time, known.consumed, known.lag) = (now, found.consumed, found.lag);
                measure(known);
                let over = over.then_some(CatchUpResult::TimeOver);
                known.result = if caught_up { Some(CatchUpResult::CaughtUp) } else { over };
            }
        }
        (Some(known), None) if over => known.result = known.result.or(Some(CatchUpResult::TimeOver)),
        (Some(_), _) => {}
    }
    !is_measured(&pass.status)
}

/// The pause until the next look.
pub(super) fn pause(pass: &Pass<'_>) -> SignedDuration {
    let catch_up = pass.status.consumption.as_ref().and_then(|consumption| consumption.catch_up.as_ref());
    let since = catch_up.map_or(SignedDuration::ZERO, |catch_up| pass.now.duration_since(catch_up.start_time.0));
    since.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

/// The sums; `None` unless every partition has its answers: unknown is not nothing.
fn sums(status: &OffsetResetStatus, seen: &AfterResetSeen) -> Option<Sums> {
    let mut sums = Sums { consumed: 0, lag: 0 };
    for partition in status.partitions.iter().filter(|partition| is_looked_at(partition)) {
        let at = TopicPartition::new(&partition.topic, partition.partition);
        let committed = seen.committed.get(&at)?.as_ref().ok()?.as_ref()?.offset;
        let end = seen.bounds.get(&at)?.as_ref().ok()?.end;
        let target = partition.target_offset.unwrap_or(committed);
        sums.consumed = sums.consumed.saturating_add(committed.saturating_sub(target).max(0));
        sums.lag = sums.lag.saturating_add(end.saturating_sub(committed).max(0));
    }
    Some(sums)
}

/// The rates since the beginning, and how long the rest takes at them.
fn measure(known: &mut CatchUpStatus) {
    let time = known.time.0.duration_since(known.start_time.0);
    if time < ENOUGH {
        return;
    }
    let consumed = known.consumed.saturating_sub(known.consumed_at_start);
    let produced = consumed.saturating_add(known.lag).saturating_sub(known.lag_at_start);
    let (consumed, produced) = (Rate::new(consumed, time), Rate::new(produced, time));
    known.consumed_per_minute = Some(consumed.per_minute());
    known.produced_per_minute = Some(produced.per_minute());
    known.left_at_least = match catch_up(known.lag, consumed, Some(produced)) {
        CatchUp::AtLeast(left) if known.lag > 0 => Some(as_in_spec(left)),
        CatchUp::AtLeast(_) | CatchUp::Never => None,
    };
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{
        api::{ConsumptionStatus, PartitionOutcome, Phase},
        machine::{
            facts::GroupState,
            tests::{after_reset, at, committed, error, gone, group_in, micro, seen, status_in},
        },
    };

    /// A reset of two partitions to offset 10 of 100, which was restored at 100 s, and whose group has consumed from both.
    fn restored() -> OffsetResetStatus {
        let mut status = status_in(Phase::Succeeded);
        status.hold.as_mut().unwrap().end_time = Some(micro(100));
        status.partitions.iter_mut().for_each(|partition| partition.outcome = PartitionOutcome::Reset);
        status.consumption = Some(ConsumptionStatus { continued: 2, ..ConsumptionStatus::default() });
        status
    }

    /// Looks at these seconds after the restore, with these committed offsets of each partition.
    fn looks(looks: &[(i64, i64)]) -> (bool, OffsetResetStatus) {
        let (mut status, mut done) = (restored(), false);
        for (second, offset) in looks {
            let kafka = after_reset(group_in(GroupState::Stable, 3), &committed(*offset, ""));
            let observed = seen(gone(), kafka);
            let mut pass = Pass::new(&status, &observed, at(100 + second));
            done = look(&mut pass, false);
            status = pass.status;
        }
        (done, status)
    }

    fn measured(of: &[(i64, i64)]) -> (bool, CatchUpStatus) {
        let (done, status) = looks(of);
        (done, status.consumption.unwrap().catch_up.unwrap())
    }

    #[rstest]
    #[case::begins(&[(5, 20)], false, (20, 160), None, None)]
    #[case::too_short_for_rates(&[(5, 20), (14, 30)], false, (40, 140), None, None)]
    #[case::rates(&[(5, 20), (25, 40)], false, (60, 120), Some((120, 0)), None)]
    #[case::brought_forward(&[(5, 20), (25, 40), (27, 50)], false, (60, 120), Some((120, 0)), None)]
    #[case::caught_up(&[(5, 20), (25, 100)], true, (180, 0), Some((480, 0)), Some(CatchUpResult::CaughtUp))]
    #[case::at_once(&[(5, 100)], true, (180, 0), None, Some(CatchUpResult::CaughtUp))]
    #[case::five_minutes(&[(5, 20), (300, 40)], true, (60, 120), Some((8, 0)), Some(CatchUpResult::TimeOver))]
    fn what_is_consumed_is_measured_until_the_lag_is_gone_or_five_minutes_are_over(
        #[case] of: &[(i64, i64)],
        #[case] done: bool,
        #[case] sums: (i64, i64),
        #[case] rates: Option<(i64, i64)>,
        #[case] result: Option<CatchUpResult>,
    ) {
        let (is_done, found) = measured(of);
        assert_eq!((is_done, (found.consumed, found.lag), found.result), (done, sums, result), "{found:?}");
        assert_eq!(found.consumed_per_minute.zip(found.produced_per_minute), rates);
    }

    #[test]
    fn the_rest_takes_as_long_as_the_lag_shrinks() {
        // 40 of 160 records in 20 seconds.
        let (_, found) = measured(&[(5, 20), (25, 40)]);
        assert_eq!(found.left_at_least.as_deref(), Some("1m"));
        let (_, found) = measured(&[(5, 20), (25, 20)]);
        assert_eq!((found.consumed_per_minute, found.left_at_least), (Some(0), None), "it never catches up");
    }

    #[test]
    fn a_group_that_has_consumed_all_that_was_there_has_caught_up_though_more_has_come() {
        let mut known = looks(&[(5, 20), (25, 90)]).1;
        let catch_up = known.consumption.as_mut().unwrap().catch_up.as_mut().unwrap();
        // All but one record of each partition has come since that look.
        (catch_up.consumed, catch_up.lag) = (160, 18);
        let observed = seen(gone(), after_reset(group_in(GroupState::Stable, 3), &committed(99, "")));
        let mut pass = Pass::new(&known, &observed, at(135));
        assert!(look(&mut pass, false));
        let found = pass.status.consumption.unwrap().catch_up.unwrap();
        assert_eq!((found.lag, found.result), (2, Some(CatchUpResult::CaughtUp)));
    }

    #[test]
    fn an_offset_that_cannot_be_read_counts_as_nothing() {
        let status = looks(&[(5, 20)]).1;
        let unread = after_reset(group_in(GroupState::Stable, 3), &Err(error(crate::machine::facts::KafkaErrorKind::Timeout)));
        let observed = seen(gone(), unread);
        let mut pass = Pass::new(&status, &observed, at(130));
        assert!(!look(&mut pass, false));
        assert_eq!(pass.status.consumption, status.consumption);
        assert!(look(&mut pass, true), "the operator looks for the last time");
        assert_eq!(pass.status.consumption.unwrap().catch_up.unwrap().result, Some(CatchUpResult::TimeOver));
    }
}
