//! A topic that was deleted and created again under its name: the offsets of the one are not those of the other.

use offset_reset_operator::api::{Phase, Reason};
use real_tests::{
    consumers::{Consumed, Kind, Member},
    shop::{status, succeeded},
    unique, wait_for_end,
};
use serde_json::json;

use super::{TestEnv, ended};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_to_a_topic_that_was_created_again_after_the_plan() {
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("recreated"));
        stand.commit(&group, &topic, &[(0, 50)]).await;
        // While this one is a member, the reset waits between its plan and its commit.
        let other = stand.broker.topic("other", 1).await;
        let member = Member::start(&group, std::slice::from_ref(&other), &Kind::default(), 0, Consumed::default());
        stand.members(&group, 1).await;
        stand.apply("replay", &group, json!([{"topic": topic, "partition": 0, "offset": 30}]), json!({})).await;
        let phase = async || stand.api.get("replay").await.unwrap().status.and_then(|status| status.phase);
        stand.until("draining", async |_| phase().await == Some(Phase::Draining)).await;
        stand.broker.recreate(&topic, 3).await;
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();

        let done = wait_for_end(&stand.api, "replay").await;
        let message = ended(&done, Phase::Failed, Reason::TopicRecreated);
        assert!(message.starts_with(&format!("Topic {topic} was deleted and created again")), "{message}");
        assert!(message.contains("No offset was changed"), "{message}");
        assert_eq!((status(&done).commits, stand.committed(&group, &topic).await), (0, [None, None, None]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_does_not_put_offsets_of_a_deleted_topic_into_the_one_of_its_name() {
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("recreated"));
        stand.commit(&group, &topic, &[(0, 50)]).await;
        let done = stand.run("replay", &group, json!([{"topic": topic, "partition": 0, "offset": 30}]), json!({})).await;
        succeeded(&done);
        let ids = stand.admin.topic_ids(&[topic.clone(), unique("missing")]).await.unwrap();
        assert_eq!(ids.keys().collect::<Vec<_>>(), [&topic], "{ids:?}");
        assert_eq!(status(&done).partitions[0].topic_id.as_ref(), ids.get(&topic));
        stand.broker.recreate(&topic, 3).await;
        let undone = stand.run("back", &group, json!([]), json!({"undo": {"name": "replay"}})).await;
        let message = ended(&undone, Phase::Failed, Reason::TopicRecreated);
        assert!(message.contains("after OffsetReset replay"), "{message}");
    })
    .await;
}
