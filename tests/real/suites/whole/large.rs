//! Thousands of partitions.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::PostParams};
use offset_reset_operator::{
    kafka::{Connection, Connector},
    machine::facts::{Bounds, Committed, TimestampMatch, TopicPartition},
};
use rdkafka::producer::FutureRecord;
use serde_json::json;

use super::{TestEnv, as_recorded, tp};
use real_tests::{PATIENCE, process::clients, shop::status, unique, within};

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_partitions_by_time_and_from_a_file_are_looked_up_committed_and_read_back() {
    TestEnv::with(async |stand| large(stand).await).await;
}

/// Waits until every partition has its leader: a broker that is busy creates sixty of them a second.
async fn led(stand: &TestEnv, partitions: &[TopicPartition]) {
    // As a process of its own: asked for partitions without a leader, librdkafka may crash (see `list_offsets`).
    let admin = clients().connect(&Connection::plain(stand.broker.bootstrap_servers.clone())).await.unwrap();
    let led = async {
        while !admin.bounds(partitions).await.is_ok_and(|bounds| bounds.values().all(Result::is_ok)) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    within(PATIENCE * 4, led).await.expect("every partition gets its leader");
}

/// The same partitions from a file, which has more lines than `spec.resets` can have entries.
async fn from_a_file(stand: &TestEnv, partitions: &[TopicPartition], has_records: impl Fn(usize) -> bool) {
    let group = unique("lines");
    let before: Vec<_> = partitions.iter().map(|at| (at.clone(), Committed { offset: 7, metadata: "ours".into() })).collect();
    let answers = stand.admin.commit(&group, &before).await.unwrap();
    assert!(answers.len() == partitions.len() && answers.values().all(Result::is_ok));
    let text = partitions.iter().map(|at| format!("{},{},1\n", at.topic, at.partition)).collect::<Vec<_>>().concat();
    let mut file = ConfigMap { data: Some(BTreeMap::from([("offsets.csv".to_owned(), text)])), ..ConfigMap::default() };
    file.metadata.name = Some("lines".to_owned());
    Api::<ConfigMap>::namespaced(stand.client.clone(), &stand.namespace).create(&PostParams::default(), &file).await.unwrap();
    let spec = json!({"resetsFrom": {"configMapKeyRef": {"name": "lines", "key": "offsets.csv"}}});
    let begin = Instant::now();
    let done = stand.run("lines", &group, json!([]), spec).await;
    println!("a file of {} lines: {:.1} s", partitions.len(), begin.elapsed().as_secs_f64());
    let (totals, count) = (status(&done).totals.unwrap(), i64::try_from(partitions.len()).unwrap());
    let empty = count - i64::try_from((0..partitions.len()).filter(|index| has_records(*index)).count()).unwrap();
    assert_eq!((totals.partitions, totals.reset, totals.clamped), (count, count, empty), "{:?}", status(&done).message);
    assert_eq!(as_recorded(stand, &done).await.after.lines().count(), partitions.len());
    let read = stand.admin.committed(&group, partitions).await.unwrap();
    for (index, at) in partitions.iter().enumerate() {
        let offset = read[at].as_ref().unwrap().as_ref().unwrap().offset;
        assert_eq!(offset, i64::from(has_records(index)), "{at}");
    }
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
    led(stand, &partitions).await;
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
        assert_eq!((planned.after, planned.target_offset), (Some(end), Some(end)), "{index}: {at}");
        assert_eq!(planned.before_metadata.as_deref(), Some(metadata.as_str()), "what stood there before is in the record");
    }
    from_a_file(stand, &partitions, has_records).await;
    // Each partition costs the broker memory, and a sandbox serves many runs.
    for topic in &topics {
        stand.broker.delete_topic(topic).await;
    }
    // And the tests that come next should not wait for what this one has left to do.
    stand.broker.topic("small", 1).await;
}
