//! Resets that go well: the connector is stopped, its group reset, and its former state restored.

use offset_reset_operator::api::Restored;
use rstest::rstest;

use super::*;
use real_tests::{condition, shop::succeeded, wait_for_comeback};

#[rstest]
#[case::without_a_state(None, "unset")]
#[case::with_one(Some("running"), "running")]
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_is_stopped_and_writes_the_records_again(#[case] state: Option<&str>, #[case] recorded: &str) {
    Stand::with(async |stand, operator| {
        stand.sink(state, json!({})).await;
        let before = stand.object().await;
        let done = stand.run("again").await;
        succeeded(&done);
        let found = target(&done);
        assert_eq!((found.original_replicas, found.original_state.as_deref()), (1, Some(recorded)));
        assert_eq!((found.restored, found.scaled_up_by_others), (Some(Restored::Original), 0));
        let after = stand.object().await;
        assert_eq!(after.data["spec"], before.data["spec"], "all of the spec is as before");
        assert_eq!(stand.changes().await, 2, "stopped and restored, and nothing else");
        assert_eq!(condition(&done, "ConsumersStopped"), ("True".into(), "ContainersTerminated".into()));
        stand.has_written(RECORDS + 7).await;
        let back = wait_for_comeback(&stand.api, "again").await;
        assert_eq!(condition(&back, "ConsumersResumed").1, "ConsumersReady");
        stand.no_leases().await;
        operator.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_paused_is_paused_again_and_consumes_nothing() {
    Stand::with(async |stand, operator| {
        stand.sink(None, json!({})).await;
        stand.set_state("a-user", Some("paused")).await;
        stand.is_reported_as("PAUSED").await;
        let done = stand.run("paused").await;
        succeeded(&done);
        assert_eq!((target(&done).original_state.as_deref(), stand.state().await.as_deref()), (Some("paused"), Some("paused")));
        let back = wait_for_comeback(&stand.api, "paused").await;
        assert_eq!(condition(&back, "ConsumersResumed").1, "NoConsumersExpected");
        stand.is_reported_as("PAUSED").await;
        assert_eq!((stand.committed().await, stand.lines()), (Some(3), RECORDS), "it writes nothing while it is paused");
        stand.set_state("a-user", None).await;
        stand.has_written(RECORDS + 7).await;
        operator.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_stopped_stays_stopped() {
    Stand::with(async |stand, operator| {
        stand.sink(None, json!({})).await;
        stand.set_state("a-user", Some("stopped")).await;
        stand.is_reported_as("STOPPED").await;
        let changes = stand.changes().await;
        let done = stand.run("stopped").await;
        succeeded(&done);
        assert_eq!((target(&done).original_replicas, target(&done).restored), (0, Some(Restored::NotStopped)));
        assert_eq!((stand.state().await.as_deref(), stand.changes().await), (Some("stopped"), changes));
        assert_eq!(stand.committed().await, Some(3));
        operator.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_of_its_configuration_is_reset_and_two_groups_share_one_stop() {
    Stand::with(async |stand, operator| {
        let (own, control) = (stand.group(), unique("control"));
        stand.commit(&control, &stand.topic, &[(0, 10)]).await;
        stand.sink(None, json!({})).await;
        for (name, group) in [("first", &own), ("second", &control)] {
            stand.apply(name, group, json!({"allowNoMembers": true})).await;
        }
        for name in ["first", "second"] {
            succeeded(&wait_for_end(&stand.api, name).await);
        }
        assert_eq!(stand.changes().await, 2, "one stop serves both");
        assert_eq!(stand.env.committed(&control, &stand.topic).await[0], Some(3));
        let warned = status(&stand.api.get("second").await.unwrap()).warnings.join("; ");
        assert!(warned.contains(&format!("consume in group {own}, and this reset is about group {control}")), "{warned}");
        stand.has_written(RECORDS + 7).await;
        operator.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_stops_it_once_more_and_restores_the_offsets_and_the_state() {
    Stand::with(async |stand, operator| {
        stand.sink(None, json!({})).await;
        // Paused, so that the sink commits nothing between the reset and its undo.
        stand.set_state("a-user", Some("paused")).await;
        stand.is_reported_as("PAUSED").await;
        succeeded(&stand.run("mistake").await);
        assert_eq!(stand.committed().await, Some(3));
        stand.is_reported_as("PAUSED").await;
        stand.apply("back", &stand.group(), json!({"resets": [], "undo": {"name": "mistake"}})).await;
        let done = wait_for_end(&stand.api, "back").await;
        succeeded(&done);
        assert_eq!((stand.committed().await, stand.lines()), (Some(10), RECORDS));
        assert_eq!((target(&done).original_state.as_deref(), stand.state().await.as_deref()), (Some("paused"), Some("paused")));
        stand.no_leases().await;
        operator.end().await;
    })
    .await;
}
