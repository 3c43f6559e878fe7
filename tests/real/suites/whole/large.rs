//! Thousands of partitions.

use std::time::Duration;

use offset_reset_operator::machine::facts::{Bounds, Committed, TimestampMatch, TopicPartition};
use rdkafka::producer::FutureRecord;
use serde_json::json;

use super::{TestEnv, as_recorded, tp};
use real_tests::{PATIENCE, shop::status, unique, within};

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_partitions_by_time_are_looked_up_committed_and_read_back() {
    TestEnv::with(async |stand| large(stand).await).await;
}

async fn large(stand: &TestEnv) {
    let admin = &stand.admin;
    let (prefix, group) = (unique("large"), unique("large"));
    let mut partitions: Vec<TopicPartition> = vec![];
    let mut topics = vec![];
    // A broker takes its time for each, and is of no use to other tests meanwhile: so a thousand at once.
    for _ in 0..10 {
        let topic = stand.broker.topic(&prefix, 1_000).await;
        partitions.extend((0..1_000).map(|partition| tp(&topic, partition)));
        topics.push(topic);
    }
    // So many leaders take a moment, too.
    let led = async {
        while !admin.bounds(&partitions).await.unwrap().values().all(Result::is_ok) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    within(PATIENCE * 4, led).await.expect("every partition gets its leader");
    // Every hundredth partition has two records.
    let producer = stand.broker.producer();
    let mut sent = vec![];
    let has_records = |index: usize| index.is_multiple_of(100);
    for (_, at) in partitions.iter().enumerate().filter(|(index, _)| has_records(*index)) {
        for timestamp in [1_000_000, 2_000_000] {
            let record = FutureRecord::<(), str>::to(&at.topic).partition(at.partition).timestamp(timestamp).payload("x");
            sent.push(producer.send_result(record).map_err(|(error, _)| error).unwrap());
        }
    }
    for delivery in sent {
        delivery.await.unwrap().map_err(|(error, _)| error).unwrap();
    }

    let bounds = admin.bounds(&partitions).await.unwrap();
    let times: Vec<_> = partitions.iter().map(|at| (at.clone(), 1_500_000)).collect();
    let found = admin.offsets_for_times(&times).await.unwrap();
    assert_eq!((bounds.len(), found.len()), (10_000, 10_000));
    // 60 bytes of metadata, as the name of a reset may have.
    let metadata = format!("{:x<60}", "offset-reset/");
    let mut offsets = vec![];
    for (index, at) in partitions.iter().enumerate() {
        let (end, first) =
            if has_records(index) { (2, Some(TimestampMatch { offset: 1, timestamp: 2_000_000 })) } else { (0, None) };
        assert_eq!((&bounds[at], &found[at]), (&Ok(Bounds { start: 0, end }), &Ok(first)), "{at}");
        // Out of range where there is no record, so that the reset below has to commit each partition.
        let offset = first.map_or(7, |first| first.offset);
        offsets.push((at.clone(), Committed { offset, metadata: metadata.as_str().into() }));
    }
    let answers = admin.commit(&group, &offsets).await.unwrap();
    assert!(answers.len() == 10_000 && answers.values().all(Result::is_ok));
    let read = admin.committed(&group, &partitions).await.unwrap();
    let all = admin.all_committed(&group).await.unwrap();
    assert_eq!((read.len(), all.len()), (10_000, 10_000));
    for (at, committed) in offsets {
        let expected = Ok(Some(committed));
        assert_eq!((&read[&at], &all[&at]), (&expected, &expected));
    }

    // The same through an OffsetReset, to another time, with the whole report.
    let entries = json!([{"topicPattern": format!("{prefix}-.*"), "timestamp": 1_000_000_500}]);
    let done = stand.run("large", &group, entries, json!({})).await;
    let done_status = status(&done);
    let totals = done_status.totals.unwrap();
    assert_eq!((totals.partitions, totals.reset, totals.failed, totals.skipped), (10_000, 10_000, 0, 100), "{done_status:?}");
    assert!(done_status.partitions.len() <= 250 && done_status.partitions_omitted >= 9_750);
    let bytes = serde_json::to_string(&done).unwrap().len();
    assert!(bytes < 250_000, "the object has {bytes} bytes");
    let record = as_recorded(stand, &done).await;
    assert_eq!(record.partitions.len(), 10_000);
    assert_eq!((record.before.lines().count(), record.after.lines().count()), (10_000, 10_000));
    let read = admin.committed(&group, &partitions).await.unwrap();
    for (index, planned) in record.partitions.iter().enumerate() {
        let at = tp(&planned.topic, planned.partition);
        let end = read[&at].as_ref().unwrap().as_ref().unwrap().offset;
        assert_eq!((planned.after, planned.target_offset), (Some(end), end), "{index}: {at}");
        assert_eq!(planned.before_metadata.as_deref(), Some(metadata.as_str()), "what stood there before is in the record");
    }
    // Each partition costs the broker memory, and a sandbox serves many runs.
    for topic in &topics {
        stand.broker.delete_topic(topic).await;
    }
    // And the tests that come next should not wait for what this one has left to do.
    stand.broker.topic("small", 1).await;
}
