//! Planning: from what was seen to absolute targets, or to every reason why not.

use rstest::rstest;

use super::*;
use crate::{
    api::{Clamp, MAX_PARTITIONS},
    machine::{
        facts::TimestampMatch,
        plan::{Plan, keep_in_bounds, plan, settle},
        refusal::Refusal,
        totals::totals,
    },
};

fn entry(topic: &str, partition: Option<i32>, goal: Goal) -> Entry {
    let partitions = partition.map_or(Partitions::All, Partitions::one);
    Entry { scope: Scope::Topic(topic.into()), partitions, goal }
}

fn asking(entries: Vec<Entry>) -> Request {
    Request { work: Work::Entries(entries), ..request() }
}

fn reasons(result: Result<Plan, Vec<Refusal>>) -> Vec<(Reason, bool)> {
    result.unwrap_err().into_iter().map(|refusal| (refusal.reason, refusal.transient)).collect()
}

#[test]
fn all_partitions_of_a_topic_are_planned() {
    let planned = plan(&request(), &plan_seen()).unwrap().partitions;
    let targets: Vec<_> =
        planned.iter().map(|p| (p.partition, p.before, p.requested_offset, p.target_offset.unwrap(), p.clamped)).collect();
    assert_eq!(targets, [(0, Some(50), Some(10), 10, None), (1, Some(50), Some(10), 10, None)]);
    let totals = totals(&planned);
    assert_eq!((totals.partitions, totals.replayed, totals.skipped), (2, 80, 0));
}

#[test]
fn entries_may_mix_partitions_and_targets() {
    let mut seen = plan_seen();
    seen.times.insert(tp(1), Ok(Some(TimestampMatch { offset: 42, timestamp: 5_000 })));
    let request = asking(vec![entry("orders", Some(0), Goal::Offset(500)), entry("orders", Some(1), Goal::Timestamp(5_000))]);
    let planned = plan(&request, &seen).unwrap().partitions;
    assert_eq!((planned[0].target_offset, planned[0].clamped), (Some(100), Some(Clamp::AboveLogEnd)));
    assert_eq!((planned[1].target_offset, planned[1].clamped), (Some(42), None));
    assert_eq!(planned[1].matched_timestamp, Some(MicroTime(Timestamp::from_millisecond(5_000).unwrap())));
    assert_eq!(totals(&planned).clamped, 1);
}

/// The bounds are read before the times are looked up.
#[rstest]
#[case::the_next_record(100, 101)]
#[case::many_records_later(250, 251)]
fn a_record_that_arrived_after_the_end_was_read_is_no_offset_out_of_range(#[case] offset: i64, #[case] log_end: i64) {
    let mut seen = plan_seen();
    seen.times = per_partition(&Ok(Some(TimestampMatch { offset, timestamp: 6_000 })));
    let request = Request { out_of_range: OutOfRange::Fail, ..asking(vec![entry("orders", None, Goal::Timestamp(5_000))]) };
    let planned = plan(&request, &seen).unwrap().partitions;
    assert_eq!((planned[0].target_offset, planned[0].log_end, planned[0].clamped), (Some(offset), log_end, None));
}

#[test]
fn a_partition_without_a_commit_is_planned_and_shown_without_a_before() {
    let mut seen = plan_seen();
    seen.committed.remove(&tp(1));
    let planned = plan(&request(), &seen).unwrap().partitions;
    assert_eq!((planned[1].before, planned[1].target_offset), (None, Some(10)));
    assert_eq!(totals(&planned).replayed, 40);
}

#[rstest]
#[case::kafka_4(Group::NotFound)]
#[case::kafka_3(group_in(GroupState::Dead, 0))]
fn an_unknown_group_is_refused(#[case] group: Group) {
    let seen = PlanSeen { group, committed: BTreeMap::new(), ..plan_seen() };
    assert_eq!(reasons(plan(&request(), &seen)), [(Reason::GroupNotFound, false)]);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let mut seen = plan_seen();
    seen.topics.insert("payments".into(), Err(error(KafkaErrorKind::UnknownTopicOrPartition)));
    let request = asking(vec![
        entry("orders", None, Goal::Offset(1)),
        entry("orders", Some(1), Goal::Offset(2)),
        entry("orders", Some(7), Goal::Offset(3)),
        entry("payments", None, Goal::Offset(4)),
    ]);
    let refusals = plan(&request, &seen).unwrap_err();
    let messages: Vec<_> = refusals.iter().map(|refusal| refusal.message.full()).collect();
    assert_eq!(
        messages,
        [
            "Topic orders has no partition 7. resets[2] names it, and the topic has 2, from 0. Correct spec.resets, and create the reset \
             under a new name",
            "Topic payments does not exist. Correct spec.resets, and create the reset under a new name",
            "Partition 1 of topic orders is in resets[0] and in resets[1]. Leave such partitions out of one of the two entries, and create \
             the reset under a new name",
        ]
    );
}

#[test]
fn an_entry_may_name_several_partitions_and_each_has_to_exist_once() {
    let of = |ranges: &[std::ops::RangeInclusive<i32>], goal: Goal| {
        let partitions = Partitions::These(ranges.to_vec());
        Entry { partitions, ..entry("orders", None, goal) }
    };
    let mut seen = plan_seen();
    let all: Vec<i32> = (0..12).collect();
    seen.topics.insert("orders".into(), Ok(all.clone()));
    seen.bounds = all.iter().map(|partition| (tp(*partition), Ok(Bounds { start: 0, end: 100 }))).collect();
    let planned = plan(&asking(vec![of(&[0..=0, 3..=3, 5..=7], Goal::Offset(10))]), &seen).unwrap().partitions;
    assert_eq!(planned.iter().map(|planned| planned.partition).collect::<Vec<_>>(), [0, 3, 5, 6, 7]);

    let refused = |entries: Vec<Entry>| plan(&asking(entries), &seen).unwrap_err().remove(0).message.full();
    let both = vec![of(&[0..=0, 3..=3], Goal::Offset(1)), of(&[2..=4], Goal::Offset(2))];
    assert_eq!(
        refused(both),
        "Partition 3 of topic orders is in resets[0] and in resets[1]. Leave such partitions out of one of the two entries, and create the \
         reset under a new name"
    );
    assert_eq!(
        refused(vec![of(&[1..=1, 9..=20, 30..=30], Goal::Offset(1))]),
        "Topic orders has no partition 12. resets[0] names 12-20 and 30, and the topic has 12, from 0. Correct spec.resets, and create the \
         reset under a new name"
    );
}

#[test]
fn a_plan_that_does_not_fit_the_status_is_refused() {
    let mut seen = plan_seen();
    seen.topics.insert("orders".into(), Ok((0..=i32::try_from(MAX_PARTITIONS).unwrap()).collect()));
    assert_eq!(reasons(plan(&request(), &seen)), [(Reason::TooManyPartitions, false)]);
}

#[rstest]
#[case::leader_is_moving(KafkaErrorKind::Leader, Reason::NoLeader, true)]
#[case::no_times(KafkaErrorKind::UnsupportedForMessageFormat, Reason::TimestampsUnsupported, false)]
#[case::not_authorized(KafkaErrorKind::Authorization, Reason::AuthorizationFailed, false)]
#[case::deleted_meanwhile(KafkaErrorKind::UnknownTopicOrPartition, Reason::TopicNotFound, false)]
fn a_partition_that_cannot_be_planned_stops_the_plan(
    #[case] kind: KafkaErrorKind,
    #[case] reason: Reason,
    #[case] transient: bool,
) {
    let mut seen = plan_seen();
    seen.bounds.insert(tp(1), Err(error(kind)));
    assert_eq!(reasons(plan(&request(), &seen)), [(reason, transient)]);
}

#[test]
fn a_partition_without_an_answer_is_asked_about_again() {
    let mut seen = plan_seen();
    seen.bounds.remove(&tp(1));
    assert_eq!(reasons(plan(&request(), &seen)), [(Reason::KafkaError, true)]);
}

#[rstest]
#[case::an_offset_above_the_end_follows_the_end(Some(500), 100, Some(Clamp::AboveLogEnd), (0, 120), 120, Some(Clamp::AboveLogEnd))]
#[case::an_offset_above_the_end_that_now_exists(Some(110), 100, Some(Clamp::AboveLogEnd), (0, 120), 110, None)]
#[case::an_offset_that_expired_since(Some(10), 10, None, (30, 120), 30, Some(Clamp::BelowLogStart))]
#[case::the_end_for_a_time_stays_where_it_was(None, 100, Some(Clamp::AfterLastRecord), (0, 120), 100, Some(Clamp::AfterLastRecord))]
#[case::a_record_for_a_time_that_expired_since(None, 10, None, (30, 120), 30, Some(Clamp::BelowLogStart))]
fn the_final_target_is_what_was_asked_for_within_the_bounds_of_the_commit(
    #[case] requested: Option<i64>,
    #[case] target: i64,
    #[case] clamped: Option<Clamp>,
    #[case] bounds: (i64, i64),
    #[case] expected: i64,
    #[case] expected_clamp: Option<Clamp>,
) {
    let mut planned =
        PartitionStatus { requested_offset: requested, target_offset: Some(target), clamped, ..planned_partition(0) };
    let bounds = Bounds { start: bounds.0, end: bounds.1 };
    let stands = Committed { offset: 50, metadata: Metadata::default() };
    settle(&mut planned, bounds, None, Some(&stands), OutOfRange::Clamp).unwrap();
    assert_eq!((planned.target_offset, planned.clamped), (Some(expected), expected_clamp));
    assert!(!keep_in_bounds(&mut planned, bounds), "a final target lies in the bounds that it was made from");
}

/// A duration is counted back from there.
#[test]
fn planning_begins_anew_each_time_and_stays_where_it_began_while_it_is_tried_again() {
    let decide = |request: &Request, status: &OffsetResetStatus, kafka, now| {
        crate::machine::decide(Ok(request), status, &seen(running(), kafka), at(now)).status
    };
    let suspended = Request { suspended: true, ..request() };
    let waiting = decide(&suspended, &OffsetResetStatus::default(), KafkaSeen::NotAsked, 1);
    assert_eq!((waiting.start_time.clone(), waiting.planning_start_time.clone()), (Some(Time(at(1))), None));
    let planning = decide(&request(), &waiting, KafkaSeen::NotAsked, 3_600);
    assert_eq!((planning.phase, planning.planning_start_time.clone()), (Some(Phase::Planning), Some(micro(3_600))));
    let unreachable = KafkaSeen::Failed(error(KafkaErrorKind::Unreachable));
    let retried = decide(&request(), &planning, unreachable, 3_620);
    assert_eq!((retried.phase, retried.planning_start_time.clone()), (Some(Phase::Planning), Some(micro(3_600))));
    // Suspended again, and begun again.
    let waiting = decide(&suspended, &retried, KafkaSeen::NotAsked, 3_621);
    let planning = decide(&request(), &waiting, KafkaSeen::NotAsked, 7_200);
    assert_eq!(planning.planning_start_time, Some(micro(7_200)));
    let planned = decide(&request(), &planning, KafkaSeen::ForPlan(Box::new(plan_seen())), 7_201);
    assert_eq!((planned.phase, planned.planning_start_time), (Some(Phase::Stopping), Some(micro(7_200))));
    // A dry run that is run now is planned anew, and the drift counts what that changes.
    let dry = Request { dry_run: true, ..request() };
    let planning = decide(&dry, &decide(&dry, &OffsetResetStatus::default(), KafkaSeen::NotAsked, 1), KafkaSeen::NotAsked, 2);
    let planned = decide(&dry, &planning, KafkaSeen::ForPlan(Box::new(plan_seen())), 3);
    let again = decide(&request(), &decide(&request(), &planned, KafkaSeen::NotAsked, 900), KafkaSeen::NotAsked, 901);
    assert_eq!((again.phase, again.planning_start_time), (Some(Phase::Planning), Some(micro(901))));
}

#[test]
fn a_final_target_moves_only_when_the_log_has_moved_away_from_it() {
    let mut planned = planned_partition(0);
    assert!(!keep_in_bounds(&mut planned, Bounds { start: 0, end: 500 }));
    assert!(keep_in_bounds(&mut planned, Bounds { start: 11, end: 500 }));
    assert_eq!((planned.target_offset, planned.clamped), (Some(11), Some(Clamp::BelowLogStart)));
}
