//! What Kafka may say of any request, and what must hold of each plan that is made from it.

use std::collections::{BTreeMap, BTreeSet};

use offset_reset_operator::{
    api::{MAX_PARTITIONS, OutOfRange, PartitionOutcome},
    machine::{
        facts::{
            Access, Bounds, Committed, ForecastSeen, Group, GroupDescription, GroupMember, GroupState, GroupType, KafkaError,
            KafkaErrorKind, PerPartition, PlanSeen, Seen, TimestampMatch, TopicPartition, Undone,
        },
        plan::{Plan, expand, plan},
        refusal::Refusal,
        request::Request,
        totals::totals,
    },
};
use serde_json::{Value, json};

use super::{any_spec, random::Random, refusals};

/// A request that says something sound about `orders`, `payments` or a pattern.
pub fn any_request(random: &mut Random) -> Request {
    loop {
        let entries: Vec<Value> = (0..random.within(1..=3)).map(|_| any_entry(random)).collect();
        let mut change = json!({
            "resets": entries,
            "outOfRange": random.one_of(&["Clamp", "Fail", "Skip"]),
            "isolationLevel": random.one_of(&["ReadUncommitted", "ReadCommitted"]),
            "allowNewGroup": random.percent(50),
        });
        if random.percent(20) {
            change["limits"] = json!({"maxReplay": any_offset(random).max(0), "maxSkip": any_offset(random).max(0)});
        }
        if random.percent(10) {
            change["resets"] = Value::Null;
            change["undo"] = json!({"name": "other"});
        }
        if let Ok(request) = any_spec::parsed(&refusals::changed(&change)) {
            return request;
        }
    }
}

fn any_entry(random: &mut Random) -> Value {
    let mut entry = match random.within(0..=3) {
        0 => json!({"topicPattern": random.one_of(&["orders", ".*", "(orders|payments)"])}),
        1 => json!({"topic": "payments"}),
        _ => json!({"topic": "orders"}),
    };
    if random.percent(30) {
        entry["partition"] = json!(random.within(0..=3));
    } else if random.percent(20) {
        entry["partitions"] = random.one_of(&["[0, 2]", "[1]", "[2, 9]"]).parse().unwrap();
        let range = random.one_of(&["null", r#"[{"from": 0, "to": 0}]"#, r#"[{"from": 1, "to": 2147483647}]"#]);
        entry["partitionRanges"] = range.parse().unwrap();
    }
    let (goal, value) = match random.within(0..=5) {
        0 => ("position", json!(random.one_of(&["Earliest", "Latest", "Current", "None"]))),
        1 => ("shiftBy", json!(any_offset(random))),
        2 => ("timestamp", json!(random.one_of(&["2019-10-23T06:29:04Z", "1970-01-01T00:00:00Z"]))),
        3 => ("fromGroup", json!("others")),
        _ => ("offset", json!(any_offset(random).max(0))),
    };
    entry[goal] = value;
    entry
}

/// Near zero, near the largest, or anywhere.
fn any_offset(random: &mut Random) -> i64 {
    match random.within(0..=9) {
        0 => random.one_of(&[i64::MAX, i64::MAX - 1, i64::MIN, i64::MIN + 1, 1 << 53]),
        1 => random.within(-20..=-1),
        _ => random.within(0..=120),
    }
}

fn any_error(random: &mut Random) -> KafkaError {
    let kind = random.one_of(&[
        KafkaErrorKind::Unreachable,
        KafkaErrorKind::Authorization,
        KafkaErrorKind::Coordinator,
        KafkaErrorKind::UnknownTopicOrPartition,
        KafkaErrorKind::Leader,
        KafkaErrorKind::UnsupportedForMessageFormat,
        KafkaErrorKind::UnstableOffset,
        KafkaErrorKind::Server,
        KafkaErrorKind::Other,
    ]);
    KafkaError::new(kind, "kafka's words")
}

/// What is there, and now and then an error or nothing instead.
fn per_partition<T>(
    random: &mut Random,
    all: &[TopicPartition],
    mut answer: impl FnMut(&mut Random, &TopicPartition) -> T,
) -> PerPartition<T> {
    let mut answers = PerPartition::new();
    for at in all {
        match random.within(0..=99) {
            0 => _ = answers.insert(at.clone(), Err(any_error(random))),
            1 => {}
            _ => _ = answers.insert(at.clone(), Ok(answer(random, at))),
        }
    }
    answers
}

fn any_commit(random: &mut Random) -> Option<Committed> {
    // A broker keeps what it was given, and it was once given anything.
    random.percent(80).then(|| Committed { offset: any_offset(random), metadata: "".into() })
}

fn any_group(random: &mut Random) -> Group {
    if random.percent(10) {
        return Group::NotFound;
    }
    let member = |number: i64| GroupMember {
        member_id: format!("m{number}"),
        client_id: "c".into(),
        instance_id: None,
        host: "10.0.0.1".into(),
        assigned: 1,
    };
    Group::Found(GroupDescription {
        group_type: random.one_of(&[GroupType::Classic, GroupType::Consumer, GroupType::Unknown]),
        state: random.one_of(&[GroupState::Empty, GroupState::Dead, GroupState::Stable, GroupState::Unknown]),
        assignor: String::new(),
        members: (0..random.within(0..=2)).map(member).collect(),
        assigned_topics: random.percent(80).then(|| BTreeSet::from([random.one_of(&["orders", "payments"]).to_owned()])),
    })
}

/// What may have been seen of Kafka for a request, as the client lets it through: a log never ends before it begins.
pub fn any_seen(random: &mut Random, request: &Request) -> PlanSeen {
    let all: Vec<TopicPartition> = ["orders", "payments"]
        .into_iter()
        .flat_map(|topic| (0..3).map(move |partition| TopicPartition::new(topic, partition)))
        .collect();
    let commits = |random: &mut Random| per_partition(random, &all, |random, _| any_commit(random));
    let mut seen = PlanSeen {
        cluster_id: random.percent(50).then(|| random.one_of(&["cluster", "another"]).into()),
        group: any_group(random),
        session_timeout: None,
        access: Access { group_delete: random.one_of(&[Some(true), Some(false), None]), ..Access::default() },
        committed: commits(random),
        sources: BTreeMap::new(),
        undone: None,
        topics: BTreeMap::new(),
        bounds: PerPartition::new(),
        stable_ends: PerPartition::new(),
        times: PerPartition::new(),
        forecast: ForecastSeen::default(),
    };
    for source in request.entries().iter().filter_map(|entry| entry.goal.source_group()) {
        let answer = if random.percent(95) { Ok(commits(random)) } else { Err(any_error(random)) };
        seen.sources.insert(source.to_owned(), answer);
    }
    // What another one has recorded is what its plan was.
    let other = random.percent(80).then(|| any_request(random)).filter(|other| other.entries().len() == 1);
    seen.undone = other.map(|other| {
        let of_other = PlanSeen { undone: None, ..any_seen(random, &other) };
        let mut partitions = plan(&other, &of_other).map(|plan| plan.partitions).unwrap_or_default();
        for partition in &mut partitions {
            partition.outcome =
                random.one_of(&[PartitionOutcome::Reset, PartitionOutcome::Unconfirmed, PartitionOutcome::Failed]);
        }
        let group = if random.percent(90) { request.group.clone() } else { "another".into() };
        let cluster_id = random.percent(50).then(|| "another".into());
        Seen::Known(Undone { name: "other".into(), group, cluster_id, same_brokers: random.percent(90), partitions })
    });
    for topic in expand::topics(request, &seen) {
        let partitions = if random.percent(97) { Ok(vec![0, 1, 2]) } else { Err(any_error(random)) };
        if random.percent(80) {
            seen.access.topic_ids.insert(topic.clone(), if random.percent(95) { "first" } else { "recreated" }.into());
        }
        seen.topics.insert(topic, partitions);
    }
    seen.bounds = per_partition(random, &all, |random, _| {
        let (one, other) = (any_offset(random).max(0), any_offset(random).max(0));
        Bounds { start: one.min(other), end: one.max(other) }
    });
    seen.stable_ends = per_partition(random, &all, |random, _| any_offset(random).max(0));
    seen.times = per_partition(random, &all, |random, _| {
        random.percent(80).then(|| TimestampMatch { offset: any_offset(random).max(0), timestamp: any_offset(random) })
    });
    seen
}

/// Plans, and panics when the plan is none that may be committed.
pub fn planned(request: &Request, seen: &PlanSeen) -> Result<Plan, Vec<Refusal>> {
    let planned = plan(request, seen);
    match &planned {
        Ok(plan) => {
            assert!(!plan.partitions.is_empty() && plan.partitions.len() <= MAX_PARTITIONS);
            for partition in &plan.partitions {
                let at = TopicPartition::new(&partition.topic, partition.partition);
                let bounds = seen.bounds[&at].as_ref().unwrap_or_else(|error| panic!("{at} is planned without bounds: {error}"));
                // A record that was found for a time may have arrived after the end was read.
                let found =
                    seen.times.get(&at).and_then(|found| found.as_ref().ok()?.map(|found| found.offset.saturating_add(1)));
                let end = found.filter(|_| partition.requested_timestamp.is_some()).map_or(bounds.end, |end| end.max(bounds.end));
                let (within, sound) = (bounds.start..=end, partition.headroom >= 0 && partition.replayed >= 0);
                assert!(
                    partition.target_offset.is_none_or(|target| within.contains(&target)) && sound && partition.skipped >= 0,
                    "{bounds:?}: {partition:?}"
                );
                assert_eq!(partition.target_offset.is_none(), partition.is_removal(), "{partition:?}");
                assert!(partition.replayed == 0 || partition.skipped == 0, "{partition:?}");
                let left = partition.outcome == PartitionOutcome::Skipped;
                assert!(!left || request.out_of_range == OutOfRange::Skip, "{partition:?}");
            }
            let totals = totals(&plan.partitions);
            assert!(totals.replayed >= 0 && totals.skipped >= 0 && totals.failed == 0, "{totals:?}");
            let most = (request.max_replay.unwrap_or(i64::MAX), request.max_skip.unwrap_or(i64::MAX));
            assert!(totals.replayed <= most.0 && totals.skipped <= most.1, "{totals:?}");
        }
        Err(refusals) => {
            assert!(!refusals.is_empty() && refusals.iter().all(|refusal| !refusal.message.summary().is_empty()));
        }
    }
    planned
}
