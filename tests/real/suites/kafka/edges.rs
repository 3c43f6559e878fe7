//! Questions at the edge: nothing, twice, impossible, of nobody.

use offset_reset_operator::machine::facts::{Bounds, KafkaErrorKind};

use super::{admin, connect, to, topic, tp};
use real_tests::unique;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_twice_is_asked_once_and_contradictions_are_refused() {
    let admin = admin().await;
    let (topic, group) = (topic("twice", 2).await, unique("twice"));
    let (zero, one) = (tp(&topic, 0), tp(&topic, 1));
    assert_eq!(admin.bounds(&[zero.clone(), zero.clone()]).await.unwrap()[&zero], Ok(Bounds { start: 0, end: 0 }));
    let twice = [(zero.clone(), to(0)), (zero.clone(), to(0)), (one.clone(), to(0)), (one.clone(), to(1))];
    let answers = admin.commit(&group, &twice).await.unwrap();
    assert_eq!(answers[&zero], Ok(()));
    assert_eq!(answers[&one].as_ref().unwrap_err().kind, KafkaErrorKind::Other);
    let read = admin.committed(&group, &[one.clone(), zero.clone(), zero.clone()]).await.unwrap();
    assert_eq!((&read[&zero], &read[&one]), (&Ok(Some(to(0))), &Ok(None)));
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
