//! Offsets of the group that are pending in a transaction when the reset comes to its commit.

use offset_reset_operator::{
    api::{OffsetReset, Phase, Reason},
    machine::facts::group,
};
use rdkafka::producer::Producer;
use serde_json::json;
use tokio::task::block_in_place;

use super::{TestEnv, ended};
use crate::kafka::transactions::{send_offsets, transaction};
use real_tests::{
    PATIENCE,
    consumers::{Consumed, Kind, Member},
    kafka_tool::{KafkaTool, Line},
    shop::{status, succeeded},
    unique, wait_for, wait_for_end, wait_for_phase,
};

fn waits(reset: &OffsetReset) -> bool {
    status(reset).phase == Some(Phase::Resetting) && status(reset).reason == Some(Reason::TransactionPending)
}

/// The transaction is opened after the plan was made: a member keeps the group from becoming empty meanwhile.
async fn applied_and_then_a_transaction(
    stand: &TestEnv,
    topic: &str,
    group: &str,
    drain: &str,
) -> rdkafka::producer::BaseProducer {
    stand.commit(group, topic, &[(0, 50), (1, 5), (2, 0)]).await;
    let kind = Kind { never_commits: true, ..Kind::default() };
    let member = Member::start(group, &[topic.to_owned()], &kind, 0, Consumed::default());
    stand.members(group, 1).await;
    let entries = json!([{"topic": topic, "offset": 30}]);
    stand.apply("replay", group, entries, json!({"sessionTimeout": "1s", "drainTimeout": drain, "holdTimeout": "10m"})).await;
    wait_for_phase(&stand.api, "replay", Phase::Draining).await;
    let producer = block_in_place(|| {
        let producer = transaction(&unique("pending"));
        send_offsets(&producer, group, &[(topic, 0, 60)]);
        producer
    });
    tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
    wait_for(&stand.api, "replay", "waiting for the transaction", waits).await;
    assert!(group::is_empty(&stand.admin.describe_group(group).await.unwrap()));
    producer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_stays_open_is_waited_for_as_long_as_drain_timeout() {
    let mut tool = KafkaTool::start(Line::Current).await;
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("pending"));
        let producer = applied_and_then_a_transaction(stand, &topic, &group, "6s").await;
        let waiting = wait_for(&stand.api, "replay", "waiting for the transaction", waits).await;
        let said = status(&waiting).explanation();
        assert!(
            said.contains("in a transaction that it has not ended") && said.contains(" at most; the broker aborts"),
            "{said}"
        );
        let done = wait_for_end(&stand.api, "replay").await;
        let message = ended(&done, Phase::Failed, Reason::TransactionPending);
        assert!(message.contains("No offset was changed") && status(&done).commits == 0, "{message}");
        let hold = status(&done).hold.clone().unwrap();
        let waited = hold.end_time.unwrap().0.duration_since(hold.group_empty_time.unwrap().0).as_secs();
        assert!((6..60).contains(&waited), "{waited} s");
        // The command in the message is one that the tool knows.
        let command = "find-hanging --topic __consumer_offsets --max-transaction-timeout 1";
        assert!(message.contains(command), "{message}");
        let brokers = real_tests::brokers();
        let arguments: Vec<&str> = ["--bootstrap-server", &brokers].into_iter().chain(command.split(' ')).collect();
        let (exit, output) = tool.run("org.apache.kafka.tools.TransactionsCommand", &arguments).await;
        assert!(exit == 0 && output.contains("Producer"), "{exit}: {output}");
        block_in_place(|| producer.abort_transaction(PATIENCE).unwrap());
        stand
            .until("stable", async |stand| {
                stand.admin.committed(&group, &[super::tp(&topic, 0)]).await.unwrap().values().all(Result::is_ok)
            })
            .await;
        assert_eq!(stand.committed(&group, &topic).await, [Some(50), Some(5), Some(0)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_ends_in_time_delays_the_reset() {
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("pending"));
        let producer = applied_and_then_a_transaction(stand, &topic, &group, "1m").await;
        block_in_place(|| producer.commit_transaction(PATIENCE).unwrap());
        let done = wait_for_end(&stand.api, "replay").await;
        succeeded(&done);
        assert_eq!(status(&done).partitions[0].before, Some(60), "what the transaction has committed");
        assert_eq!(stand.committed(&group, &topic).await, [Some(30), Some(10), Some(0)]);
    })
    .await;
}
