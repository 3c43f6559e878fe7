//! Several groups of one Deployment: one stop.

use kube::api::PostParams;
use offset_reset_operator::api::{Phase, Reason};
use serde_json::json;

use super::TestEnv;
use real_tests::{
    reset,
    shop::{status, succeeded},
    unique, wait_for_end, wait_for_phase,
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
