//! Thousands of partitions.

use offset_reset_operator::machine::world::{Bounds, Committed, TimestampMatch, TopicPartition};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    producer::FutureRecord,
};

use crate::{
    admin,
    common::{self, producer, unique},
    topic, tp,
};

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_partitions_by_time_are_looked_up_committed_and_read_back() {
    let admin = admin().await;
    let group = unique("large");
    let mut partitions: Vec<TopicPartition> = vec![];
    let mut topics = vec![];
    // A broker takes its time for each, and is of no use to other tests meanwhile: so a thousand at once.
    for _ in 0..10 {
        let topic = topic("large", 1_000).await;
        partitions.extend((0..1_000).map(|partition| tp(&topic, partition)));
        topics.push(topic);
    }
    // Every hundredth partition has two records.
    let producer = producer();
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
        let offset = first.map_or(end, |first| first.offset);
        offsets.push((at.clone(), Committed { offset, metadata: metadata.clone() }));
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
    // Each partition costs the broker memory, and a sandbox serves many runs.
    let client: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", common::brokers()).create().unwrap();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    client.delete_topics(&topics, &AdminOptions::new()).await.unwrap();
    // And the tests that come next should not wait for what this one has left to do.
    topic("small", 1).await;
}
