//! Groups that are none of consumers are refused, whatever they do just now.

use std::time::Duration;

use offset_reset_operator::{
    kafka::GroupAdmin,
    machine::facts::{Group, KafkaError, KafkaErrorKind},
};
use tokio::task::block_in_place;

use super::{admin, kafka_program, to, topic, tp, wire::Wire};
use real_tests::unique;

/// Waits until the group is there: the refusal.
async fn refusal(admin: &dyn GroupAdmin, group: &str) -> KafkaError {
    let refused = async {
        loop {
            match admin.describe_group(group).await {
                Ok(Group::NotFound) => tokio::time::sleep(Duration::from_millis(50)).await,
                Ok(found) => panic!("{found:?}"),
                Err(error) => return error,
            }
        }
    };
    let error = real_tests::within(real_tests::PATIENCE, refused).await.unwrap();
    assert_eq!(error.kind, KafkaErrorKind::UnsupportedGroupType, "{error}");
    assert!(!error.kind.is_transient());
    assert!(error.message.starts_with(&format!("group {group}: it is not a consumer group")), "{error}");
    error
}

/// Kafka answers the classic question about a share group with "Dead": what it also says about a group that nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_live_share_group_is_refused_and_never_called_free() {
    let admin = admin().await;
    let (topic, group) = (topic("shared", 1).await, unique("shared"));
    let class = "org.apache.kafka.tools.consumer.ConsoleShareConsumer";
    let _consumer = kafka_program(class, &["--topic", &topic, "--group", &group]);
    let error = refusal(admin.as_ref(), &group).await;
    assert!(
        error.message.contains("a share group") && error.message.contains("kafka-share-groups.sh --reset-offsets"),
        "{error}"
    );
    let answers = admin.commit(&group, &[(tp(&topic, 0), to(0))]).await.unwrap();
    assert_eq!(answers[&tp(&topic, 0)].as_ref().unwrap_err().kind, KafkaErrorKind::GroupNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streams_group_is_refused_while_it_is_live_and_when_it_is_empty() {
    let admin = admin().await;
    let (topic, group) = (topic("streamed", 1).await, unique("streamed"));
    let member = "11111111-1111-1111-1111-111111111111";
    let mut wire = block_in_place(|| Wire::to_coordinator(&group));
    block_in_place(|| wire.streams_heartbeat(member, 0, &topic));
    let error = refusal(admin.as_ref(), &group).await;
    assert!(error.message.contains("or a Streams group (KIP-1071) that has committed nothing yet"), "{error}");
    let answers = admin.commit(&group, &[(tp(&topic, 0), to(0))]).await.unwrap();
    assert_eq!(answers[&tp(&topic, 0)].as_ref().unwrap_err().kind, KafkaErrorKind::UnknownMember);

    // Nobody is there now, and the broker would take the commit: only our refusal stands before it. A group with commits is no
    // share group.
    block_in_place(|| wire.streams_heartbeat(member, -1, &topic));
    refusal(admin.as_ref(), &group).await;
    let answers = admin.commit(&group, &[(tp(&topic, 0), to(0))]).await.unwrap();
    assert_eq!(answers[&tp(&topic, 0)], Ok(()));
    let error = refusal(admin.as_ref(), &group).await;
    assert!(error.message.contains("but a Streams group (KIP-1071)") && !error.message.contains("share group"), "{error}");
    assert!(
        error.message.contains("kafka-streams-groups.sh --reset-offsets") && error.message.contains("state stores"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_connect_workers_is_refused_while_it_is_live_and_when_it_is_empty() {
    let admin = admin().await;
    let group = unique("workers");
    let mut wire = block_in_place(|| Wire::to_coordinator(&group));
    let (_, member) = block_in_place(|| wire.join("connect", "sessioned"));
    let live = refusal(admin.as_ref(), &group).await;
    block_in_place(|| wire.leave(&member));
    let empty = refusal(admin.as_ref(), &group).await;
    for error in [live, empty] {
        assert!(error.message.contains("Kafka Connect") && error.message.contains("/connectors/NAME/offsets"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_group_with_a_protocol_of_its_own_is_refused_by_the_protocols_name() {
    let admin = admin().await;
    let group = unique("registry");
    let mut wire = block_in_place(|| Wire::to_coordinator(&group));
    block_in_place(|| wire.join("sr", "v0"));
    let error = refusal(admin.as_ref(), &group).await;
    assert!(error.message.contains("\"sr\""), "{error}");
}
