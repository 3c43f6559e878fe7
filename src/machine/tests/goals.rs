//! Every goal, scope and policy as tables.

use rstest::rstest;

use super::*;
use crate::{
    api::{Clamp, Position},
    machine::{
        facts::Undone,
        plan::{Plan, plan},
        refusal::Refusal,
    },
};

fn asking(scope: Scope, partition: Option<i32>, goal: Goal) -> Request {
    Request { work: Work::Entries(vec![Entry { scope, partition, goal }]), ..request() }
}

fn orders(goal: Goal) -> Request {
    asking(Scope::Topic("orders".into()), None, goal)
}

fn pattern(pattern: &str) -> Scope {
    Scope::Pattern(regex::Regex::new(&format!("^(?:{pattern})$")).unwrap())
}

/// Partition 0 has 20 to 100 and is at 50; partition 1 has 0 to 10 and is at 500.
fn out_of_range() -> PlanSeen {
    let mut seen = plan_seen();
    seen.bounds.insert(tp(0), Ok(Bounds { start: 20, end: 100 }));
    seen.bounds.insert(tp(1), Ok(Bounds { start: 0, end: 10 }));
    seen.committed.insert(tp(1), committed(500, "app"));
    seen.stable_ends = BTreeMap::from([(tp(0), Ok(15)), (tp(1), Ok(7))]);
    let source = BTreeMap::from([(tp(0), committed(33, "")), (tp(1), Ok(None))]);
    seen.sources.insert("h".into(), Ok(source));
    seen
}

fn targets(plan: &Plan) -> Vec<(i32, i64, Option<Clamp>, PartitionOutcome)> {
    plan.partitions.iter().map(|p| (p.partition, p.target_offset, p.clamped, p.outcome)).collect()
}

fn reasons(result: &Result<Plan, Vec<Refusal>>) -> Vec<Reason> {
    result.as_ref().unwrap_err().iter().map(|refusal| refusal.reason).collect()
}

const P: PartitionOutcome = PartitionOutcome::Planned;

#[rstest]
#[case::earliest(Goal::Position(Position::Earliest), vec![(0, 20, None, P), (1, 0, None, P)])]
#[case::latest(Goal::Position(Position::Latest), vec![(0, 100, None, P), (1, 10, None, P)])]
#[case::current(
    Goal::Position(Position::Current),
    vec![(0, 50, None, PartitionOutcome::Unchanged), (1, 10, Some(Clamp::AboveLogEnd), P)]
)]
#[case::shift_from_out_of_range(Goal::ShiftBy(-495), vec![(0, 20, Some(Clamp::BelowLogStart), P), (1, 5, None, P)])]
#[case::a_shift_beyond_all_numbers(
    Goal::ShiftBy(i64::MAX), vec![(0, 100, Some(Clamp::AboveLogEnd), P), (1, 10, Some(Clamp::AboveLogEnd), P)]
)]
#[case::of_another_group(Goal::FromGroup("h".into()), vec![(0, 33, None, P)])]
fn a_goal_becomes_an_absolute_target(#[case] goal: Goal, #[case] expected: Vec<(i32, i64, Option<Clamp>, PartitionOutcome)>) {
    assert_eq!(targets(&plan(&orders(goal), &out_of_range()).unwrap()), expected);
}

#[test]
fn the_latest_committed_record_stays_within_the_log() {
    // A broker may say that an open transaction begins before the log does.
    let request = Request { isolation_level: IsolationLevel::ReadCommitted, ..orders(Goal::Position(Position::Latest)) };
    assert_eq!(targets(&plan(&request, &out_of_range()).unwrap()), [(0, 20, None, P), (1, 7, None, P)]);
}

#[test]
fn a_commit_out_of_range_counts_as_the_nearest_offset_in_range() {
    let planned = plan(&orders(Goal::Offset(4)), &out_of_range()).unwrap().partitions;
    assert_eq!((planned[1].replayed, planned[1].skipped, planned[1].headroom), (6, 0, 4));
    assert_eq!(planned[1].before_metadata.as_deref(), Some("app"));
}

#[rstest]
#[case::clamp(OutOfRange::Clamp, Ok(vec![P, P]))]
#[case::skip(OutOfRange::Skip, Ok(vec![PartitionOutcome::Skipped, P]))]
#[case::fail(OutOfRange::Fail, Err(Reason::OutOfRange))]
fn out_of_range_is_as_the_request_says(#[case] policy: OutOfRange, #[case] expected: Result<Vec<PartitionOutcome>, Reason>) {
    let request = Request { out_of_range: policy, ..orders(Goal::Offset(10)) };
    let result = plan(&request, &out_of_range());
    match expected {
        Ok(outcomes) => {
            assert_eq!(result.unwrap().partitions.iter().map(|p| p.outcome).collect::<Vec<_>>(), outcomes);
        }
        Err(reason) => assert_eq!(reasons(&result), [reason]),
    }
}

#[rstest]
#[case::replay(Some(79), None, true)]
#[case::replay_just_enough(Some(80), None, false)]
#[case::nothing_is_skipped(None, Some(0), false)]
fn limits_are_limits(#[case] max_replay: Option<i64>, #[case] max_skip: Option<i64>, #[case] refused: bool) {
    let request = Request { max_replay, max_skip, ..request() };
    let result = plan(&request, &plan_seen());
    assert_eq!(result.is_err(), refused);
    assert!(!refused || reasons(&result) == [Reason::LimitExceeded]);
}

#[rstest]
#[case::all_that_was_never_consumed(Goal::Position(Position::Latest), (0, 100))]
#[case::what_lies_before_the_target(Goal::Offset(30), (0, 30))]
#[case::nothing_from_the_start(Goal::Position(Position::Earliest), (0, 0))]
fn without_a_commit_records_before_the_target_are_skipped_and_none_is_replayed(#[case] goal: Goal, #[case] expected: (i64, i64)) {
    let mut seen = plan_seen();
    seen.committed.remove(&tp(1));
    let planned = plan(&orders(goal), &seen).unwrap().partitions;
    assert_eq!((planned[1].before, (planned[1].replayed, planned[1].skipped)), (None, expected));
}

#[test]
fn a_limit_counts_records_that_were_never_consumed_and_names_their_partitions() {
    let mut seen = plan_seen();
    seen.committed.insert(tp(0), committed(100, ""));
    seen.committed.remove(&tp(1));
    let latest = |max_skip| Request { max_skip: Some(max_skip), ..orders(Goal::Position(Position::Latest)) };
    let refusals = plan(&latest(0), &seen).unwrap_err();
    assert_eq!(refusals[0].reason, Reason::LimitExceeded);
    assert_eq!(
        refusals[0].message.happened(),
        "The plan would skip 100 records, and limits.maxSkip is 0. 100 of them are in partition 1 of topic orders without a committed \
         offset, from the start of the log to the target"
    );
    assert!(plan(&latest(100), &seen).is_ok());
}

#[rstest]
#[case::group(Access { group_read: Some(false), topics_read: BTreeMap::new() }, 1)]
#[case::topic(Access { group_read: Some(true), topics_read: BTreeMap::from([("orders".to_owned(), Some(false))]) }, 1)]
#[case::the_broker_does_not_report_it(Access::default(), 0)]
fn what_the_broker_would_refuse_is_refused_now(#[case] access: Access, #[case] refusals: usize) {
    let result = plan(&request(), &PlanSeen { access, ..plan_seen() });
    assert_eq!(result.err().map_or(0, |refusals| refusals.len()), refusals);
}

#[test]
fn a_pattern_takes_what_has_commits_and_leaves_out_what_is_gone() {
    let mut seen = plan_seen();
    seen.committed.remove(&tp(1));
    seen.committed.insert(TopicPartition::new("gone", 0), committed(1, ""));
    seen.topics.insert("gone".into(), Err(error(KafkaErrorKind::UnknownTopicOrPartition)));
    let found = plan(&asking(pattern(".*"), None, Goal::Offset(10)), &seen).unwrap();
    assert_eq!(targets(&found), [(0, 10, None, P)]);
    assert_eq!(
        found.left_out,
        ["group g has committed offsets for partition 0 of topic gone, which no longer exists and is left out"]
    );
    let nothing = plan(&asking(pattern("pay.*"), None, Goal::Offset(10)), &seen);
    assert_eq!(reasons(&nothing), [Reason::NothingToReset]);
}

#[rstest]
#[case::missing(Seen::Missing, false)]
#[case::of_another_group(Seen::Known(Undone { group: "h".into(), ..undone(PartitionOutcome::Reset) }), false)]
#[case::nothing_was_set(Seen::Known(undone(PartitionOutcome::Failed)), false)]
#[case::cannot_be_read(Seen::Unknown("no answer".into()), true)]
fn what_cannot_be_taken_back_is_refused(#[case] seen: Seen<Undone>, #[case] transient: bool) {
    let request = Request { work: Work::Undo("replay".into()), ..request() };
    let refusals = plan(&request, &PlanSeen { undone: Some(seen), ..plan_seen() }).unwrap_err();
    assert_eq!((refusals[0].reason, refusals[0].transient), (Reason::UndoNotPossible, transient));
}

fn undone(outcome: PartitionOutcome) -> Undone {
    let set = PartitionStatus { before: Some(70), after: Some(10), outcome, ..planned_partition(0) };
    let without = PartitionStatus { before: None, after: Some(10), outcome, ..planned_partition(1) };
    Undone { name: "replay".into(), group: "g".into(), cluster_id: None, same_brokers: true, partitions: vec![set, without] }
}

#[test]
fn an_undo_goes_to_what_was_recorded_before() {
    let request = Request { work: Work::Undo("replay".into()), ..request() };
    let seen = PlanSeen { undone: Some(Seen::Known(undone(PartitionOutcome::Reset))), ..plan_seen() };
    let found = plan(&request, &seen).unwrap();
    assert_eq!(targets(&found), [(0, 70, None, P)]);
    assert!(found.left_out[0].contains("there was no committed offset for partition 1 of topic orders"));
}
