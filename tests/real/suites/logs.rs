//! The topics that `real_tests::logs` builds are what it says they are, on each line of Kafka that there is.

use std::time::Instant;

use offset_reset_operator::machine::facts::{Bounds, TimestampMatch, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer};
use real_tests::{
    any_logs::any_cleanup,
    broker::{Broker, Record},
    generators::random::Random,
    kafka_tool::Line,
    logs::{Built, Cleanup, Ending, PartitionSpec, Step, TopicSpec, build},
};

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

const DAY: i64 = 24 * 60 * 60 * 1000;

fn steps(steps: impl Into<Vec<Step>>) -> PartitionSpec {
    PartitionSpec { steps: steps.into(), delete_before: None }
}

fn offsets(records: &[Record]) -> Vec<i64> {
    records.iter().map(|record| record.offset).collect()
}

fn bounds(start: i64, end: i64) -> Bounds {
    Bounds { start, end }
}

/// Whether expired and duplicate records go within seconds, as in the sandbox. Elsewhere a broker takes minutes.
fn cleans_up_soon() -> bool {
    let sandbox = !real_tests::environment().existing;
    if !sandbox {
        eprintln!("not tested: a broker of somebody's own takes minutes to clean up");
    }
    sandbox
}

/// Looks at it with other means than those that built it.
async fn check(broker: &Broker, built: &Built) {
    let found = broker.records(&built.topic, built.records.len()).await;
    assert_eq!(found, built.records, "{}", built.topic);
    let consumer: BaseConsumer = broker.config().set("isolation.level", "read_committed").create().unwrap();
    let (topic, last_stable, bounds) = (built.topic.clone(), built.last_stable.clone(), built.bounds.clone());
    let watermarks = tokio::task::spawn_blocking(move || {
        let one = |partition: usize| {
            consumer.fetch_watermarks(&topic, real_tests::broker::number(partition), real_tests::PATIENCE).unwrap()
        };
        (0..bounds.len()).map(one).collect::<Vec<_>>()
    });
    for (partition, (found, stable)) in watermarks.await.unwrap().into_iter().zip(last_stable).enumerate() {
        let expected = stable.map(|stable| (built.bounds[partition].start, stable));
        assert!(expected.is_none_or(|expected| expected == found), "{}[{partition}]: {found:?}, not {expected:?}", built.topic);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_transactions_and_deletions_are_where_they_are_said_to_be() {
    let partitions = vec![
        steps([]),
        steps([Step::batch([3_000, 1_000, 2_000]), Step::batch([5_000, 4_000])]),
        PartitionSpec { delete_before: Some(2), ..steps([Step::batch([1_000, 2_000, 3_000])]) },
        PartitionSpec { delete_before: Some(99), ..steps([Step::batch([1_000, 2_000])]) },
        steps([Step::transaction([1_000, 2_000], Ending::Committed), Step::batch([3_000])]),
        steps([Step::transaction([1_000, 2_000], Ending::Aborted), Step::batch([3_000])]),
        steps([Step::batch([1_000]), Step::transaction([2_000], Ending::Open), Step::batch([3_000])]),
    ];
    for line in Line::all() {
        let broker = line.broker();
        let spec = TopicSpec { partitions: partitions.clone(), cleanup: Cleanup::Nothing };
        let built = build(&broker, "past", &spec).await;
        // The mark of a transaction's end has an offset too.
        let ends = [bounds(0, 0), bounds(0, 5), bounds(2, 3), bounds(2, 2), bounds(0, 4), bounds(0, 4), bounds(0, 3)];
        assert_eq!(built.bounds, ends);
        assert_eq!(built.last_stable, [0, 5, 3, 2, 4, 4, 1].map(Some));
        assert_eq!(offsets(&built.records[5]), [0, 1, 3], "a log has aborted records, too");
        check(&broker, &built).await;
        let at = TopicPartition::new(&built.topic, 1);
        let found = broker.group_admin().await.offsets_for_times(&[(at.clone(), 1_500)]).await.unwrap();
        assert_eq!(found[&at], Ok(Some(TimestampMatch { offset: 0, timestamp: 3_000 })), "in the order in which they were given");
        broker.delete_topic(&built.topic).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_by_time_moves_the_log_start_to_the_first_segment_that_is_young() {
    if !cleans_up_soon() {
        return;
    }
    let (old, young) = (now() - 10 * DAY, now() - DAY / 2);
    let partitions = vec![
        steps([Step::batch([old, old + 1]), Step::batch([old + 500, old + 400]), Step::batch([young, old])]),
        steps([Step::batch([old, old + 1]), Step::batch([old + 100])]),
        steps([Step::batch([young]), Step::batch([old])]),
        steps([Step::transaction([old], Ending::Committed), Step::batch([young])]),
        PartitionSpec { delete_before: Some(1), ..steps([Step::batch([young, young + 1]), Step::batch([young + 9])]) },
        steps([]),
    ];
    for line in Line::all() {
        let broker = line.broker();
        let spec = TopicSpec { partitions: partitions.clone(), cleanup: Cleanup::Before(now() - DAY) };
        let begin = Instant::now();
        let built = build(&broker, "expired", &spec).await;
        eprintln!("{line:?}: retention by time after {:?}", begin.elapsed());
        // The mark of the committed transaction is of now: its segment stays.
        let expected = [bounds(4, 6), bounds(3, 3), bounds(0, 2), bounds(1, 3), bounds(1, 3), bounds(0, 0)];
        assert_eq!(built.bounds, expected, "{line:?}");
        check(&broker, &built).await;
        broker.delete_topic(&built.topic).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_by_size_leaves_the_newest_segment() {
    if !cleans_up_soon() {
        return;
    }
    let time = now() - DAY;
    let partitions = vec![
        steps([Step::batch([time, time + 10]), Step::batch([time + 100]), Step::batch([time + 200, time + 201])]),
        steps([Step::batch([time + 10, time]), Step::batch([time])]),
        steps([]),
    ];
    for line in Line::all() {
        let broker = line.broker();
        let spec = TopicSpec { partitions: partitions.clone(), cleanup: Cleanup::AllButTheNewest };
        let begin = Instant::now();
        let built = build(&broker, "too-large", &spec).await;
        eprintln!("{line:?}: retention by size after {:?}", begin.elapsed());
        assert_eq!(built.bounds, [bounds(3, 5), bounds(0, 3), bounds(0, 0)], "{line:?}");
        check(&broker, &built).await;
        broker.delete_topic(&built.topic).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_leaves_gaps_and_moves_no_bound() {
    if !cleans_up_soon() {
        return;
    }
    let time = now() - DAY;
    let batches: Vec<Step> = (0..6).map(|index| Step::batch([time + index * 1_000, time + index * 1_000 + 5])).collect();
    for line in Line::all() {
        let broker = line.broker();
        let spec = TopicSpec { partitions: vec![steps(batches.clone()), steps([])], cleanup: Cleanup::Compact };
        let begin = Instant::now();
        let built = build(&broker, "compacted", &spec).await;
        eprintln!("{line:?}: compaction after {:?}", begin.elapsed());
        assert_eq!(built.bounds, [bounds(0, 12), bounds(0, 0)]);
        assert_eq!(offsets(&built.records[0]), [0, 5, 7, 8, 9, 10, 11], "{line:?}");
        check(&broker, &built).await;
        broker.delete_topic(&built.topic).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_at_random_are_what_the_rules_say() {
    let (seed, cleans_up) = (u64::try_from(now()).unwrap(), cleans_up_soon());
    for line in Line::all() {
        let (broker, mut random) = (line.broker(), Random(seed));
        for _ in 0..8 {
            let now = now();
            let cleanup = if cleans_up { any_cleanup(&mut random, now) } else { Cleanup::Nothing };
            let spec = TopicSpec::random(&mut random, cleanup, now);
            let begin = Instant::now();
            let built = build(&broker, "random", &spec).await;
            let records: usize =
                spec.partitions.iter().flat_map(|partition| &partition.steps).map(|step| step.timestamps.len()).sum();
            let partitions = spec.partitions.len();
            eprintln!("{line:?}, seed {seed}: {partitions} partitions, {records} records, {cleanup:?}: {:?}", begin.elapsed());
            check(&broker, &built).await;
            broker.delete_topic(&built.topic).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_topic_takes_no_time() {
    let time = now() - DAY;
    let partition = |partition: i64| steps((0..5).map(|step| Step::batch([time + partition, time + step])).collect::<Vec<_>>());
    let spec = TopicSpec { partitions: (0..20).map(partition).collect(), cleanup: Cleanup::Nothing };
    for line in Line::all() {
        let broker = line.broker();
        for _ in 0..3 {
            let begin = Instant::now();
            let built = build(&broker, "large", &spec).await;
            eprintln!("{line:?}: 20 partitions with 200 records after {:?}", begin.elapsed());
            assert!(built.bounds.iter().all(|found| *found == bounds(0, 10)));
            broker.delete_topic(&built.topic).await;
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_topic() {
    let one = |seed| TopicSpec::random(&mut Random(seed), Cleanup::Nothing, 1_800_000_000_000);
    assert_eq!(one(7), one(7));
    assert_ne!(one(7), one(8));
    let sizes: Vec<usize> = (0..200).map(|seed| one(seed).partitions.len()).collect();
    assert!(sizes.contains(&1) && sizes.contains(&20));
}
