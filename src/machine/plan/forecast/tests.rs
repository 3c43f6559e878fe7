//! The forecast over a plan of two partitions with 2,010 records each, from offset 50 back to offset 10.

use rstest::rstest;

use super::*;
use crate::api::Reason;
use crate::machine::{
    facts::{Bounds, PerPartition, Progress, TimestampMatch},
    plan::plan,
    request::{Entry, Goal, Partitions, Scope, Work},
    tests::{at, error, group_in, per_partition, plan_seen, request, tp},
};

const END: i64 = 2_010;

/// What a dry run reads, with these commits.
fn seen(progress: &[(i32, Progress)]) -> PlanSeen {
    let progress = progress.iter().map(|(partition, progress)| (tp(*partition), *progress)).collect();
    let bounds = per_partition(&Ok(Bounds { start: 0, end: END }));
    PlanSeen { bounds, forecast: ForecastSeen { measured: true, progress, ..ForecastSeen::default() }, ..plan_seen() }
}

/// So many records between two commits, five seconds apart.
fn progress(records: i64) -> Progress {
    let (second, from) = (SignedDuration::from_secs, 50);
    let mut progress = Progress::from(from - 1);
    for look in 1..7 {
        progress.look(second(look), second(look), from);
    }
    progress.look(second(7), second(7), from + records);
    progress
}

fn dry_run() -> Request {
    Request { dry_run: true, ..request() }
}

fn forecast_of(request: &Request, seen: &PlanSeen) -> Forecast {
    forecast(request, &plan(request, seen).unwrap().partitions, seen, at(1_000_000))
}

fn total(seen: &PlanSeen) -> ForecastOf {
    forecast_of(&dry_run(), seen).status.unwrap().total
}

fn first_at(offset: i64) -> PerPartition<Option<TimestampMatch>> {
    per_partition(&Ok(Some(TimestampMatch { offset, timestamp: 0 })))
}

#[rstest]
#[case::nothing_is_produced(0, Some("1m40s"), false)]
#[case::half_of_it_is_produced(6_000, Some("3m20s"), false)]
#[case::as_much_is_produced(12_000, None, true)]
#[case::more_is_produced(20_000, None, true)]
fn the_bound_is_that_of_the_partition_that_takes_longest(
    #[case] in_ten_minutes: i64,
    #[case] bound: Option<&str>,
    #[case] never: bool,
) {
    // 20 and 100 records a second.
    let mut seen = seen(&[(0, progress(100)), (1, progress(500))]);
    seen.forecast.recent = first_at(END - in_ten_minutes);
    let found = total(&seen);
    assert_eq!((found.catch_up_at_least.as_deref(), found.never_catches_up, found.unknown), (bound, never, None));
    assert_eq!(
        (found.backlog, found.produced_per_minute, found.consumed_per_minute),
        (4_000, Some(in_ten_minutes / 5), Some(7_200))
    );
    let said = forecast_of(&dry_run(), &seen);
    assert_eq!(said.warnings.iter().any(|warning| warning.contains("does not catch up on orders")), never, "{said:?}");
    assert!(never || said.summary.starts_with(&format!("The group takes at least {}", bound.unwrap())), "{}", said.summary);
}

fn without_members(seen: &mut PlanSeen) {
    seen.group = group_in(GroupState::Empty, 0);
}

fn in_a_rebalance(seen: &mut PlanSeen) {
    seen.group = group_in(GroupState::PreparingRebalance, 3);
}

fn compacted(seen: &mut PlanSeen) {
    let config = TopicConfig { retention_ms: None, compacted: true };
    seen.forecast.configs.insert("orders".into(), Ok(config));
}

fn with_all_consumed(seen: &mut PlanSeen) {
    seen.forecast.progress.clear();
}

fn with_few_commits(seen: &mut PlanSeen) {
    seen.forecast.progress.values_mut().for_each(|progress| *progress = Progress::from(50));
}

fn with_no_more_than_the_last_commit(seen: &mut PlanSeen) {
    seen.forecast.progress.values_mut().for_each(|progress| *progress = self::progress(1_500));
}

fn unmeasured(seen: &mut PlanSeen) {
    seen.forecast = ForecastSeen { recent: first_at(END), ..ForecastSeen::default() };
}

#[rstest]
#[case::no_members(without_members, ForecastUnknown::NoMembers, true)]
#[case::a_rebalance(in_a_rebalance, ForecastUnknown::NoMembers, true)]
#[case::compacted(compacted, ForecastUnknown::Compacted, false)]
#[case::all_consumed(with_all_consumed, ForecastUnknown::NoBacklog, false)]
#[case::only_what_is_not_committed_yet(with_no_more_than_the_last_commit, ForecastUnknown::NoBacklog, false)]
#[case::few_commits(with_few_commits, ForecastUnknown::FewCommits, false)]
#[case::not_measured(unmeasured, ForecastUnknown::NotMeasured, true)]
fn where_the_speed_is_not_known_no_number_is_said_and_a_limit_refuses(
    #[case] change: fn(&mut PlanSeen),
    #[case] unknown: ForecastUnknown,
    #[case] passes: bool,
) {
    let mut seen = seen(&[(0, progress(100)), (1, progress(100))]);
    change(&mut seen);
    let found = total(&seen);
    assert_eq!((found.catch_up_at_least, found.never_catches_up, found.unknown), (None, false, Some(unknown)));
    assert_eq!(forecast_of(&dry_run(), &seen).refusal, None, "without a limit");
    let limited = Request { max_catch_up: Some(SignedDuration::from_hours(1)), ..dry_run() };
    let refusal = forecast_of(&limited, &seen).refusal.unwrap();
    assert_eq!((refusal.reason, refusal.transient), (Reason::CatchUpUnknown, passes), "{}", refusal.message);
}

#[rstest]
#[case::below(101, None)]
#[case::equal(100, None)]
#[case::above(99, Some("The group takes at least 1m40s to catch up, and limits.maxCatchUp is 1m39s"))]
fn a_limit_is_compared_with_the_bound(#[case] limit: i64, #[case] refused: Option<&str>) {
    let seen = seen(&[(0, progress(100)), (1, progress(500))]);
    let request = Request { max_catch_up: Some(SignedDuration::from_secs(limit)), ..request() };
    let found = forecast_of(&request, &seen).refusal;
    assert_eq!(found.as_ref().map(|refusal| refusal.message.summary()), refused);
    assert!(found.is_none_or(|refusal| refusal.reason == Reason::LimitExceeded && !refusal.transient));
}

#[test]
fn a_group_that_never_catches_up_exceeds_every_limit() {
    let mut seen = seen(&[(0, progress(100)), (1, progress(500))]);
    seen.forecast.recent = first_at(END - 12_000);
    let request = Request { max_catch_up: Some(SignedDuration::from_hours(8_760)), ..request() };
    let refusal = forecast_of(&request, &seen).refusal.unwrap();
    assert_eq!(refusal.message.summary(), "The group never catches up, and limits.maxCatchUp is 8760h");
}

#[test]
fn the_fastest_partition_of_a_topic_stands_for_one_without_a_backlog() {
    let found = total(&seen(&[(1, progress(500))]));
    assert_eq!((found.catch_up_at_least.as_deref(), found.unknown), (Some("20s"), None));
}

#[rstest]
#[case::all_are_kept(Some(0), 0)]
#[case::those_before_it_expire(Some(110), 200)]
#[case::it_has_arrived_since(Some(END + 5), 4_000)]
#[case::none_is_kept(None, 4_000)]
fn records_from_the_target_on_that_retention_does_not_keep_are_warned_of(#[case] kept: Option<i64>, #[case] expiring: i64) {
    let mut seen = seen(&[]);
    let config = TopicConfig { retention_ms: Some(3_600_000), compacted: false };
    seen.forecast.configs.insert("orders".into(), Ok(config));
    seen.forecast.kept = per_partition(&Ok(kept.map(|offset| TimestampMatch { offset, timestamp: 0 })));
    let found = forecast_of(&dry_run(), &seen);
    assert_eq!(found.status.unwrap().total.expiring, expiring);
    let words = format!(
        "{expiring} records from the target on may expire before the consumers reach them, on partitions 0-1 of topic orders"
    );
    assert_eq!(found.warnings.iter().any(|warning| warning.starts_with(&words)), expiring > 0, "{:?}", found.warnings);
}

/// The times of a log's records from offset 0, out of order. Retention keeps those of 5 and later.
const OUT_OF_ORDER: [i64; 6] = [3, 5, 4, 7, 2, 9];

/// The first record at or after a time, as a broker finds it.
fn first_since(since: i64) -> Option<TimestampMatch> {
    let found = (0..).zip(OUT_OF_ORDER).find(|(_, time)| *time >= since);
    found.map(|(offset, timestamp)| TimestampMatch { offset, timestamp })
}

/// A plan to a timestamp in that log, which begins at `start`.
fn by_time(timestamp: i64, start: i64) -> PartitionStatus {
    let work = Work::Entries(vec![Entry {
        scope: Scope::Topic("orders".into()),
        partitions: Partitions::All,
        goal: Goal::Timestamp(timestamp),
    }]);
    let bounds = per_partition(&Ok(Bounds { start, end: 6 }));
    let seen = PlanSeen { bounds, times: per_partition(&Ok(first_since(timestamp))), ..plan_seen() };
    plan(&Request { work, ..request() }, &seen).unwrap().partitions.remove(0)
}

#[rstest]
#[case::the_record_at_the_target_is_kept(6, 0, Some(7), false)]
#[case::it_is_as_old_as_retention_allows(5, 0, Some(5), false)]
#[case::a_later_one(8, 0, Some(9), false)]
#[case::it_expires(1, 0, Some(3), true)]
#[case::the_target_was_moved_to_the_start(1, 2, None, true)]
#[case::the_target_was_moved_from_a_record_that_is_kept(5, 3, None, true)]
#[case::no_record_is_that_recent(10, 0, None, true)]
fn a_target_whose_record_is_kept_needs_no_lookup(
    #[case] timestamp: i64,
    #[case] start: i64,
    #[case] time: Option<i64>,
    #[case] looked_up: bool,
) {
    let found = time_at_the_target(&by_time(timestamp, start));
    assert_eq!((found.map(Timestamp::as_millisecond), may_expire(found, 5)), (time, looked_up));
}

#[test]
fn the_time_of_a_record_at_a_requested_offset_is_unknown() {
    let planned = plan(&request(), &plan_seen()).unwrap().partitions;
    assert_eq!((time_at_the_target(&planned[0]), may_expire(None, 0)), (None, true));
}

#[rstest]
fn a_lookup_that_is_not_needed_would_have_found_that_nothing_expires(
    #[values(0, 2, 3, 4, 5, 6, 7, 8, 9)] timestamp: i64,
    #[values(0, 1, 2, 3, 4, 5)] start: i64,
) {
    let planned = by_time(timestamp, start);
    for since in (0..12).filter(|since| !may_expire(time_at_the_target(&planned), *since)) {
        let read = ForecastSeen { kept: per_partition(&Ok(first_since(since))), ..ForecastSeen::default() };
        assert_eq!(expiring(&planned, &read), 0, "kept since {since}");
    }
}

#[rstest]
#[case::longer_than_they_are_kept(100_000, true)]
#[case::not_as_long(100_001, false)]
#[case::records_do_not_expire(-1, false)]
fn a_replay_that_takes_longer_than_records_are_kept_is_warned_of(#[case] retention_ms: i64, #[case] warned: bool) {
    let mut seen = seen(&[(0, progress(100)), (1, progress(500))]);
    let config = TopicConfig { retention_ms: Some(retention_ms).filter(|millis| *millis >= 0), compacted: false };
    seen.forecast.configs.insert("orders".into(), Ok(config));
    let warnings = forecast_of(&dry_run(), &seen).warnings;
    assert_eq!(warnings.iter().any(|warning| warning.contains("takes longer to consume what is there")), warned, "{warnings:?}");
}

#[test]
fn a_configuration_that_may_not_be_read_is_no_error_and_the_right_is_named_once() {
    let mut seen = seen(&[]);
    let denied: Result<TopicConfig, KafkaError> = Err(error(KafkaErrorKind::Authorization));
    seen.forecast.configs = [("orders".to_owned(), denied.clone()), ("payments".to_owned(), denied)].into();
    let found = forecast_of(&request(), &seen);
    let named: Vec<&String> = found.warnings.iter().filter(|warning| warning.contains("DescribeConfigs")).collect();
    assert!(matches!(&named[..], [one] if one.contains("for orders and payments")), "{:?}", found.warnings);
    seen.forecast.configs = [("orders".to_owned(), Err(error(KafkaErrorKind::Timeout)))].into();
    assert_eq!(forecast_of(&request(), &seen).warnings, [""; 0], "nobody can grant an answer");
}

#[test]
fn a_run_for_which_nothing_was_read_has_no_forecast() {
    let seen = PlanSeen { forecast: ForecastSeen::default(), ..seen(&[]) };
    assert_eq!(forecast_of(&request(), &seen), Forecast::default());
}

#[test]
fn nothing_to_consume_takes_no_time() {
    let mut seen = seen(&[]);
    seen.bounds = per_partition(&Ok(Bounds { start: 0, end: 10 }));
    let limited = Request { max_catch_up: Some(SignedDuration::from_secs(1)), ..dry_run() };
    let found = forecast_of(&limited, &seen);
    let total = found.status.unwrap().total;
    assert_eq!((total.catch_up_at_least.as_deref(), total.unknown, found.refusal), (Some("0s"), None, None));
}
