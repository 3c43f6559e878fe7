//! A small shop for tests of the operator's loop: a namespace with the operator, a Deployment, its consumers and their topic.

use std::{ops::Deref, sync::Arc, time::Duration};

use kube::{Client, ResourceExt, api::PostParams};
use offset_reset_operator::{
    api::{Clamp, FINALIZER, OffsetReset, OffsetResetStatus, PartitionOutcome, Phase, Reason},
    cli::Config,
    kafka::Connector,
    machine::facts::{TopicPartition, group},
    run,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    PATIENCE, condition,
    consumers::{Follower, Kind},
    env::TestEnv,
    process::configured,
    produce, reset, rights, unique, wait_for_end, with_namespace, within,
};

/// A Unix time in seconds, as the first example of the API has it.
pub const T0: i64 = 1_571_812_144;

/// The operator, in this process, for one namespace.
pub struct Operator {
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), run::Error>>,
}

impl Operator {
    /// With the rights that `deploy/` gives it, and no others. `admin` is who installs those.
    pub fn start(admin: &Client, namespace: &str) -> Self {
        Self::start_configured(admin, config(namespace))
    }

    /// As [`Self::start`], otherwise configured.
    pub fn start_configured(admin: &Client, config: Config) -> Self {
        let (stop, admin) = (CancellationToken::new(), admin.clone());
        let stopper = stop.clone();
        let task = tokio::spawn(async move { run::operate(rights::operators_client(&admin).await, config, stopper).await });
        Self { stop, task }
    }

    /// With the rights of a client.
    pub fn start_as(client: Client, namespace: &str) -> Self {
        let (stop, config) = (CancellationToken::new(), config(namespace));
        let task = tokio::spawn(run::operate(client, config, stop.clone()));
        Self { stop, task }
    }

    /// One whose way to Kafka has something in it.
    pub fn start_on(admin: &Client, namespace: &str, kafka: Arc<dyn Connector>) -> Self {
        let (stop, admin, config) = (CancellationToken::new(), admin.clone(), config(namespace));
        let stopper = stop.clone();
        let task =
            tokio::spawn(async move { run::operate_on(rights::operators_client(&admin).await, config, kafka, stopper).await });
        Self { stop, task }
    }

    /// Ends it as SIGKILL does: nothing that it has begun is finished.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    /// Ends it as SIGTERM does.
    pub async fn end(self) {
        self.stop.cancel();
        within(PATIENCE, self.task).await.expect("it ends").unwrap().unwrap();
    }
}

/// For one namespace.
pub fn config(namespace: &str) -> Config {
    configured(&["--namespace", namespace])
}

/// The operator, a Deployment `consumer` of two replicas, and its consumers, which have consumed all records.
pub struct Shop {
    env: TestEnv,
    pub topic: String,
    pub group: String,
    pub follower: Follower,
    pub operator: Operator,
}

impl Deref for Shop {
    type Target = TestEnv;

    fn deref(&self) -> &TestEnv {
        &self.env
    }
}

impl Shop {
    /// With the topic of [`TestEnv::topic`].
    pub async fn open(client: Client, namespace: String, kind: &Kind) -> Self {
        let env = TestEnv::open(client, namespace).await;
        let (topic, group) = (env.topic().await, unique("shop"));
        env.deployment().await;
        let follower = Follower::start(&env.client, &env.namespace, "consumer", &group, std::slice::from_ref(&topic), kind);
        let caught_up = async {
            while follower.count() < 90 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(PATIENCE, caught_up).await.expect("the consumers consume what there is");
        let operator = Operator::start(&env.client, &env.namespace);
        Self { env, topic, group, follower, operator }
    }

    pub async fn apply(&self, name: &str, entries: Value) {
        self.apply_with(name, entries, json!({})).await;
    }

    /// Entries without a topic get the shop's.
    pub async fn apply_with(&self, name: &str, mut entries: Value, spec: Value) {
        for entry in entries.as_array_mut().unwrap() {
            if entry.get("topic").is_none() {
                entry["topic"] = json!(self.topic);
            }
        }
        self.api.create(&PostParams::default(), &reset(name, &self.group, &entries, &spec)).await.unwrap();
    }

    /// Writes more records to a partition, and waits until the consumers have committed past them.
    pub async fn produce(&self, partition: i32, records: i64) {
        let admin = &self.admin;
        produce(&self.topic, partition, &vec![(T0 + 1_000) * 1000; usize::try_from(records).unwrap()]).await;
        let at = TopicPartition::new(&self.topic, partition);
        let waiting = async {
            loop {
                let end = admin.bounds(std::slice::from_ref(&at)).await.unwrap()[&at].clone().unwrap().end;
                let committed = admin.committed(&self.group, std::slice::from_ref(&at)).await.unwrap();
                if matches!(&committed[&at], Ok(Some(committed)) if committed.offset == end) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(PATIENCE, waiting).await.expect("the consumers consume what came");
    }

    /// Waits until a reset has ended, and then until its consumers are back in the group and have committed all there is.
    /// Their pods never become ready here, so the reset itself goes on watching.
    pub async fn run(&self, name: &str) -> OffsetReset {
        let done = wait_for_end(&self.api, name).await;
        self.caught_up().await;
        done
    }

    pub async fn caught_up(&self) {
        let admin = &self.admin;
        let first = TopicPartition::new(&self.topic, 0);
        let waiting = async {
            loop {
                let group = admin.describe_group(&self.group).await.unwrap();
                let committed = admin.committed(&self.group, std::slice::from_ref(&first)).await.unwrap();
                let at_end = matches!(&committed[&first], Ok(Some(committed)) if committed.offset == 100);
                if at_end && group::members(&group) == 2 && !group::is_rebalancing(&group) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(PATIENCE, waiting).await.expect("the consumers come back and consume what there is");
    }

    /// Waits until each of these partitions was consumed again from exactly this offset on.
    pub async fn consumed_again(&self, since: usize, expected: &[(i32, i64)]) {
        let as_expected = || {
            let first = self.follower.first_since(since, &self.topic);
            expected.iter().all(|(partition, offset)| first.get(partition) == Some(offset))
        };
        let waiting = async {
            while !as_expected() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = within(PATIENCE, waiting).await;
        assert!(found.is_some(), "{:?} instead of {expected:?}", self.follower.first_since(since, &self.topic));
    }

    pub async fn close(self) {
        self.operator.end().await;
    }
}

pub async fn in_a_shop<T>(kind: Kind, test: impl AsyncFnOnce(&Shop) -> T) {
    with_namespace(async |client, namespace| {
        let shop = Shop::open(client, namespace, &kind).await;
        test(&shop).await;
        shop.close().await;
    })
    .await;
}

pub fn status(reset: &OffsetReset) -> &OffsetResetStatus {
    reset.status.as_ref().unwrap()
}

/// Partition, before, target, after and clamp.
pub type Outcome = (i32, Option<i64>, i64, Option<i64>, Option<Clamp>);

pub fn outcomes(reset: &OffsetReset) -> Vec<Outcome> {
    status(reset).partitions.iter().map(|p| (p.partition, p.before, p.target_offset.unwrap(), p.after, p.clamped)).collect()
}

pub fn succeeded(reset: &OffsetReset) {
    let status = status(reset);
    assert_eq!((status.phase, status.reason), (Some(Phase::Succeeded), Some(Reason::Succeeded)), "{:?}", status.message);
    for partition in &status.partitions {
        // What was committed already is not committed again.
        let (outcome, after) = if partition.before == partition.target_offset {
            (PartitionOutcome::Unchanged, None)
        } else {
            (PartitionOutcome::Reset, partition.target_offset)
        };
        assert_eq!((partition.outcome, partition.after), (outcome, after), "{partition:?}");
    }
    for milestone in ["Planned", "ConsumersStopped", "GroupEmpty", "OffsetsReset", "ConsumersRestored", "Complete", "Ready"] {
        assert_eq!(condition(reset, milestone).0, "True", "{milestone}");
    }
    for milestone in ["Failed", "Reconciling", "Stalled"] {
        assert_eq!(condition(reset, milestone).0, "", "{milestone}");
    }
    assert_eq!(reset.metadata.generation, status.observed_generation);
    assert!(!reset.finalizers().iter().any(|name| name == FINALIZER) || status.completion_time.is_some());
}

/// How it ended, with its words for a failing test.
#[track_caller]
pub fn ended(reset: &OffsetReset, phase: Phase, reason: Reason) -> String {
    let status = status(reset);
    let message = status.explanation();
    assert_eq!((status.phase, status.reason), (Some(phase), Some(reason)), "{message}");
    message
}
