//! Several groups of one Deployment: one stop. And one group of two operators, which do not see each other's OffsetResets.

use std::sync::Arc;

use kube::api::PostParams;
use offset_reset_operator::{
    api::{OffsetReset, Phase, Reason},
    kafka::Pool,
};
use serde_json::json;
use tokio::sync::Notify;

use super::{PATIENCE, TestEnv};
use real_tests::{
    condition,
    layer::{Layer, kafka::Layered},
    reset,
    shop::{Operator, ended, status, succeeded},
    unique, wait_for, wait_for_end, wait_for_phase, with_namespace, within,
};

#[tokio::test(flavor = "multi_thread")]
async fn three_groups_of_one_deployment_cost_one_stop() {
    TestEnv::with(async |stand| {
        stand.deployment().await;
        let topic = stand.topic().await;
        let groups = [unique("one"), unique("two"), unique("three")];
        for group in &groups {
            stand.commit(group, &topic, &[(0, 50)]).await;
        }
        for (index, group) in groups.iter().enumerate() {
            let new = reset(&format!("share-{index}"), group, &json!([{"topic": topic, "offset": 30}]), &json!({}));
            stand.api.create(&PostParams::default(), &new).await.unwrap();
        }
        for (index, group) in groups.iter().enumerate() {
            let done = wait_for_end(&stand.api, &format!("share-{index}")).await;
            succeeded(&done);
            assert_eq!(status(&done).targets[0].original_replicas, 2);
            assert_eq!(stand.committed(group, &topic).await, [Some(30), Some(10), Some(0)]);
        }
        assert_eq!((stand.replicas().await, stand.changes().await), (2, 2), "down once, up once");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_comes_later_joins_and_the_first_waits_for_it() {
    use real_tests::consumers::{Consumed, Kind, Member};
    TestEnv::with(async |stand| {
        stand.deployment().await;
        let topic = stand.topic().await;
        let (slow, quick) = (unique("slow"), unique("quick"));
        stand.commit(&quick, &topic, &[(0, 50)]).await;
        // Somebody else's consumer keeps the first group from becoming empty.
        let member = Member::start(&slow, std::slice::from_ref(&topic), &Kind::default(), 0, Consumed::default());
        let joined = async {
            while offset_reset_operator::machine::facts::group::members(&stand.admin.describe_group(&slow).await.unwrap()) == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        real_tests::within(real_tests::PATIENCE, joined).await.unwrap();
        let create = async |name: &str, group: &str| {
            let new = reset(name, group, &json!([{"topic": topic, "offset": 30}]), &json!({}));
            stand.api.create(&PostParams::default(), &new).await.unwrap();
        };
        create("slow", &slow).await;
        let held = wait_for_phase(&stand.api, "slow", Phase::Draining).await;
        create("quick", &quick).await;
        let waiting = real_tests::wait_for(&stand.api, "quick", "waiting for the other", |reset| {
            status(reset).phase == Some(Phase::Restoring) && status(reset).reason == Some(Reason::WaitingForOtherReset)
        });
        let waiting = waiting.await;
        assert!(status(&waiting).explanation().contains("/slow no longer needs it at zero"), "{:?}", status(&waiting).message);
        assert_eq!(status(&waiting).hold.as_ref().unwrap().start_time, status(&held).hold.as_ref().unwrap().start_time);
        assert_eq!(status(&waiting).targets[0].original_replicas, 2, "never zero over the count that the other has saved");
        assert_eq!(stand.replicas().await, 0);
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
        for name in ["slow", "quick"] {
            succeeded(&wait_for_end(&stand.api, name).await);
        }
        assert_eq!((stand.replicas().await, stand.changes().await), (2, 2), "down once, up once");
    })
    .await;
}

/// Holds the answer of a commit that was carried out.
#[derive(Default)]
struct HeldAnswer {
    committed: Notify,
    answer: Notify,
}

impl Layer for HeldAnswer {
    async fn around<T: Send, E: Send>(
        &self,
        kind: &str,
        request: impl Future<Output = Result<T, E>> + Send,
        _: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        let answer = request.await;
        if kind == "Kafka commit" {
            self.committed.notify_one();
            self.answer.notified().await;
        }
        answer
    }
}

/// Kafka refuses a commit only while the group has members, so nothing excludes two operators; but neither commits over the other
/// unseen, and consumers are restored.
#[tokio::test(flavor = "multi_thread")]
async fn two_operators_that_reset_one_group_see_each_others_commits() {
    with_namespace(async |client, here| {
        with_namespace(async |_, there| {
            let ours = TestEnv::open(client.clone(), here.clone()).await;
            let theirs = TestEnv::open(client.clone(), there.clone()).await;
            let (topic, group) = (ours.topic().await, unique("both"));
            let to = |offset: i64| json!([{"topic": topic, "partition": 0, "offset": offset}]);
            ours.commit(&group, &topic, &[(0, 50)]).await;
            ours.deployment().await;
            let layer = Arc::new(HeldAnswer::default());
            let first =
                Operator::start_on(&client, &here, Arc::new(Layered { pool: Pool::default(), layer: Arc::clone(&layer) }));
            let second = Operator::start(&client, &there);

            // The other one commits between our commit and its read-back.
            let targets = json!({"targetRefs": [{"name": "consumer"}]});
            ours.apply("meanwhile", &group, to(30), targets.clone()).await;
            within(PATIENCE, layer.committed.notified()).await.expect("it commits");
            assert_eq!(ours.committed(&group, &topic).await[0], Some(30));
            succeeded(&theirs.run("meanwhile", &group, to(60), json!({})).await);
            layer.answer.notify_one();
            let over = wait_for_end(&ours.api, "meanwhile").await;
            let message = ended(&over, Phase::Failed, Reason::AllPartitionsFailed);
            let other = format!("OffsetReset {there}/meanwhile of another operator has committed meanwhile");
            assert!(message.contains(&other), "{message}");
            assert_eq!((ours.replicas().await, ours.committed(&group, &topic).await[0]), (2, Some(60)), "not committed over");

            // The other one commits after our read-back, while our consumers are watched.
            layer.answer.notify_one();
            ours.apply("before", &group, to(40), targets).await;
            succeeded(&wait_for_end(&ours.api, "before").await);
            succeeded(&theirs.run("after", &group, to(25), json!({})).await);
            let overwritten = |reset: &OffsetReset| condition(reset, "ConsumptionProven").1 == "OffsetsOverwritten";
            let found = wait_for(&ours.api, "before", "known to be overwritten", overwritten).await;
            let by = status(&found).partitions[0].overwritten.as_ref().and_then(|found| found.offset_reset.clone());
            assert_eq!(by, Some(format!("{there}/after")));
            assert_eq!(ours.committed(&group, &topic).await[0], Some(25));
            for operator in [first, second] {
                operator.end().await;
            }
        })
        .await;
    })
    .await;
}
