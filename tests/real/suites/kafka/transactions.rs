//! Open transactions: where a log is stable to, and offsets that are committed in one.

use std::{future::Future, time::Duration};

use offset_reset_operator::machine::facts::{Bounds, Committed, KafkaErrorKind};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};
use tokio::task::block_in_place;

use super::{admin, to, topic, tp};
use real_tests::{produce, unique};

/// A producer with a transaction that is open. Its calls block.
pub fn transaction(name: &str) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", real_tests::brokers()).set("transactional.id", name);
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(real_tests::PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    producer
}

/// Commits offsets for a group in a transaction.
pub fn send_offsets(producer: &BaseProducer, group: &str, offsets: &[(&str, i32, i64)]) {
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).unwrap();
    }
    let mut config = ClientConfig::new();
    // It never subscribes, so it is no member.
    let consumer: BaseConsumer = config.set("bootstrap.servers", real_tests::brokers()).set("group.id", group).create().unwrap();
    producer.send_offsets_to_transaction(&list, &consumer.group_metadata().unwrap(), real_tests::PATIENCE).unwrap();
}

/// Waits for what a transaction's end brings: its markers are written after the call has returned.
async fn until<T: PartialEq + std::fmt::Debug, F: Future<Output = T>>(expected: T, ask: impl Fn() -> F) {
    let mut last = None;
    let waiting = async {
        while last.as_ref() != Some(&expected) {
            last = Some(ask().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let found = real_tests::within(real_tests::PATIENCE, waiting).await;
    assert!(found.is_some(), "{last:?} instead of {expected:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stable_end_stays_before_an_open_transaction_and_the_bounds_do_not() {
    let admin = admin().await;
    let topic = topic("stable", 2).await;
    let (at, other) = (tp(&topic, 0), tp(&topic, 1));
    let asked = [at.clone(), other.clone(), tp(&topic, 9), tp(&topic, -1)];
    produce(&topic, 0, &[1_000, 2_000]).await;
    for is_committed in [true, false] {
        let before = admin.bounds(&asked).await.unwrap()[&at].clone().unwrap().end;
        assert_eq!(admin.stable_ends(&asked).await.unwrap()[&at], Ok(before));
        let producer = block_in_place(|| {
            let producer = transaction(&unique("stable"));
            for _ in 0..3 {
                producer.send(BaseRecord::<(), str>::to(&topic).partition(0).payload("open").timestamp(3_000)).unwrap();
            }
            producer.flush(real_tests::PATIENCE).unwrap();
            producer
        });
        let ends = admin.stable_ends(&asked).await.unwrap();
        assert_eq!(ends.len(), 4);
        assert_eq!((&ends[&at], &ends[&other]), (&Ok(before), &Ok(0)));
        assert_eq!(ends[&asked[2]].as_ref().unwrap_err().kind, KafkaErrorKind::UnknownTopicOrPartition);
        assert_eq!(ends[&asked[3]].as_ref().unwrap_err().kind, KafkaErrorKind::UnknownTopicOrPartition);
        assert_eq!(admin.bounds(&asked).await.unwrap()[&at], Ok(Bounds { start: 0, end: before + 3 }));
        block_in_place(|| {
            if is_committed {
                producer.commit_transaction(real_tests::PATIENCE).unwrap();
            } else {
                producer.abort_transaction(real_tests::PATIENCE).unwrap();
            }
        });
        // The marker of the transaction's end has an offset too.
        until(Ok(before + 4), || async { admin.stable_ends(&asked).await.unwrap()[&at].clone() }).await;
        assert_eq!(admin.bounds(&asked).await.unwrap()[&at], Ok(Bounds { start: 0, end: before + 4 }));
    }
    assert!(admin.stable_ends(&[]).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_is_pending_in_a_transaction_is_unstable_until_that_is_over() {
    let admin = admin().await;
    let (topic, group) = (topic("pending", 3).await, unique("pending"));
    let asked = [0, 1, 2].map(|partition| tp(&topic, partition));
    produce(&topic, 0, &[1_000, 2_000]).await;
    assert_eq!(admin.commit(&group, &[(asked[0].clone(), to(0))]).await.unwrap()[&asked[0]], Ok(()));
    let first = Ok(Some(to(0)));
    let ours = Ok(Some(Committed { offset: 2, metadata: "".into() }));
    for (is_committed, after) in [(false, [first.clone(), Ok(None), Ok(None)]), (true, [ours.clone(), ours, Ok(None)])] {
        let producer = block_in_place(|| {
            let producer = transaction(&unique("pending"));
            send_offsets(&producer, &group, &[(&topic, 0, 2), (&topic, 1, 2)]);
            producer
        });
        let read = admin.committed(&group, &asked).await.unwrap();
        for at in &asked[..2] {
            let error = read[at].as_ref().unwrap_err();
            assert!(error.kind == KafkaErrorKind::UnstableOffset && error.kind.is_transient(), "{error}");
            assert!(error.message.starts_with(&format!("{at}: ")), "{error}");
        }
        assert_eq!(read[&asked[2]], Ok(None), "a pending offset fails no other partition");
        // Asked for the whole group, the broker leaves out what is only pending.
        let all = admin.all_committed(&group).await.unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), [&asked[0]]);
        assert_eq!(all[&asked[0]].as_ref().unwrap_err().kind, KafkaErrorKind::UnstableOffset);
        block_in_place(|| {
            if is_committed {
                producer.commit_transaction(real_tests::PATIENCE).unwrap();
            } else {
                producer.abort_transaction(real_tests::PATIENCE).unwrap();
            }
        });
        until(after.to_vec(), || async { admin.committed(&group, &asked).await.unwrap().into_values().collect::<Vec<_>>() })
            .await;
    }
}

/// Kafka keeps the commit that was written later; a pending one counts from when it was sent, not from its transaction's end.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_over_a_pending_one_stays_when_the_transaction_is_committed() {
    let admin = admin().await;
    let (topic, group) = (topic("over", 1).await, unique("over"));
    let at = tp(&topic, 0);
    produce(&topic, 0, &[1_000, 2_000]).await;
    let producer = block_in_place(|| {
        let producer = transaction(&unique("over"));
        send_offsets(&producer, &group, &[(&topic, 0, 2)]);
        producer
    });
    assert_eq!(admin.commit(&group, &[(at.clone(), to(1))]).await.unwrap()[&at], Ok(()));
    let read = admin.committed(&group, std::slice::from_ref(&at)).await.unwrap();
    assert_eq!(read[&at].as_ref().unwrap_err().kind, KafkaErrorKind::UnstableOffset, "not read back before the transaction ends");
    block_in_place(|| producer.commit_transaction(real_tests::PATIENCE).unwrap());
    until(Ok(Some(to(1))), || async { admin.committed(&group, std::slice::from_ref(&at)).await.unwrap()[&at].clone() }).await;
}
