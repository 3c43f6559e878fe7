//! Every goal, scope and policy as tables.

use crate::api::UndoneStatus;
use rstest::rstest;

use super::*;
use crate::{
    api::{Clamp, Position},
    machine::{
        facts::{TimestampMatch, Undone},
        metadata,
        plan::{Plan, plan},
        refusal::Refusal,
        request::Patterns,
    },
};

fn asking(scope: Scope, partition: Option<i32>, goal: Goal) -> Request {
    let partitions = partition.map_or(Partitions::All, Partitions::one);
    Request { work: Work::Entries(vec![Entry { scope, partitions, goal }]), ..request() }
}

fn orders(goal: Goal) -> Request {
    asking(Scope::Topic("orders".into()), None, goal)
}

fn pattern(pattern: &str) -> Scope {
    Scope::Pattern(Patterns::compile([pattern]).unwrap().remove(0))
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
    plan.partitions.iter().map(|p| (p.partition, p.target_offset.unwrap_or(NO_OFFSET), p.clamped, p.outcome)).collect()
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
#[case::none(Goal::Position(Position::None), vec![(0, NO_OFFSET, None, P), (1, NO_OFFSET, None, P)])]
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
#[case::group(Access { group_read: Some(false), ..Access::default() }, 1)]
#[case::topic(Access { group_read: Some(true), group_delete: None, topics_read: BTreeMap::from([("orders".to_owned(), Some(false))]), ..Access::default() }, 1)]
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

/// The undo after a canary did not come to its end, or failed for a partition: what is committed there may still be the offset of the reset.
#[rstest]
#[case::not_committed_again(PartitionOutcome::Planned)]
#[case::failed(PartitionOutcome::Failed)]
fn what_the_undo_of_a_canary_did_not_reach_can_be_undone(#[case] outcome: PartitionOutcome) {
    let mut begun = undone(outcome);
    for partition in &mut begun.partitions {
        partition.undone = Some(UndoneStatus { target_offset: Some(10) });
    }
    let request = Request { work: Work::Undo("replay".into()), ..request() };
    let found = plan(&request, &PlanSeen { undone: Some(Seen::Known(begun)), ..plan_seen() }).unwrap();
    assert_eq!(found.partitions.iter().map(|planned| planned.target_offset).collect::<Vec<_>>(), [Some(70), None]);
}

#[test]
fn an_undo_goes_to_what_was_recorded_before() {
    let request = Request { work: Work::Undo("replay".into()), ..request() };
    let seen = PlanSeen { undone: Some(Seen::Known(undone(PartitionOutcome::Reset))), ..plan_seen() };
    let found = plan(&request, &seen).unwrap();
    assert_eq!(targets(&found), [(0, 70, None, P), (1, NO_OFFSET, None, P)]);
    assert!(found.partitions[1].is_removal() && found.left_out.is_empty());
    // Where the broker does not allow that, or does not tell, the rest is undone all the same.
    for (delete, words) in [(Some(false), "does not allow"), (None, "does not tell whether it allows")] {
        let mut denied = seen.clone();
        denied.access.group_delete = delete;
        let found = plan(&request, &denied).unwrap();
        assert_eq!(targets(&found), [(0, 70, None, P)]);
        let left_out = format!(
            "before OffsetReset replay there was no committed offset for partition 1 of topic orders, and the broker {words} removing \
             the new one (Delete on group g), so it is left as it is"
        );
        assert_eq!(found.left_out, [left_out]);
    }
}

/// What [`targets`] has for a removal.
const NO_OFFSET: i64 = -1;

#[test]
fn a_removal_is_refused_where_the_broker_would_refuse_it_and_says_what_is_missing() {
    let mut seen = plan_seen();
    for (delete, refused) in [(Some(true), 0), (None, 0), (Some(false), 1)] {
        seen.access.group_delete = delete;
        let result = plan(&orders(Goal::Position(Position::None)), &seen);
        assert_eq!(result.as_ref().err().map_or(0, Vec::len), refused, "{delete:?}");
        assert!(plan(&orders(Goal::Offset(1)), &seen).is_ok(), "a commit needs only Read");
        if let Err(refusals) = result {
            assert_eq!(
                refusals[0].message.full(),
                "The broker does not allow removing committed offsets of group g. It needs the operation Delete on the group; committing \
                 needs only Read"
            );
        }
    }
}

/// Where the offset is removed, auto.offset.reset of the consumers decides, which only they know.
#[rstest]
#[case::replay(Some(79), None, Some("The plan may replay 80 records, and limits.maxReplay is 79"))]
#[case::replay_within(Some(80), None, None)]
#[case::skip(None, Some(49), Some("The plan may skip 50 records, and limits.maxSkip is 49"))]
#[case::skip_within(None, Some(50), None)]
fn a_removal_counts_as_the_most_that_consumers_may_replay_and_skip(
    #[case] max_replay: Option<i64>,
    #[case] max_skip: Option<i64>,
    #[case] refused: Option<&str>,
) {
    let mut seen = plan_seen();
    // To replay: 40 and 40. To skip: 10 and 40.
    seen.bounds.insert(tp(0), Ok(Bounds { start: 10, end: 60 }));
    seen.bounds.insert(tp(1), Ok(Bounds { start: 10, end: 90 }));
    let request = Request { max_replay, max_skip, ..orders(Goal::Position(Position::None)) };
    let message = plan(&request, &seen).err().map(|refusals| refusals[0].message.summary().to_owned());
    assert_eq!(message.as_deref(), refused);
}

#[test]
fn where_nothing_is_committed_nothing_is_removed() {
    let mut seen = plan_seen();
    seen.committed.remove(&tp(1));
    let found = plan(&Request { out_of_range: OutOfRange::Fail, ..orders(Goal::Position(Position::None)) }, &seen).unwrap();
    assert_eq!(targets(&found), [(0, NO_OFFSET, None, P), (1, NO_OFFSET, None, PartitionOutcome::Unchanged)]);
    assert!(found.partitions.iter().all(|planned| (planned.replayed, planned.skipped, planned.headroom) == (0, 0, 0)));
}

#[rstest]
#[case::the_same(Some("a"), Some("a"), false)]
#[case::another(Some("a"), Some("b"), true)]
#[case::none_was_recorded(None, Some("b"), false)]
#[case::none_is_reported(Some("a"), None, false)]
fn an_undo_on_a_topic_that_was_created_again_is_refused(
    #[case] then: Option<&str>,
    #[case] now: Option<&str>,
    #[case] refused: bool,
) {
    let request = Request { work: Work::Undo("replay".into()), ..request() };
    let mut undone = undone(PartitionOutcome::Reset);
    for done in &mut undone.partitions {
        done.topic_id = then.map(str::to_owned);
    }
    let topic_ids = now.map(|id| ("orders".to_owned(), id.to_owned())).into_iter().collect();
    let access = Access { topic_ids, ..plan_seen().access };
    let found = plan(&request, &PlanSeen { undone: Some(Seen::Known(undone)), access, ..plan_seen() });
    if !refused {
        assert_eq!(found.unwrap().partitions[0].topic_id.as_deref(), now);
        return;
    }
    assert_eq!(
        found.unwrap_err()[0].message.full(),
        "Topic orders was deleted and created again after OffsetReset replay. The offsets from before the reset belong to the \
         deleted topic. Name a target in the new topic in spec.resets, and create the reset under a new name"
    );
    assert_eq!(reasons(&plan(&request, &PlanSeen { undone: None, ..plan_seen() })), [Reason::UndoNotPossible]);
}

/// Some consumers keep state in the metadata of their commits, and a commit would replace it.
#[rstest]
#[case::an_offset(Goal::Offset(50), OutOfRange::Clamp, [PartitionOutcome::Unchanged, P])]
#[case::no_shift(Goal::ShiftBy(0), OutOfRange::Clamp, [PartitionOutcome::Unchanged, P])]
#[case::a_time(Goal::Timestamp(1), OutOfRange::Clamp, [PartitionOutcome::Unchanged, P])]
#[case::of_another_group(Goal::FromGroup("h".into()), OutOfRange::Clamp, [PartitionOutcome::Unchanged, P])]
#[case::clamped_to_what_is_committed(Goal::Offset(50), OutOfRange::Skip, [PartitionOutcome::Unchanged, P])]
fn what_is_committed_already_is_not_committed_again(
    #[case] goal: Goal,
    #[case] policy: OutOfRange,
    #[case] expected: [PartitionOutcome; 2],
) {
    let mut seen = plan_seen();
    seen.committed.insert(tp(0), committed(50, "state of the application"));
    seen.committed.insert(tp(1), committed(70, "state of the application"));
    seen.times = per_partition(&Ok(Some(TimestampMatch { offset: 50, timestamp: 1 })));
    seen.sources.insert("h".into(), Ok(per_partition(&committed(50, "of the other group"))));
    if goal == Goal::ShiftBy(0) {
        // Both stay where they are.
        let planned = plan(&orders(goal), &seen).unwrap();
        assert!(planned.partitions.iter().all(|p| p.outcome == PartitionOutcome::Unchanged && p.target_offset == p.before));
        return;
    }
    let planned = plan(&Request { out_of_range: policy, ..orders(goal) }, &seen).unwrap();
    assert_eq!(planned.partitions.iter().map(|p| p.outcome).collect::<Vec<_>>(), expected);
    assert_eq!((planned.partitions[0].replayed, planned.partitions[0].skipped), (0, 0));
    let totals = crate::machine::totals::totals(&planned.partitions);
    assert_eq!((totals.partitions, totals.left_alone, totals.replayed), (2, 1, 20));
}

#[test]
fn a_target_that_is_moved_to_what_is_committed_is_unchanged_and_out_of_range_all_the_same() {
    let mut seen = plan_seen();
    seen.committed = per_partition(&committed(100, "app"));
    let clamped = plan(&orders(Goal::Offset(500)), &seen).unwrap();
    assert_eq!(targets(&clamped)[0], (0, 100, Some(Clamp::AboveLogEnd), PartitionOutcome::Unchanged));
    let fails = plan(&Request { out_of_range: OutOfRange::Fail, ..orders(Goal::Offset(500)) }, &seen);
    assert_eq!(reasons(&fails), [Reason::OutOfRange]);
    let skips = plan(&Request { out_of_range: OutOfRange::Skip, ..orders(Goal::Offset(500)) }, &seen).unwrap();
    assert_eq!(targets(&skips)[0].3, PartitionOutcome::Skipped);
}

/// What an undo wants, when the group is at an offset with this metadata: the outcome, and the metadata that it restores.
#[rstest]
#[case::another_offset(committed(10, MARKER), P)]
#[case::another_metadata(committed(70, "newer"), P)]
#[case::both_as_before(committed(70, "bAAkAAoA"), PartitionOutcome::Unchanged)]
fn an_undo_wants_offset_and_metadata_from_before(
    #[case] stands: Result<Option<Committed>, KafkaError>,
    #[case] outcome: PartitionOutcome,
) {
    let request = Request { work: Work::Undo("replay".into()), ..request() };
    let mut undone = undone(PartitionOutcome::Reset);
    undone.partitions[0].before_metadata = Some("bAAkAAoA".into());
    let mut seen = PlanSeen { undone: Some(Seen::Known(undone)), ..plan_seen() };
    seen.committed.insert(tp(0), stands);
    let found = plan(&request, &seen).unwrap();
    assert_eq!(targets(&found)[0], (0, 70, None, outcome));
    assert_eq!(metadata::to_restore(&found.partitions[0]), Some("bAAkAAoA".into()));
    // Its offset is gone, and the metadata belongs to that offset alone.
    seen.bounds.insert(tp(0), Ok(Bounds { start: 80, end: 100 }));
    let found = plan(&request, &seen).unwrap();
    assert_eq!(targets(&found), [(0, 80, Some(Clamp::BelowLogStart), P), (1, NO_OFFSET, None, P)]);
    assert_eq!(metadata::to_restore(&found.partitions[0]), None);
    assert!(metadata::stays_behind(&found.partitions[0]));
}

#[rstest]
#[case::text("bAAkAAoA".into(), Some("bAAkAAoA"), None)]
#[case::empty(Metadata::default(), None, None)]
#[case::not_utf_8(vec![0xff, 0x00, 0xfe].into(), None, Some("/wD+"))]
fn metadata_before_is_recorded_byte_for_byte(#[case] found: Metadata, #[case] text: Option<&str>, #[case] base64: Option<&str>) {
    let mut seen = plan_seen();
    seen.committed.insert(tp(0), Ok(Some(Committed { offset: 50, metadata: found.clone() })));
    let planned = plan(&orders(Goal::Offset(10)), &seen).unwrap().partitions.remove(0);
    let json = serde_json::to_value(&planned).unwrap();
    assert_eq!((json["beforeMetadata"].as_str(), json["beforeMetadataBase64"].as_str()), (text, base64));
    // The status is read again by another pass, and by an undo.
    let planned = serde_json::from_value(json).unwrap();
    assert_eq!(metadata::before(&planned), found);
    let done = PartitionStatus { outcome: PartitionOutcome::Reset, ..planned };
    let undone = Undone { partitions: vec![done], ..undone(PartitionOutcome::Reset) };
    let request = Request { work: Work::Undo("replay".into()), ..request() };
    seen.undone = Some(Seen::Known(undone));
    seen.committed.insert(tp(0), committed(10, MARKER));
    assert_eq!(metadata::to_restore(&plan(&request, &seen).unwrap().partitions[0]), Some(found));
}
