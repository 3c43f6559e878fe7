//! A broker that takes less metadata than the marker of a reset has.

use offset_reset_operator::{api::PartitionOutcome, machine::facts::TopicPartition};
use serde_json::{Value, json};

use super::stand::{CLEAR, kafka, topic_and_group};
use real_tests::{
    broker::Broker,
    reset, resets,
    shop::{Operator, status, succeeded},
    wait_for_end, with_namespace,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_takes_no_metadata_of_this_length_still_gets_its_reset() {
    let (topic, group) = topic_and_group().await;
    with_namespace(async |client, namespace| {
        let operator = Operator::start(&client, &namespace);
        let spec = json!({"targetRefs": [], "kafka": kafka(CLEAR, &Value::Null, &Value::Null)});
        let api = resets(&client, &namespace);
        let entries = json!([{"topic": topic, "offset": 3}]);
        api.create(&kube::api::PostParams::default(), &reset("short-metadata", &group, &entries, &spec)).await.unwrap();
        let done = wait_for_end(&api, "short-metadata").await;
        succeeded(&done);
        let partition = &status(&done).partitions[0];
        assert_eq!((partition.outcome, partition.metadata_not_stored), (PartitionOutcome::Reset, true));
        assert_eq!((status(&done).commits, status(&done).commits_refused), (2, 1));
        let message = status(&done).explanation();
        assert!(message.contains("The broker did not return the metadata of the commits of 1 partition"), "{message}");
        let at = TopicPartition::new(&topic, 0);
        let read = Broker::new(CLEAR).group_admin().await.committed(&group, std::slice::from_ref(&at)).await.unwrap();
        let stands = read[&at].clone().unwrap().unwrap();
        assert!(stands.offset == 3 && stands.metadata.is_empty(), "{stands:?}");
        operator.end().await;
    })
    .await;
}
