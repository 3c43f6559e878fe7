//! The Kafka adapter on a real broker.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic: that is how it fails")]

mod common;

use std::{process::Stdio, sync::Arc, time::Duration};

use common::{
    consumers::{Consumed, Kind, Member},
    delete_records, produce, topic, unique,
};
use offset_reset_operator::{
    kafka::{Connection, Connector, GroupAdmin, Pool},
    machine::{
        group,
        world::{Bounds, Committed, Group, GroupState, GroupType, KafkaErrorKind, TimestampMatch, TopicPartition},
    },
};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};

async fn admin() -> Arc<dyn GroupAdmin> {
    connect(&common::brokers()).await
}

async fn connect(brokers: &str) -> Arc<dyn GroupAdmin> {
    Pool::default().connect(&Connection { bootstrap_servers: brokers.into() }).await.unwrap()
}

fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn to(offset: i64) -> Committed {
    Committed { offset, metadata: "offset-reset/shop/replay/uid".into() }
}

/// Waits until the group is as wished; the broker sends no events about groups.
async fn group_until(admin: &dyn GroupAdmin, name: &str, wished: impl Fn(&Group) -> bool) -> Group {
    let mut last = None;
    let waiting = async {
        loop {
            let group = admin.describe_group(name).await.unwrap();
            if wished(&group) {
                return group;
            }
            last = Some(group);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let found = common::within(common::PATIENCE, waiting).await;
    found.unwrap_or_else(|| panic!("last seen: {last:?}"))
}

/// Waits until each partition of a new topic has its leader; until then that is what its answer says.
async fn led(admin: &dyn GroupAdmin, partitions: &[TopicPartition]) {
    let led = async {
        loop {
            let bounds = admin.bounds(partitions).await.unwrap();
            assert_eq!(bounds.len(), partitions.len());
            if bounds.values().all(Result::is_ok) {
                return;
            }
            let is_early = |kind: KafkaErrorKind| kind.is_transient() || kind == KafkaErrorKind::UnknownTopicOrPartition;
            let wrong = bounds.values().filter_map(|bounds| bounds.as_ref().err()).find(|error| !is_early(error.kind));
            assert!(wrong.is_none(), "{wrong:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    common::within(common::PATIENCE, led).await.unwrap();
}

fn is_stable(group: &Group, members: usize) -> bool {
    matches!(group, Group::Found(found) if found.members.len() == members && found.members.iter().all(|member| member.assigned > 0))
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_follow_the_log() {
    let admin = admin().await;
    let topic = topic("bounds", 3).await;
    produce(&topic, 0, &[1_000, 2_000, 3_000, 4_000]).await;
    produce(&topic, 1, &[1_000, 2_000, 3_000]).await;
    delete_records(&topic, 1, 2).await;
    let asked: Vec<_> = [0, 1, 2, 9].map(|partition| tp(&topic, partition)).into();
    led(admin.as_ref(), &asked[..3]).await;
    let bounds = admin.bounds(&asked).await.unwrap();
    assert_eq!(bounds[&asked[0]], Ok(Bounds { start: 0, end: 4 }));
    assert_eq!(bounds[&asked[1]], Ok(Bounds { start: 2, end: 3 }));
    assert_eq!(bounds[&asked[2]], Ok(Bounds { start: 0, end: 0 }));
    assert_eq!(bounds[&asked[3]].as_ref().unwrap_err().kind, KafkaErrorKind::UnknownTopicOrPartition);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_is_the_first_record_at_or_after_it_also_out_of_order() {
    let admin = admin().await;
    let topic = topic("times", 2).await;
    led(admin.as_ref(), &[tp(&topic, 0), tp(&topic, 1)]).await;
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
async fn an_unknown_group_is_not_found_and_has_committed_nothing() {
    let admin = admin().await;
    let name = unique("nobody");
    let group = admin.describe_group(&name).await.unwrap();
    assert!(!group::is_known(&group, false), "{group:?}");
    assert!(group::is_free(&group));
    assert!(admin.all_committed(&name).await.unwrap().is_empty());
}

async fn a_live_group_is_never_free(kind: Kind, group_type: GroupType) {
    let admin = admin().await;
    let (topic, group) = (topic("live", 2).await, unique("live"));
    produce(&topic, 0, &[1_000, 2_000]).await;
    let members: Vec<Member> =
        (0..2).map(|index| Member::start(&group, std::slice::from_ref(&topic), &kind, index, Consumed::default())).collect();
    let seen = group_until(admin.as_ref(), &group, |group| is_stable(group, 2)).await;
    assert!(!group::is_free(&seen));
    let Group::Found(found) = &seen else { panic!("{seen:?}") };
    assert_eq!(found.group_type, group_type);
    let mut clients: Vec<_> = found.members.iter().map(|member| member.client_id.as_str()).collect();
    clients.sort_unstable();
    assert_eq!(clients, ["consumer-0", "consumer-1"]);
    assert!(found.members.iter().all(|member| !member.host.is_empty() && !member.host.starts_with('/')));

    // The broker is the lock: beside members nothing is committed, and that is said per partition.
    let before = admin.committed(&group, &[tp(&topic, 0)]).await.unwrap();
    let answers = admin.commit(&group, &[(tp(&topic, 0), to(1)), (tp(&topic, 1), to(0))]).await.unwrap();
    for answer in answers.values() {
        assert_eq!(answer.as_ref().unwrap_err().kind, KafkaErrorKind::UnknownMember);
    }
    let after = admin.committed(&group, &[tp(&topic, 0)]).await.unwrap();
    let metadata = |answers: &std::collections::BTreeMap<TopicPartition, Result<Option<Committed>, _>>| {
        answers[&tp(&topic, 0)].as_ref().unwrap().as_ref().map(|committed| committed.metadata.clone())
    };
    assert!(metadata(&before).is_none_or(|text| text.is_empty()) && metadata(&after).is_none_or(|text| text.is_empty()));

    // They leave, and the group is free; what is committed then is what is read back.
    tokio::task::spawn_blocking(move || drop(members)).await.unwrap();
    let free = group_until(admin.as_ref(), &group, group::is_free).await;
    assert!(
        matches!(&free, Group::Found(found) if found.state == GroupState::Empty && found.group_type == group_type),
        "{free:?}"
    );
    let answers = admin.commit(&group, &[(tp(&topic, 0), to(1)), (tp(&topic, 1), to(0))]).await.unwrap();
    assert!(answers.values().all(Result::is_ok), "{answers:?}");
    let read = admin.committed(&group, &[tp(&topic, 0), tp(&topic, 1)]).await.unwrap();
    assert_eq!(read[&tp(&topic, 0)], Ok(Some(to(1))));
    assert_eq!(read[&tp(&topic, 1)], Ok(Some(to(0))));
    assert_eq!(admin.all_committed(&group).await.unwrap(), read);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_classic_group_is_never_free() {
    a_live_group_is_never_free(Kind::default(), GroupType::Classic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_group_of_the_consumer_protocol_is_never_free() {
    a_live_group_is_never_free(Kind { consumer_protocol: true, ..Kind::default() }, GroupType::Consumer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_member_stays_until_its_session_ends() {
    let admin = admin().await;
    let (topic, group) = (topic("static", 1).await, unique("static"));
    let kind = Kind { is_static: true, session_timeout_ms: Some(6_000), ..Kind::default() };
    let member = Member::start(&group, &[topic], &kind, 0, Consumed::default());
    group_until(admin.as_ref(), &group, |group| is_stable(group, 1)).await;
    tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
    let left = admin.describe_group(&group).await.unwrap();
    assert!(!group::is_free(&left), "it does not leave");
    let Group::Found(found) = left else { panic!() };
    assert_eq!(found.members[0].instance_id.as_deref(), Some("instance-0"));
    group_until(admin.as_ref(), &group, group::is_free).await;
}

/// One of Kafka's own programs, from the jars beside its command-line tools. Ends with the test, however that ends.
fn kafka_program(class: &str, arguments: &[&str]) -> tokio::process::Child {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let bin = std::env::split_paths(&path).find(|dir| dir.join("kafka-console-consumer").is_file());
    let libs = bin.expect("kafka-console-consumer is on the PATH, as in `cargo sandbox exec`").join("../libs/*");
    let mut java = tokio::process::Command::new("java");
    java.args(["-Xmx128m", "-cp", libs.to_str().unwrap(), class, "--bootstrap-server", &common::brokers()]);
    java.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap()
}

/// Kafka answers the classic question about a share group with "Dead": what it also says about a group that nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_live_share_group_is_refused_and_never_called_free() {
    let admin = admin().await;
    let (topic, group) = (topic("shared", 1).await, unique("shared"));
    let class = "org.apache.kafka.tools.consumer.ConsoleShareConsumer";
    let _consumer = kafka_program(class, &["--topic", &topic, "--group", &group]);
    let refused = async {
        loop {
            match admin.describe_group(&group).await {
                Ok(Group::NotFound) => tokio::time::sleep(Duration::from_millis(50)).await,
                Ok(found) => panic!("{found:?}"),
                Err(error) => return error,
            }
        }
    };
    let error = common::within(common::PATIENCE, refused).await.unwrap();
    assert_eq!(error.kind, KafkaErrorKind::Other);
    assert!(error.message.starts_with(&format!("group {group}: it exists, but it is no consumer group")), "{error}");
    let answers = admin.commit(&group, &[(tp(&topic, 0), to(0))]).await.unwrap();
    assert_eq!(answers[&tp(&topic, 0)].as_ref().unwrap_err().kind, KafkaErrorKind::GroupNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_killed_stays_until_its_session_ends() {
    let admin = admin().await;
    let (topic, group) = (topic("killed", 1).await, unique("killed"));
    let (class, session) = ("org.apache.kafka.tools.consumer.ConsoleConsumer", "session.timeout.ms=6000");
    let mut consumer = kafka_program(class, &["--topic", &topic, "--group", &group, "--command-property", session]);
    group_until(admin.as_ref(), &group, |group| is_stable(group, 1)).await;
    consumer.kill().await.unwrap();
    let left = admin.describe_group(&group).await.unwrap();
    assert!(!group::is_free(&left) && group::members(&left) == 1, "{left:?}");
    let answers = admin.commit(&group, &[(tp(&topic, 0), to(0))]).await.unwrap();
    assert_eq!(answers[&tp(&topic, 0)].as_ref().unwrap_err().kind, KafkaErrorKind::UnknownMember);
    group_until(admin.as_ref(), &group, group::is_free).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_makes_the_group_and_then_it_is_empty() {
    let admin = admin().await;
    let (topic, group) = (topic("made", 1).await, unique("made"));
    led(admin.as_ref(), &[tp(&topic, 0)]).await;
    assert_eq!(admin.describe_group(&group).await.unwrap(), Group::NotFound);
    assert_eq!(admin.commit(&group, &[(tp(&topic, 0), to(0))]).await.unwrap()[&tp(&topic, 0)], Ok(()));
    let made = admin.describe_group(&group).await.unwrap();
    assert!(matches!(&made, Group::Found(found) if found.state == GroupState::Empty && found.members.is_empty()), "{made:?}");
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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_twice_is_asked_once_and_contradictions_are_refused() {
    let admin = admin().await;
    let (topic, group) = (topic("twice", 2).await, unique("twice"));
    let (zero, one) = (tp(&topic, 0), tp(&topic, 1));
    led(admin.as_ref(), &[zero.clone(), one.clone()]).await;
    assert_eq!(admin.bounds(&[zero.clone(), zero.clone()]).await.unwrap()[&zero], Ok(Bounds { start: 0, end: 0 }));
    let twice = [(zero.clone(), to(0)), (zero.clone(), to(0)), (one.clone(), to(0)), (one.clone(), to(1))];
    let answers = admin.commit(&group, &twice).await.unwrap();
    assert_eq!(answers[&zero], Ok(()));
    assert_eq!(answers[&one].as_ref().unwrap_err().kind, KafkaErrorKind::Other);
    let read = admin.committed(&group, &[one.clone(), zero.clone(), zero.clone()]).await.unwrap();
    assert_eq!((&read[&zero], &read[&one]), (&Ok(Some(to(0))), &Ok(None)));
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
async fn names_that_cannot_exist_are_errors_and_no_panic() {
    let admin = admin().await;
    for group in ["", "a\0b"] {
        assert_eq!(admin.describe_group(group).await.unwrap_err().kind, KafkaErrorKind::Other);
        assert!(admin.all_committed(group).await.is_err());
        assert!(admin.commit(group, &[(tp("t", 0), to(0))]).await.is_err());
    }
    for topic in ["", "a\0b", "white space"] {
        assert!(admin.partitions(topic).await.is_err());
        assert!(admin.bounds(&[tp(topic, 0)]).await.unwrap()[&tp(topic, 0)].is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_partition_of_a_commit_has_its_own_answer() {
    let admin = admin().await;
    let (topic, group) = (topic("mixed", 1).await, unique("mixed"));
    led(admin.as_ref(), &[tp(&topic, 0)]).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_partitions_are_committed_in_chunks_and_read_back() {
    let admin = admin().await;
    let (topic, group) = (topic("large", 3_000).await, unique("large"));
    let metadata = format!("offset-reset/{}", "x".repeat(100));
    let partitions: Vec<_> = (0..3_000).map(|partition| tp(&topic, partition)).collect();
    led(admin.as_ref(), &partitions).await;
    let offsets: Vec<_> = partitions.iter().map(|at| (at.clone(), Committed { offset: 0, metadata: metadata.clone() })).collect();
    let answers = admin.commit(&group, &offsets).await.unwrap();
    assert!(answers.len() == 3_000 && answers.values().all(Result::is_ok));
    let read = admin.committed(&group, &partitions).await.unwrap();
    assert!(
        read.len() == 3_000 && read.values().all(|read| *read == Ok(Some(Committed { offset: 0, metadata: metadata.clone() })))
    );
    // Each partition costs the broker memory, and a sandbox serves many runs.
    let client: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", common::brokers()).create().unwrap();
    client.delete_topics(&[&topic], &AdminOptions::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_is_unreachable_and_the_cause_is_said() {
    let refused = connect("127.0.0.1:1").await.describe_group("g").await.unwrap_err();
    assert_eq!(refused.kind, KafkaErrorKind::Unreachable);
    assert!(refused.message.contains("127.0.0.1:1") && refused.message.contains("refused"), "{}", refused.message);
    let unresolved = connect("no-such-host.invalid:9092").await.describe_group("g").await.unwrap_err();
    assert_eq!(unresolved.kind, KafkaErrorKind::Unreachable);
    assert!(unresolved.message.contains("no-such-host.invalid"), "{}", unresolved.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_asked_is_nothing_answered() {
    let admin = connect("127.0.0.1:1").await;
    assert!(admin.bounds(&[]).await.unwrap().is_empty());
    assert!(admin.offsets_for_times(&[]).await.unwrap().is_empty());
    assert!(admin.committed("g", &[]).await.unwrap().is_empty());
    assert!(admin.commit("g", &[]).await.unwrap().is_empty());
}
