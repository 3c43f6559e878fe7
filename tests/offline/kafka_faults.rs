//! The Kafka adapter against faults that a healthy broker does not show: librdkafka's own mock cluster makes them to order.

use std::{
    slice,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use offset_reset_operator::{
    kafka::{Connection, Connector, GroupAdmin, Pool},
    machine::facts::{Bounds, Committed, KafkaError, KafkaErrorKind, TopicPartition},
};
use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

const NONE: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
const NOT_COORDINATOR: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
const NO_COORDINATOR: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE;
const LOADING: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
const NOT_AUTHORIZED: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// A cluster with one topic of so many partitions.
async fn cluster(brokers: i32, partitions: i32) -> (Cluster, Arc<dyn GroupAdmin>) {
    let cluster = MockCluster::new(brokers).unwrap();
    cluster.create_topic("orders", partitions, 1).unwrap();
    let connection = Connection::plain(cluster.bootstrap_servers());
    let admin = Pool::default().connect(&connection).await.unwrap();
    (cluster, admin)
}

fn orders(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

fn to(offset: i64) -> Committed {
    Committed { offset, metadata: "offset-reset/shop/replay/uid".into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_moves_while_offsets_are_read_is_asked_again_and_kills_nobody() {
    let (cluster, admin) = cluster(3, 1).await;
    assert_eq!(admin.commit("g", &[(orders(0), to(7))]).await.unwrap()[&orders(0)], Ok(()));
    for moving in [[NOT_COORDINATOR, NO_COORDINATOR], [NO_COORDINATOR, LOADING], [LOADING, NOT_COORDINATOR]] {
        cluster.request_errors(RDKafkaApiKey::OffsetFetch, &moving);
        assert_eq!(admin.committed("g", &[orders(0)]).await.unwrap()[&orders(0)], Ok(Some(to(7))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_moves_while_offsets_are_committed_is_asked_again() {
    let (cluster, admin) = cluster(3, 2).await;
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[NOT_COORDINATOR, NO_COORDINATOR, LOADING, NOT_COORDINATOR]);
    let answers = admin.commit("g", &[(orders(0), to(7)), (orders(1), to(8))]).await.unwrap();
    assert!(answers.len() == 2 && answers.values().all(Result::is_ok), "{answers:?}");
    assert_eq!(admin.committed("g", &[orders(1)]).await.unwrap()[&orders(1)], Ok(Some(to(8))));
}

/// Offsets for the partitions from 0 on: 2,000 are one part of a commit.
fn many(count: i32) -> Vec<(TopicPartition, Committed)> {
    (0..count).map(|partition| (orders(partition), to(i64::from(partition)))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_commit_that_the_coordinator_did_not_accept_are_sent_again() {
    let (cluster, admin) = cluster(3, 5_000).await;
    let offsets = many(5_000);
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[NONE, NOT_COORDINATOR, LOADING, NO_COORDINATOR]);
    let answers = admin.commit("g", &offsets).await.unwrap();
    assert!(answers.len() == 5_000 && answers.values().all(Result::is_ok));
    let asked: Vec<_> = offsets.iter().map(|(at, _)| at.clone()).collect();
    let read = admin.committed("g", &asked).await.unwrap();
    assert!(offsets.into_iter().all(|(at, committed)| read[&at] == Ok(Some(committed))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_of_one_part_of_a_commit_is_not_that_of_another() {
    let (cluster, admin) = cluster(1, 5_000).await;
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[NONE, NOT_AUTHORIZED]);
    let answers = admin.commit("g", &many(5_000)).await.unwrap();
    for (at, answer) in answers {
        let expected = if (2_000..4_000).contains(&at.partition) { Err(KafkaErrorKind::Authorization) } else { Ok(()) };
        assert_eq!(answer.map_err(|error| error.kind), expected, "{at}");
    }
}

/// A connector whose clients may commit for half a minute each time that `allowed` is true, for the number of earlier questions.
fn allowing(allowed: fn(usize) -> bool) -> (Pool, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let left = move || if allowed(counted.fetch_add(1, Ordering::SeqCst)) { Duration::from_secs(30) } else { Duration::ZERO };
    (Pool::allowing(Arc::new(left)), asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_parts_of_a_commit_are_sent_at_once_and_the_next_ones_only_while_that_is_allowed() {
    let (cluster, _) = cluster(1, 6_000).await;
    for (allowed, last) in [((|_| true) as fn(usize) -> bool, true), (|asked| asked < 2, false)] {
        let (pool, asked) = allowing(allowed);
        let admin = pool.connect(&Connection::plain(cluster.bootstrap_servers())).await.unwrap();
        admin.commit("g", &many(1)).await.unwrap();
        let answers = admin.commit("g", &many(6_000)).await.unwrap();
        // Once for the first commit, and once for each two of the three parts.
        assert_eq!((asked.load(Ordering::SeqCst), answers.len()), (3, 6_000));
        for (at, answer) in answers {
            let expected = if at.partition < 4_000 || last { Ok(()) } else { Err(KafkaErrorKind::Timeout) };
            assert_eq!(answer.map_err(|error| error.kind), expected, "{at}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_after_one_that_the_coordinator_did_not_accept_are_not_sent() {
    let (cluster, admin) = cluster(1, 1).await;
    // The coordinator refuses the second part at each of the twenty attempts.
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[&[NONE; 1][..], &[LOADING; 20]].concat());
    let answers = admin.commit("g", &many(6_000)).await.unwrap();
    let not_sent = |error: &KafkaError| error.message.contains("not sent, because an earlier part of the commit failed");
    for (at, answer) in answers {
        match answer {
            Ok(()) => assert_eq!(at.partition, 0),
            Err(error) => assert_eq!(not_sent(&error), at.partition >= 4_000, "{at}: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_may_not_be_seen_is_said_at_once() {
    let (cluster, admin) = cluster(1, 1).await;
    cluster.request_errors(RDKafkaApiKey::OffsetFetch, &[NOT_AUTHORIZED]);
    let error = admin.committed("g", &[orders(0)]).await.unwrap_err();
    assert_eq!(error.kind, KafkaErrorKind::Authorization);
    assert!(error.message.starts_with("group g: "), "{error}");
    // The next call is served, by another client.
    assert_eq!(admin.committed("g", &[orders(0)]).await.unwrap()[&orders(0)], Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_of_any_bytes_is_committed_and_read_byte_for_byte() {
    let (_cluster, admin) = cluster(1, 1).await;
    for metadata in [b"bAAkAAoA".to_vec(), vec![0, 0xff, 0xfe, b'x', 0], vec![b'x'; 4_096]] {
        let wanted = Committed { offset: 7, metadata: metadata.into() };
        assert_eq!(admin.commit("g", &[(orders(0), wanted.clone())]).await.unwrap()[&orders(0)], Ok(()));
        assert_eq!(admin.committed("g", &[orders(0)]).await.unwrap()[&orders(0)], Ok(Some(wanted)));
    }
}

/// librdkafka's work goes on when nobody waits for it any more: what was begun is carried out.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_caller_has_gone_is_carried_out_all_the_same() {
    let (cluster, admin) = cluster(1, 1).await;
    assert_eq!(admin.commit("g", &[(orders(0), to(7))]).await.unwrap()[&orders(0)], Ok(()));
    cluster.broker_round_trip_time(1, Duration::from_millis(500)).unwrap();
    let offsets = [(orders(0), to(8))];
    let given_up = tokio::time::timeout(Duration::from_millis(100), admin.commit("g", &offsets)).await;
    assert!(given_up.is_err(), "{given_up:?}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(admin.committed("g", &[orders(0)]).await.unwrap()[&orders(0)], Ok(Some(to(8))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_times_is_final_and_a_leader_that_moves_is_not() {
    let (cluster, admin) = cluster(1, 1).await;
    for (error, kind, is_transient) in [
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT, KafkaErrorKind::UnsupportedForMessageFormat, false),
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE, KafkaErrorKind::Leader, true),
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, KafkaErrorKind::Leader, true),
    ] {
        assert!(admin.offsets_for_times(&[(orders(0), 1_000)]).await.unwrap()[&orders(0)].is_ok());
        // librdkafka asks a leader that has moved again, some times.
        cluster.request_errors(RDKafkaApiKey::ListOffsets, &[error; 10]);
        let times = admin.offsets_for_times(&[(orders(0), 1_000)]).await.unwrap();
        let found = times[&orders(0)].as_ref().unwrap_err();
        assert_eq!((found.kind, found.kind.is_transient()), (kind, is_transient), "{found}");
        cluster.clear_request_errors(RDKafkaApiKey::ListOffsets);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_moves_under_many_portions_fails_none_of_them() {
    let (cluster, admin) = cluster(3, 900).await;
    let offsets: Vec<_> = (0..900).map(|partition| (orders(partition), to(i64::from(partition)))).collect();
    assert!(admin.commit("g", &offsets).await.unwrap().values().all(Result::is_ok));
    cluster.request_errors(RDKafkaApiKey::OffsetFetch, &[NOT_COORDINATOR]);
    let asked: Vec<_> = offsets.iter().map(|(at, _)| at.clone()).collect();
    let read = admin.committed("g", &asked).await.unwrap();
    assert_eq!(read.len(), 900);
    for (at, committed) in offsets {
        assert_eq!(read[&at], Ok(Some(committed)));
    }
}

/// librdkafka leaves such a partition without an error, and with an offset that reads as "no report that young": the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_does_not_answer_is_an_error_and_never_no_such_record() {
    let (cluster, admin) = cluster(1, 2).await;
    let asked = [orders(0), orders(1)];
    assert_eq!(admin.bounds(&asked).await.unwrap()[&orders(1)], Ok(Bounds { start: 0, end: 0 }));
    // Longer than the limit of a request; a connection that breaks instead is tried again.
    cluster.broker_round_trip_time(1, Duration::from_secs(20)).unwrap();
    let times = admin.offsets_for_times(&asked.clone().map(|at| (at, 1_000))).await;
    let kinds: Vec<_> = match &times {
        Ok(times) => times.values().map(|answer| answer.as_ref().map_err(|error| error.kind)).collect(),
        Err(error) => vec![Err(error.kind)],
    };
    assert!(kinds.iter().all(|kind| matches!(kind, Err(KafkaErrorKind::Timeout | KafkaErrorKind::Unreachable))), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_does_not_exist_fails_no_other_in_a_small_and_in_a_large_question() {
    let (_cluster, admin) = cluster(2, 2).await;
    // The second portion of the large question holds nothing that exists.
    for count in [4, 900] {
        let asked: Vec<_> = (0..count).map(orders).collect();
        let bounds = admin.bounds(&asked).await.unwrap();
        assert_eq!(bounds.len(), asked.len());
        for (at, bounds) in bounds {
            match bounds {
                Ok(bounds) => assert!(at.partition < 2 && bounds == Bounds { start: 0, end: 0 }),
                Err(error) => {
                    assert_eq!(error.kind, KafkaErrorKind::UnknownTopicOrPartition, "{error}");
                    assert!(at.partition >= 2 && error.message.starts_with(&format!("{at}: ")), "{error}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_a_leader_is_told_apart_from_one_that_does_not_exist() {
    let (cluster, admin) = cluster(1, 2).await;
    cluster.partition_leader("orders", 0, None).unwrap();
    cluster.partition_leader("orders", 1, None).unwrap();
    let bounds = admin.bounds(&[orders(0), orders(1), orders(2)]).await.unwrap();
    let kinds: Vec<_> = bounds.values().map(|answer| answer.as_ref().map_err(|error| error.kind)).collect();
    assert_eq!(
        kinds,
        [Err(KafkaErrorKind::Leader), Err(KafkaErrorKind::Leader), Err(KafkaErrorKind::UnknownTopicOrPartition)],
        "{bounds:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_go_away_are_missed_within_seconds_and_found_again() {
    let (cluster, admin) = cluster(1, 1).await;
    assert_eq!(admin.partitions("orders").await.unwrap(), [0]);
    cluster.broker_down(1).unwrap();
    // The first call begins before or after the client has noticed, and may take a request's time limit. The second one knows.
    for limit in [20, 8].map(Duration::from_secs) {
        let begin = Instant::now();
        let error = admin.bounds(&[orders(0)]).await.unwrap_err();
        assert_eq!(error.kind, KafkaErrorKind::Unreachable, "{error}");
        assert!(error.message.contains("closed the connection") || error.message.contains("refused"), "{error}");
        assert!(begin.elapsed() < limit, "{:?}", begin.elapsed());
    }
    cluster.broker_up(1).unwrap();
    assert!(admin.bounds(slice::from_ref(&orders(0))).await.unwrap()[&orders(0)].is_ok());
}
