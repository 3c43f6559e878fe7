//! What may be done, as a broker without an authorizer says it: everything.

use std::collections::BTreeMap;

use offset_reset_operator::machine::facts::{Access, Group, KafkaErrorKind};

use super::{admin, group_until, is_stable, to, topic, tp};
use real_tests::{
    consumers::{Consumed, Kind, Member},
    unique,
};

#[tokio::test(flavor = "multi_thread")]
async fn without_an_authorizer_everything_may_be_read_that_is_there() {
    let admin = admin().await;
    let (first, second, group) = (topic("readable", 1).await, topic("readable", 2).await, unique("readable"));
    let gone = unique("gone");
    let asked = [first.clone(), second.clone(), gone.clone(), "white space".to_owned(), first.clone()];
    let topics_read: BTreeMap<String, Option<bool>> =
        [(first.clone(), Some(true)), (second, Some(true)), (gone.clone(), None), ("white space".to_owned(), None)].into();
    let topic_ids = admin.topic_ids(&asked).await.unwrap();
    assert_eq!(topic_ids.len(), 2, "{topic_ids:?}");
    // Kafka says it also for a group that nobody has made yet, and does not make it.
    let expected = Access { group_read: Some(true), group_delete: Some(true), topics_read, topic_ids };
    assert_eq!(admin.access(&group, &asked).await.unwrap(), expected);
    assert_eq!(admin.describe_group(&group).await.unwrap(), Group::NotFound);
    assert_eq!(admin.partitions(&gone).await.unwrap_err().kind, KafkaErrorKind::UnknownTopicOrPartition);

    admin.commit(&group, &[(tp(&first, 0), to(0))]).await.unwrap();
    assert_eq!(admin.access(&group, &asked).await.unwrap(), expected);
    assert_eq!(
        admin.access(&group, &[]).await.unwrap(),
        Access { topics_read: BTreeMap::new(), topic_ids: BTreeMap::new(), ..expected }
    );
    assert!(admin.access("", &[]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_group_of_either_protocol_says_that_it_may_be_read() {
    let admin = admin().await;
    let topic = topic("readable", 1).await;
    for consumer_protocol in [false, true] {
        let group = unique("readable");
        let kind = Kind { consumer_protocol, ..Kind::default() };
        let member = Member::start(&group, std::slice::from_ref(&topic), &kind, 0, Consumed::default());
        group_until(admin.as_ref(), &group, |group| is_stable(group, 1)).await;
        assert_eq!(admin.access(&group, &[]).await.unwrap().group_read, Some(true));
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
    }
}
