//! Faults that a real broker cannot be made to show at the right moment: a layer around the client puts them in.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use offset_reset_operator::{
    kafka::{Connection, Connector, GroupAdmin, Pool},
    machine::world::{Access, Bounds, Committed, Group, KafkaError, PerPartition, TimestampMatch, TopicPartition},
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    Stand,
    common::{
        shop::{Operator, status, succeeded},
        unique, wait_for_end, with_namespace, within,
    },
};

/// Clients whose first commit is carried out, and whose answer never comes.
struct Silenced {
    pool: Pool,
    committed: Arc<Notify>,
    before: Arc<AtomicBool>,
}

struct Client {
    real: Arc<dyn GroupAdmin>,
    committed: Arc<Notify>,
    before: Arc<AtomicBool>,
}

#[async_trait]
impl Connector for Silenced {
    async fn connect(&self, connection: &Connection) -> Result<Arc<dyn GroupAdmin>, KafkaError> {
        let real = self.pool.connect(connection).await?;
        Ok(Arc::new(Client { real, committed: Arc::clone(&self.committed), before: Arc::clone(&self.before) }))
    }
}

#[async_trait]
impl GroupAdmin for Client {
    async fn cluster_id(&self) -> Result<Option<String>, KafkaError> {
        self.real.cluster_id().await
    }

    async fn describe_group(&self, group: &str) -> Result<Group, KafkaError> {
        self.real.describe_group(group).await
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<i32>, KafkaError> {
        self.real.partitions(topic).await
    }

    async fn bounds(&self, partitions: &[TopicPartition]) -> Result<PerPartition<Bounds>, KafkaError> {
        self.real.bounds(partitions).await
    }

    async fn stable_ends(&self, partitions: &[TopicPartition]) -> Result<PerPartition<i64>, KafkaError> {
        self.real.stable_ends(partitions).await
    }

    async fn offsets_for_times(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<PerPartition<Option<TimestampMatch>>, KafkaError> {
        self.real.offsets_for_times(times).await
    }

    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<PerPartition<Option<Committed>>, KafkaError> {
        self.real.committed(group, partitions).await
    }

    async fn all_committed(&self, group: &str) -> Result<PerPartition<Option<Committed>>, KafkaError> {
        self.real.all_committed(group).await
    }

    async fn access(&self, group: &str, topics: &[String]) -> Result<Access, KafkaError> {
        self.real.access(group, topics).await
    }

    async fn commit(&self, group: &str, offsets: &[(TopicPartition, Committed)]) -> Result<PerPartition<()>, KafkaError> {
        if self.before.load(Ordering::SeqCst) {
            self.committed.notify_one();
            return std::future::pending().await;
        }
        let answers = self.real.commit(group, offsets).await?;
        assert!(answers.values().all(Result::is_ok), "{answers:?}");
        self.committed.notify_one();
        std::future::pending().await
    }
}

/// An operator takes up a reset, commits, and is killed before it hears the answer.
pub async fn commit_and_die(stand: &Stand, name: &str, group: &str, entries: Value, spec: Value) {
    let committed = Arc::new(Notify::new());
    let silenced =
        Silenced { pool: Pool::default(), committed: Arc::clone(&committed), before: Arc::new(AtomicBool::new(false)) };
    let operator = Operator::start_on(&stand.client, &stand.namespace, Arc::new(silenced));
    stand.apply(name, group, entries, spec).await;
    within(crate::common::PATIENCE, committed.notified()).await.expect("it commits");
    operator.kill().await;
}

/// Kills the operator right before or right after its commit; another one goes on.
async fn killed_around_the_commit(before: bool) {
    with_namespace(async |client, namespace| {
        let stand = Stand::open(client.clone(), namespace.clone()).await;
        let (topic, group) = (stand.topic().await, unique("killed"));
        stand.commit(&group, &topic, &[(0, 50), (1, 5), (2, 0)]).await;
        let committed = Arc::new(Notify::new());
        let silenced =
            Silenced { pool: Pool::default(), committed: Arc::clone(&committed), before: Arc::new(AtomicBool::new(before)) };
        let first = Operator::start_on(&client, &namespace, Arc::new(silenced));
        stand.apply("killed", &group, json!([{"topic": topic, "shiftBy": -3}]), json!({})).await;
        within(crate::common::PATIENCE, committed.notified()).await.expect("it commits");
        first.kill().await;
        let expected = if before { [Some(50), Some(5), Some(0)] } else { [Some(47), Some(2), Some(0)] };
        assert_eq!(stand.committed(&group, &topic).await, expected, "this is where it was killed");

        let second = Operator::start(&client, &namespace);
        let done = wait_for_end(&stand.api, "killed").await;
        succeeded(&done);
        assert_eq!(stand.committed(&group, &topic).await, [Some(47), Some(2), Some(0)], "shifted once");
        assert_eq!(status(&done).commits, if before { 2 } else { 1 }, "what was done is told from what was not by reading back");
        let befores: Vec<_> = status(&done).partitions.iter().map(|p| p.before).collect();
        assert_eq!(befores, [Some(50), Some(5), Some(0)]);
        second.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_killed_between_commit_and_status_shifts_no_offset_twice() {
    killed_around_the_commit(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_killed_between_status_and_commit_shifts_once() {
    killed_around_the_commit(true).await;
}
