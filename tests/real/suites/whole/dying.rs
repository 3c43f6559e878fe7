//! Consumers that die while they join: the broker keeps them for longer than one session timeout.

use std::time::{Duration, Instant};

use offset_reset_operator::{
    api::{OffsetReset, Phase, Reason},
    machine::facts::{Group, GroupState, group},
};
use serde_json::json;
use tokio::task::block_in_place;

use super::{TestEnv, ended};
use crate::kafka::wire::Wire;
use real_tests::{
    shop::{status, succeeded},
    unique, wait_for, wait_for_end,
};

/// The least that a broker allows by default, in milliseconds.
const SESSION: i32 = 6_000;

fn rebalances(group: &Group, members: usize) -> bool {
    matches!(group, Group::Found(found) if found.state == GroupState::PreparingRebalance && found.members.len() == members)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_died_while_it_joined_is_kept_for_two_session_timeouts() {
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("dying"));
        stand.commit(&group, &topic, &[(0, 50)]).await;
        let entries = json!([{"topic": topic, "partition": 0, "offset": 30}]);
        // The first one is a member, the second one is given a member id, the third one joins; and all three are gone.
        let begin = Instant::now();
        block_in_place(|| {
            Wire::to_coordinator(&group).join_in_two_steps(SESSION);
            Wire::to_coordinator(&group).ask_for_a_member_id(SESSION);
            let mut third = Wire::to_coordinator(&group);
            let id = third.ask_for_a_member_id(SESSION);
            third.ask_to_join_as(&id, SESSION);
        });
        stand.until("rebalancing", async |stand| rebalances(&stand.admin.describe_group(&group).await.unwrap(), 2)).await;
        let timeouts = json!({"sessionTimeout": "6s", "drainTimeout": "30s"});
        stand.apply("replay", &group, entries, timeouts).await;
        let said =
            |reset: &OffsetReset| status(reset).explanation().contains("one that died while it joined the group is kept until");
        wait_for(&stand.api, "replay", "with a bound", said).await;
        let done = wait_for_end(&stand.api, "replay").await;
        succeeded(&done);
        assert!(begin.elapsed() > Duration::from_secs(11), "two session timeouts: {:?}", begin.elapsed());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_kept_by_a_member_that_no_description_lists_is_said_to_be() {
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("dying"));
        stand.commit(&group, &topic, &[(0, 50)]).await;
        block_in_place(|| {
            let first = Wire::to_coordinator(&group).join_in_two_steps(SESSION);
            Wire::to_coordinator(&group).ask_for_a_member_id(30_000);
            let mut third = Wire::to_coordinator(&group);
            let id = third.ask_for_a_member_id(SESSION);
            third.ask_to_join_as(&id, SESSION);
            let mut leaving = Wire::to_coordinator(&group);
            leaving.leave(&first);
            leaving.leave(&id);
        });
        stand.until("without members", async |stand| rebalances(&stand.admin.describe_group(&group).await.unwrap(), 0)).await;
        assert!(!group::is_empty(&stand.admin.describe_group(&group).await.unwrap()));
        let entries = json!([{"topic": topic, "partition": 0, "offset": 30}]);
        let done = stand.run("replay", &group, entries, json!({"sessionTimeout": "1s", "drainTimeout": "2s"})).await;
        let message = ended(&done, Phase::Failed, Reason::GroupNotEmpty);
        assert!(message.contains("The broker lists no members") && !message.contains("remaining members: "), "{message}");
        assert!(message.contains("If no consumer of the group runs any more, raise drainTimeout above 301 s"), "{message}");
    })
    .await;
}
