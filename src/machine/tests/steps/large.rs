//! The largest file of `spec.resetsFrom`: what its plan or its refusal costs grows with its lines, and not with their square.

use rstest::rstest;

use crate::machine::tests::*;
use crate::{
    api::{ConfigMapKeyRef, MAX_PARTITIONS},
    machine::{decide, facts::GroupDescription, plan::export},
};

/// Lines of a file, each `topic,partition`, and what the broker answers about them.
struct Large {
    lines: Vec<(String, i32)>,
    seen: PlanSeen,
}

impl Large {
    /// All of them exist, and the group has committed an offset on each.
    fn of(lines: Vec<(String, i32)>) -> Self {
        let mut seen = PlanSeen { group: group_in(GroupState::Empty, 0), ..plan_seen() };
        (seen.committed, seen.bounds, seen.topics) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (topic, partition) in &lines {
            let at = TopicPartition::new(topic, *partition);
            seen.committed.insert(at.clone(), committed(50, ""));
            seen.bounds.insert(at, Ok(Bounds { start: 0, end: 100 }));
            if let Ok(partitions) = seen.topics.entry(topic.clone()).or_insert_with(|| Ok(vec![])) {
                partitions.push(*partition);
            }
        }
        Self { lines, seen }
    }

    fn in_one_topic(count: i32) -> Self {
        Self::of((0..count).map(|partition| ("orders".to_owned(), partition)).collect())
    }

    fn in_many_topics(count: i32) -> Self {
        Self::of((0..count).map(|number| (format!("orders-{number:05}"), 0)).collect())
    }

    fn file(&self) -> String {
        self.lines.iter().map(|(topic, partition)| format!("{topic},{partition},10\n")).collect::<Vec<_>>().concat()
    }
}

fn as_they_are(_: &mut PlanSeen) {}

fn without_their_partitions(seen: &mut PlanSeen) {
    seen.topics.values_mut().for_each(|partitions| *partitions = Ok(vec![]));
}

fn without_their_topics(seen: &mut PlanSeen) {
    seen.topics.values_mut().for_each(|partitions| *partitions = Err(error(KafkaErrorKind::UnknownTopicOrPartition)));
}

fn unreadable(seen: &mut PlanSeen) {
    seen.bounds.values_mut().for_each(|bounds| *bounds = Err(error(KafkaErrorKind::Leader)));
}

fn unreadable_each_for_another_cause(seen: &mut PlanSeen) {
    for (number, bounds) in seen.bounds.values_mut().enumerate() {
        *bounds = Err(KafkaError::new(KafkaErrorKind::Other, format!("cause {number}")));
    }
}

/// The group consumes as many topics with names that are alike.
fn consumed_elsewhere(seen: &mut PlanSeen) {
    let topics = seen.topics.keys().map(|topic| format!("{topic}-x")).collect();
    seen.committed.clear();
    let Group::Found(found) = group_in(GroupState::Empty, 0) else { unreachable!() };
    seen.group = Group::Found(GroupDescription { assigned_topics: Some(topics), ..found });
}

/// The processor time of this thread so far, in milliseconds: other work on the machine does not count.
fn processor_time() -> u64 {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    spent.split(' ').next().unwrap().parse::<u64>().unwrap() / 1_000_000
}

/// How long it takes to plan a file, in milliseconds, and the status that comes of it.
fn planned(large: &Large) -> (u64, OffsetResetStatus) {
    let file = ConfigMapKeyRef { name: "offsets".into(), key: "offsets.csv".into() };
    let status = OffsetResetStatus { planning_start_time: Some(micro(0)), ..status_in(Phase::Planning) };
    let observed = Observed {
        finalizer: false,
        holds: vec![Seen::Missing],
        ..seen(running(), KafkaSeen::ForPlan(Box::new(large.seen.clone())))
    };
    let text = large.file();
    let begin = processor_time();
    let request = Request { work: Work::File(file.clone()), ..request() }.with_file(&file, &text).unwrap();
    // After the longest wait, so that what passes ends it as well.
    let decision = decide(Ok(&request), &status, &observed, at(60));
    let report = export::ReportRef { namespace: "shop", config_map: "report", compressed: true };
    let command = export::equivalent_command(&request, &decision.status.partitions, report);
    let took = processor_time() - begin;
    assert!(command.len() < 1_000, "{command}");
    (took, decision.status)
}

#[rstest]
#[case::in_one_topic(Large::in_one_topic, as_they_are, Phase::Stopping)]
#[case::in_many_topics(Large::in_many_topics, as_they_are, Phase::Stopping)]
#[case::without_their_partitions(Large::in_one_topic, without_their_partitions, Phase::Failed)]
#[case::without_their_topics(Large::in_many_topics, without_their_topics, Phase::Failed)]
#[case::unreadable(Large::in_one_topic, unreadable, Phase::Failed)]
#[case::unreadable_in_many_topics(Large::in_many_topics, unreadable, Phase::Failed)]
#[case::unreadable_each_for_another_cause(Large::in_one_topic, unreadable_each_for_another_cause, Phase::Failed)]
#[case::consumed_elsewhere(Large::in_many_topics, consumed_elsewhere, Phase::Stopping)]
fn ten_times_the_lines_take_about_ten_times_as_long(
    #[case] large: fn(i32) -> Large,
    #[case] change: fn(&mut PlanSeen),
    #[case] phase: Phase,
) {
    let of = |count: i32| {
        let mut large = large(count);
        change(&mut large.seen);
        let (took, status) = planned(&large);
        assert_eq!(status.phase, Some(phase), "{:?}", status.message);
        took
    };
    let most = i32::try_from(MAX_PARTITIONS).unwrap();
    let (tenth, all) = (of(most / 10), of(most));
    println!("{tenth} ms, {all} ms");
    // With the square it would be a hundred times as long.
    assert!(all < 30 * tenth.max(20), "{} lines took {tenth} ms, {most} lines {all} ms", most / 10);
}

#[test]
fn partitions_that_failed_each_for_another_cause_are_told_in_time_too() {
    let of = |count: i32| {
        let failed = |partition| PartitionStatus {
            outcome: PartitionOutcome::Failed,
            message: Some(format!("after 3 commits the offset is {partition}")),
            ..planned_partition(partition)
        };
        let partitions = (0..count).map(failed).collect();
        let final_plan_time = Some(micro(6));
        let status = OffsetResetStatus { commits: 3, final_plan_time, partitions, ..status_in(Phase::Resetting) };
        let observed = seen(gone(), commit_seen(group_in(GroupState::Empty, 0), &committed(50, "")));
        let begin = processor_time();
        let decision = decide(Ok(&request()), &status, &observed, at(8));
        let took = processor_time() - begin;
        assert_eq!(decision.status.outcome.map(|outcome| outcome.reason), Some(Reason::AllPartitionsFailed));
        took
    };
    let most = i32::try_from(MAX_PARTITIONS).unwrap();
    let (tenth, all) = (of(most / 10), of(most));
    assert!(all < 30 * tenth.max(20), "{} partitions took {tenth} ms, {most} partitions {all} ms", most / 10);
}

#[test]
fn a_line_about_a_partition_or_a_topic_that_does_not_exist_is_named_by_its_number() {
    let file = ConfigMapKeyRef { name: "offsets".into(), key: "offsets.csv".into() };
    let request = Request { work: Work::File(file.clone()), ..request() };
    let text = "h,orders,0,1\n\ng,orders,1,10\ng,orders,7,10\n";
    let request = request.with_file(&file, text).unwrap();
    let observed = seen(running(), KafkaSeen::ForPlan(Box::new(plan_seen())));
    let decision = decide(Ok(&request), &status_in(Phase::Planning), &observed, at(60));
    assert_eq!(
        decision.status.outcome.unwrap().explanation(),
        "Topic orders has no partition 7. Line 4 of the file of spec.resetsFrom names it, and the topic has 2, from 0. Nothing was \
         stopped and no offset was changed. Correct the file, and create the reset under a new name"
    );
}
