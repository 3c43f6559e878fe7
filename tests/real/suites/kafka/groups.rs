//! Groups of consumers: how they are, and that the broker is the lock.

use std::{collections::BTreeSet, slice};

use offset_reset_operator::machine::facts::{Committed, Group, GroupState, GroupType, KafkaErrorKind, TopicPartition, group};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
};
use tokio::task::block_in_place;

use super::{admin, group_until, is_stable, kafka_program, to, topic, tp, wire::Wire};
use real_tests::{
    consumers::{Consumed, Kind, Member},
    produce, unique,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_group_is_not_found_and_has_committed_nothing() {
    let admin = admin().await;
    let name = unique("nobody");
    let group = admin.describe_group(&name).await.unwrap();
    assert!(!group::is_known(&group, false), "{group:?}");
    assert!(group::is_empty(&group));
    assert!(admin.all_committed(&name).await.unwrap().is_empty());
}

async fn a_live_group_is_never_free(kind: Kind, group_type: GroupType) {
    let admin = admin().await;
    let (topic, group) = (topic("live", 2).await, unique("live"));
    produce(&topic, 0, &[1_000, 2_000]).await;
    let members: Vec<Member> =
        (0..2).map(|index| Member::start(&group, std::slice::from_ref(&topic), &kind, index, Consumed::default())).collect();
    let seen = group_until(admin.as_ref(), &group, |group| is_stable(group, 2)).await;
    assert!(!group::is_empty(&seen));
    let Group::Found(found) = &seen else { panic!("{seen:?}") };
    assert_eq!(found.group_type, group_type);
    assert_eq!(found.assignor, if group_type == GroupType::Classic { "range" } else { "uniform" });
    assert_eq!(found.assigned_topics, Some(BTreeSet::from([topic.clone()])));
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
    let free = group_until(admin.as_ref(), &group, group::is_empty).await;
    assert!(
        matches!(&free, Group::Found(found) if found.state == GroupState::Empty && found.group_type == group_type),
        "{free:?}"
    );
    assert!(matches!(&free, Group::Found(found) if found.assigned_topics == Some(BTreeSet::new())), "{free:?}");
    let answers = admin.commit(&group, &[(tp(&topic, 0), to(1)), (tp(&topic, 1), to(0))]).await.unwrap();
    assert!(answers.values().all(Result::is_ok), "{answers:?}");
    let read = admin.committed(&group, &[tp(&topic, 0), tp(&topic, 1)]).await.unwrap();
    assert_eq!(read[&tp(&topic, 0)], Ok(Some(to(1))));
    assert_eq!(read[&tp(&topic, 1)], Ok(Some(to(0))));
    assert_eq!(admin.all_committed(&group).await.unwrap(), read);
    // Committing from outside has not made it a group of another type.
    let after = admin.describe_group(&group).await.unwrap();
    assert!(matches!(&after, Group::Found(found) if found.group_type == group_type), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_classic_group_is_never_free() {
    a_live_group_is_never_free(Kind::default(), GroupType::Classic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_group_of_the_consumer_protocol_is_never_free() {
    a_live_group_is_never_free(Kind { consumer_protocol: true, ..Kind::default() }, GroupType::Consumer).await;
}

/// Members that come together take as long as their rebalance timeout allows; all that time the group is not free.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_between_two_generations_is_never_free() {
    let admin = admin().await;
    let (topic, group) = (topic("between", 1).await, unique("between"));
    let (mut first, mut second) = block_in_place(|| (Wire::to_coordinator(&group), Wire::to_coordinator(&group)));
    let is = |group: &Group, state: GroupState, members: usize| matches!(group, Group::Found(found) if found.state == state && found.members.len() == members);
    let is_refused = async || {
        let answers = admin.commit(&group, &[(tp(&topic, 0), to(0))]).await.unwrap();
        assert_eq!(answers[&tp(&topic, 0)].as_ref().unwrap_err().kind, KafkaErrorKind::UnknownMember);
    };
    let (generation, leader) = block_in_place(|| first.join("consumer", "range"));
    let completing = admin.describe_group(&group).await.unwrap();
    assert!(is(&completing, GroupState::CompletingRebalance, 1) && !group::is_empty(&completing), "{completing:?}");
    is_refused().await;
    block_in_place(|| first.assign_nothing(generation, &leader));
    let stable = admin.describe_group(&group).await.unwrap();
    assert!(is(&stable, GroupState::Stable, 1) && !group::is_empty(&stable), "{stable:?}");
    // The second is kept waiting for the first, which does not answer.
    block_in_place(|| second.ask_to_join("consumer", "range"));
    let preparing = group_until(admin.as_ref(), &group, |group| is(group, GroupState::PreparingRebalance, 2)).await;
    assert!(!group::is_empty(&preparing));
    is_refused().await;
    assert_eq!(admin.committed(&group, &[tp(&topic, 0)]).await.unwrap()[&tp(&topic, 0)], Ok(None));
}

/// What `assign()` makes: a consumer without membership. The broker cannot tell it from an admin, so an empty group is no proof.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_without_membership_leaves_the_group_empty_and_commits_over_us() {
    let admin = admin().await;
    let (topic, group) = (topic("assigned", 1).await, unique("assigned"));
    produce(&topic, 0, &[1_000, 2_000]).await;
    assert_eq!(admin.commit(&group, &[(tp(&topic, 0), to(0))]).await.unwrap()[&tp(&topic, 0)], Ok(()));
    let mut config = ClientConfig::new();
    let consumer: BaseConsumer = config.set("bootstrap.servers", real_tests::brokers()).set("group.id", &group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Offset(2)).unwrap();
    block_in_place(|| {
        consumer.assign(&list).unwrap();
        consumer.commit(&list, CommitMode::Sync).unwrap();
    });
    assert!(group::is_empty(&admin.describe_group(&group).await.unwrap()));
    let theirs = Committed { offset: 2, metadata: "".into() };
    assert_eq!(admin.committed(&group, &[tp(&topic, 0)]).await.unwrap()[&tp(&topic, 0)], Ok(Some(theirs)));
    tokio::task::spawn_blocking(move || drop(consumer)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_serves_many_groups_at_the_same_time() {
    let admin = admin().await;
    let topic = topic("many", 2).await;
    let one = async |offset: i64| {
        let (group, at) = (unique("many"), tp(&topic, 1));
        assert_eq!(admin.describe_group(&group).await.unwrap(), Group::NotFound);
        assert_eq!(admin.commit(&group, &[(at.clone(), to(offset))]).await.unwrap()[&at], Ok(()));
        assert_eq!(admin.committed(&group, slice::from_ref(&at)).await.unwrap()[&at], Ok(Some(to(offset))));
        assert_eq!(admin.all_committed(&group).await.unwrap().len(), 1);
    };
    futures::future::join_all((0..20).map(one)).await;
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
    assert!(!group::is_empty(&left), "it does not leave");
    let Group::Found(found) = left else { panic!() };
    assert_eq!(found.members[0].instance_id.as_deref(), Some("instance-0"));
    group_until(admin.as_ref(), &group, group::is_empty).await;
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
    assert!(!group::is_empty(&left) && group::members(&left) == 1, "{left:?}");
    let answers = admin.commit(&group, &[(tp(&topic, 0), to(0))]).await.unwrap();
    assert_eq!(answers[&tp(&topic, 0)].as_ref().unwrap_err().kind, KafkaErrorKind::UnknownMember);
    group_until(admin.as_ref(), &group, group::is_empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_makes_the_group_and_then_it_is_empty() {
    let admin = admin().await;
    let (topic, group) = (topic("made", 1).await, unique("made"));
    assert_eq!(admin.describe_group(&group).await.unwrap(), Group::NotFound);
    assert_eq!(admin.commit(&group, &[(tp(&topic, 0), to(0))]).await.unwrap()[&tp(&topic, 0)], Ok(()));
    let made = admin.describe_group(&group).await.unwrap();
    assert!(matches!(&made, Group::Found(found) if found.state == GroupState::Empty && found.members.is_empty()), "{made:?}");
}
