//! Offsets: of logs, by time, and committed.

use std::time::Duration;

use offset_reset_operator::machine::facts::{Bounds, Committed, KafkaErrorKind, TimestampMatch};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use tokio::task::block_in_place;

use super::{admin, group_until, is_stable, to, topic, tp, wire::Wire};
use real_tests::{
    consumers::{Consumed, Kind, Member},
    delete_records, produce, unique,
};

#[tokio::test(flavor = "multi_thread")]
async fn bounds_follow_the_log() {
    let admin = admin().await;
    let topic = topic("bounds", 3).await;
    produce(&topic, 0, &[1_000, 2_000, 3_000, 4_000]).await;
    produce(&topic, 1, &[1_000, 2_000, 3_000]).await;
    delete_records(&topic, 1, 2).await;
    let asked: Vec<_> = [0, 1, 2, 9].map(|partition| tp(&topic, partition)).into();
    let bounds = admin.bounds(&asked).await.unwrap();
    assert_eq!(bounds[&asked[0]], Ok(Bounds { start: 0, end: 4 }));
    assert_eq!(bounds[&asked[1]], Ok(Bounds { start: 2, end: 3 }));
    assert_eq!(bounds[&asked[2]], Ok(Bounds { start: 0, end: 0 }));
    assert_eq!(bounds[&asked[3]].as_ref().unwrap_err().kind, KafkaErrorKind::UnknownTopicOrPartition);
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_offsets_are_removed_unless_a_member_subscribes_to_the_topic() {
    let admin = admin().await;
    let (name, group) = (topic("removed", 3).await, unique("removed"));
    let at: Vec<_> = [0, 1, 2].map(|partition| tp(&name, partition)).into();
    let none = admin.delete_offsets(&group, &at).await.unwrap();
    assert!(none.values().all(Result::is_ok), "the group does not exist, and so has no offset: {none:?}");
    admin.commit(&group, &[(at[0].clone(), to(0)), (at[1].clone(), to(0))]).await.unwrap();
    let gone = tp(&unique("gone"), 0);
    let asked = [at[0].clone(), at[2].clone(), gone.clone()];
    let removed = admin.delete_offsets(&group, &asked).await.unwrap();
    assert_eq!((&removed[&at[0]], &removed[&at[2]]), (&Ok(()), &Ok(())), "where there is none, that is no error");
    assert_eq!(removed[&gone].as_ref().unwrap_err().kind, KafkaErrorKind::UnknownTopicOrPartition);
    let left = admin.committed(&group, &at).await.unwrap();
    assert_eq!((&left[&at[0]], &left[&at[1]], &left[&at[2]]), (&Ok(None), &Ok(Some(to(0))), &Ok(None)));

    for consumer_protocol in [false, true] {
        let group = unique("removed");
        let kind = Kind { consumer_protocol, ..Kind::default() };
        let member = Member::start(&group, std::slice::from_ref(&name), &kind, 0, Consumed::default());
        group_until(admin.as_ref(), &group, |group| is_stable(group, 1)).await;
        let refused = admin.delete_offsets(&group, &at[..1]).await.unwrap();
        let error = refused[&at[0]].as_ref().unwrap_err();
        assert_eq!(error.kind, KafkaErrorKind::UnknownMember, "{error}");
        assert!(error.message.contains("subscribed"), "{error}");
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_is_the_first_record_at_or_after_it_also_out_of_order() {
    let admin = admin().await;
    let topic = topic("times", 2).await;
    produce(&topic, 0, &[1_000_000, 3_000_000, 2_000_000, 4_000_000]).await;
    for (time, expected) in [
        (1, Some((0, 1_000_000))),
        (1_000_000, Some((0, 1_000_000))),
        (1_000_001, Some((1, 3_000_000))),
        (2_000_000, Some((1, 3_000_000))),
        (3_000_001, Some((3, 4_000_000))),
        (4_000_001, None),
    ] {
        let found = admin.offsets_for_times(&[(tp(&topic, 0), time)]).await.unwrap();
        let found = found[&tp(&topic, 0)].clone().unwrap().map(|found| (found.offset, found.timestamp));
        assert_eq!(found, expected, "at or after {time}");
    }
    let empty = admin.offsets_for_times(&[(tp(&topic, 1), 1)]).await.unwrap();
    assert_eq!(empty[&tp(&topic, 1)], Ok(None));
    let negative = admin.offsets_for_times(&[(tp(&topic, 0), -1)]).await.unwrap();
    assert!(negative[&tp(&topic, 0)].is_err(), "a sentinel of the protocol is never asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_does_not_exist_is_unknown_and_not_created() {
    let admin = admin().await;
    let name = unique("no-such-topic");
    for _ in 0..2 {
        assert_eq!(admin.partitions(&name).await.unwrap_err().kind, KafkaErrorKind::UnknownTopicOrPartition);
    }
    let topic = topic("three", 3).await;
    assert_eq!(admin.partitions(&topic).await.unwrap(), [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_before_what_is_kept_is_the_first_record_that_is_kept() {
    let admin = admin().await;
    let topic = topic("kept", 1).await;
    produce(&topic, 0, &[1_000_000, 2_000_000, 3_000_000]).await;
    delete_records(&topic, 0, 2).await;
    let (kept, absent) = (tp(&topic, 0), tp(&topic, 9));
    let found = admin.offsets_for_times(&[(kept.clone(), 1), (absent.clone(), 1)]).await.unwrap();
    assert_eq!(found[&kept], Ok(Some(TimestampMatch { offset: 2, timestamp: 3_000_000 })));
    assert_eq!(found[&absent].as_ref().unwrap_err().kind, KafkaErrorKind::UnknownTopicOrPartition);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_question_about_a_topic_creates_it() {
    let admin = admin().await;
    let (gone, group) = (unique("gone"), unique("gone"));
    let at = tp(&gone, 0);
    for _ in 0..3 {
        let (bounds, times, partitions) = tokio::join!(
            async { admin.bounds(std::slice::from_ref(&at)).await.unwrap()[&at].clone().unwrap_err() },
            async { admin.offsets_for_times(&[(at.clone(), 1_000)]).await.unwrap()[&at].clone().unwrap_err() },
            async { admin.partitions(&gone).await.unwrap_err() },
        );
        for error in [bounds, times, partitions] {
            assert_eq!(error.kind, KafkaErrorKind::UnknownTopicOrPartition, "{error}");
            assert!(error.message.contains(&gone), "{error}");
        }
        assert_eq!(admin.committed(&group, std::slice::from_ref(&at)).await.unwrap()[&at], Ok(None));
    }
}

/// The broker takes a negative offset from those who send one, and consumers read it as "nothing committed".
#[tokio::test(flavor = "multi_thread")]
async fn a_negative_offset_that_somebody_committed_reads_as_none() {
    let admin = admin().await;
    let (topic, group) = (topic("negative", 1).await, unique("negative"));
    assert_eq!(admin.commit(&group, &[(tp(&topic, 0), to(0))]).await.unwrap()[&tp(&topic, 0)], Ok(()));
    block_in_place(|| Wire::to_coordinator(&group).commit(&topic, 0, -1));
    assert_eq!(admin.committed(&group, &[tp(&topic, 0)]).await.unwrap()[&tp(&topic, 0)], Ok(None));
    let all = admin.all_committed(&group).await.unwrap();
    assert!(all.values().all(|committed| *committed == Ok(None)), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_is_too_large_fails_its_own_partition_only() {
    let admin = admin().await;
    let (topic, group) = (topic("metadata", 2).await, unique("metadata"));
    let large = Committed { offset: 0, metadata: "x".repeat(4_097).into() };
    let answers = admin.commit(&group, &[(tp(&topic, 0), to(0)), (tp(&topic, 1), large)]).await.unwrap();
    assert_eq!(answers[&tp(&topic, 0)], Ok(()));
    let error = answers[&tp(&topic, 1)].as_ref().unwrap_err();
    assert!(error.kind == KafkaErrorKind::MetadataTooLarge && error.message.contains("metadata"), "{error}");
    assert_eq!(admin.all_committed(&group).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_among_the_commits_fails_no_other() {
    let admin = admin().await;
    let (kept, deleted, group) = (topic("kept", 1).await, topic("deleted", 1).await, unique("deleted"));
    let (kept, deleted) = (tp(&kept, 0), tp(&deleted, 0));
    let both = [kept.clone(), deleted.clone()];
    let answers = admin.commit(&group, &both.clone().map(|at| (at, to(0)))).await.unwrap();
    assert!(answers.values().all(Result::is_ok), "{answers:?}");
    let client: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", real_tests::brokers()).create().unwrap();
    client.delete_topics(&[&deleted.topic], &AdminOptions::new()).await.unwrap();
    let is_gone = async {
        while admin.partitions(&deleted.topic).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    real_tests::within(real_tests::PATIENCE, is_gone).await.unwrap();
    // What was committed for it stays for a moment, or is gone already; it is no error.
    let read = admin.committed(&group, &both).await.unwrap();
    assert_eq!(read[&kept], Ok(Some(to(0))));
    assert!(read[&deleted].is_ok(), "{read:?}");
    assert_eq!(admin.all_committed(&group).await.unwrap()[&kept], Ok(Some(to(0))));
    let unknown = |kind: KafkaErrorKind| kind == KafkaErrorKind::UnknownTopicOrPartition;
    // A client that has known the topic believes in it for some seconds more.
    let admin = super::admin().await;
    let bounds = admin.bounds(&both).await.unwrap();
    assert_eq!(bounds[&kept], Ok(Bounds { start: 0, end: 0 }));
    assert!(unknown(bounds[&deleted].as_ref().unwrap_err().kind), "{bounds:?}");
    let answers = admin.commit(&group, &both.clone().map(|at| (at, to(0)))).await.unwrap();
    assert_eq!(answers[&kept], Ok(()));
    assert!(unknown(answers[&deleted].as_ref().unwrap_err().kind), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_partition_of_a_commit_has_its_own_answer() {
    let admin = admin().await;
    let (topic, group) = (topic("mixed", 1).await, unique("mixed"));
    let gone = unique("gone");
    let offsets = [
        (tp(&topic, 0), to(0)),
        (tp(&gone, 0), to(0)),
        (tp(&topic, 7), to(0)),
        (tp(&topic, 0), Committed { offset: 0, ..to(0) }),
    ];
    let answers = admin.commit(&group, &offsets[..3]).await.unwrap();
    assert_eq!(answers[&tp(&topic, 0)], Ok(()));
    assert_eq!(answers[&tp(&gone, 0)].as_ref().unwrap_err().kind, KafkaErrorKind::UnknownTopicOrPartition);
    assert_eq!(answers[&tp(&topic, 7)].as_ref().unwrap_err().kind, KafkaErrorKind::UnknownTopicOrPartition);
    let negative = admin.commit(&group, &[(tp(&topic, 0), to(-1))]).await.unwrap();
    assert!(negative[&tp(&topic, 0)].is_err(), "a negative offset is never sent");
    assert_eq!(admin.committed(&group, &[tp(&topic, 0)]).await.unwrap()[&tp(&topic, 0)], Ok(Some(to(0))));
}

/// librdkafka works on a question about offsets on two threads at once when it does not know a leader and news of the cluster
/// arrive meanwhile. A client that does not ask for the leaders first ends the process here by a fault in native memory: for sure
/// when linked with `--wrap=rd_kafka_timer_is_started` and a wrapper that sleeps for 5 ms first, else once in many runs.
#[tokio::test(flavor = "multi_thread")]
async fn many_questions_at_once_about_topics_that_the_client_has_not_seen() {
    let broker = real_tests::broker::Broker::default();
    let mut topics = vec![];
    for _ in 0..24 {
        topics.push(broker.topic("unseen", 1).await);
    }
    for round in 0..10 {
        let admin = admin().await;
        let questions = topics.iter().map(|topic| {
            let admin = admin.clone();
            let (seen, unseen) = (tp(topic, 0), tp(topic, 1));
            let news = (admin.clone(), topic.clone());
            let news = tokio::spawn(async move { news.0.partitions(&news.1).await.unwrap() });
            let bounds = tokio::spawn(async move {
                let bounds = admin.bounds(&[seen.clone(), unseen.clone()]).await.unwrap();
                assert_eq!(bounds[&seen], Ok(Bounds { start: 0, end: 0 }), "round {round}");
                assert_eq!(bounds[&unseen].as_ref().unwrap_err().kind, KafkaErrorKind::UnknownTopicOrPartition);
            });
            (news, bounds)
        });
        for (news, bounds) in questions.collect::<Vec<_>>() {
            assert_eq!(news.await.unwrap(), [0]);
            bounds.await.unwrap();
        }
    }
}
