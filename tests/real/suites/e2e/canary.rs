//! A canary of consumers that crash on a poison record, and of the same ones past it.

use offset_reset_operator::{
    api::CanaryState,
    machine::facts::{Committed, TopicPartition},
};
use real_tests::wait_for_end;
use rstest::rstest;

use super::*;

/// The values are the numbers of the records as text, so that those of the first ten are no two bytes: on them a consumer crashes that
/// reads short integers.
const POISON_BEFORE: i64 = 10;

/// Where the group stands of both partitions.
async fn committed(consumers: &Consumers) -> Vec<i64> {
    let at: Vec<_> = (0..2).map(|partition| TopicPartition::new(&consumers.topic, partition)).collect();
    let admin = Broker::default().group_admin().await;
    let found = admin.committed(&consumers.group, &at).await.unwrap();
    at.iter().map(|at| found[at].as_ref().unwrap().as_ref().unwrap().offset).collect()
}

/// The consumer closes on its way out, and so commits an offset past the target before its container exits.
#[rstest]
#[case::classic(&[])]
#[case::of_the_new_protocol(&["group.protocol=consumer"])]
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_crashes_on_a_poison_record_that_was_not_skipped_far_enough_and_passes_behind_it(#[case] properties: &[&str]) {
    installed().await;
    with_namespace(async |client, namespace| {
        let (topic, group) = Consumers::topic_and_group().await;
        let admin = Broker::default().group_admin().await;
        let at_the_end = |partition| (TopicPartition::new(&topic, partition), Committed { offset: 100, metadata: "".into() });
        let answers = admin.commit(&group, &[at_the_end(0), at_the_end(1)]).await.unwrap();
        assert!(answers.values().all(Result::is_ok), "{answers:?}");
        let shorts = ["value.deserializer=org.apache.kafka.common.serialization.ShortDeserializer"];
        let consumers = Consumers::deploy(client, namespace, (topic, group), 2, properties, &shorts, json!({})).await;
        consumers.have_joined(2).await;

        let canary = json!({"restore": {"canary": {"replicas": 1, "timeout": "3m", "onFailure": "Undo"}}});
        consumers.apply("not-far-enough", json!([{"partition": 0, "offset": POISON_BEFORE - 5}]), canary.clone()).await;
        let undone = wait_for_end(&consumers.api, "not-far-enough").await;
        let (state, reason) = (status(&undone).canary.as_ref().unwrap().state, status(&undone).reason);
        let said = status(&undone).explanation();
        assert_eq!((state, reason), (CanaryState::Undone, Some(Reason::CanaryUndone)), "{said}");
        assert!(said.contains("A container of the canary was started again or crashed in pod consumer-"), "{said}");
        assert_eq!(consumers.replicas().await, 2);
        consumers.have_joined(2).await;
        assert_eq!(committed(&consumers).await, [100, 100], "as before");

        consumers.apply("far-enough", json!([{"partition": 0, "offset": POISON_BEFORE}]), canary).await;
        let done = wait_for_comeback(&consumers.api, "far-enough").await;
        succeeded(&done, 2);
        assert_eq!(status(&done).canary.as_ref().unwrap().state, CanaryState::Passed);
        consumers.consumed_again_from(0, POISON_BEFORE).await;
    })
    .await;
}
