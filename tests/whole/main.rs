//! Every target, the plan, the record, undo and shared stops: real OffsetResets on a real API server and a real broker.
//!
//! Most groups here have commits and no consumers, so that each reset takes a fraction of a second; what consumers do is in `resets` and `e2e`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic: that is how it fails")]

#[path = "../common/mod.rs"]
mod common;

mod faults;
mod large;
mod orphans;
mod plans;
mod receipts;
mod reports;
mod sharing;
mod targets;
mod undo;

use std::{io::Read, sync::Arc};

use common::{
    PATIENCE,
    broker::Broker,
    deployment, replicas, reset, resets,
    shop::{Operator, T0, status},
    wait_for_end, with_namespace, within,
};
use flate2::read::GzDecoder;
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease, core::v1::ConfigMap};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use offset_reset_operator::{
    api::{OffsetReset, PartitionStatus, Phase, Reason},
    kafka::GroupAdmin,
    machine::facts::{Committed, TopicPartition, group},
};
use serde_json::{Value, json};

/// A namespace with the operator, and a broker.
struct Stand {
    client: Client,
    namespace: String,
    api: Api<OffsetReset>,
    broker: Broker,
    admin: Arc<dyn GroupAdmin>,
}

fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

impl Stand {
    async fn with<T>(test: impl AsyncFnOnce(&Self) -> T) {
        with_namespace(async |client, namespace| {
            let stand = Self::open(client, namespace).await;
            let operator = Operator::start(&stand.client, &stand.namespace);
            Box::pin(test(&stand)).await;
            operator.end().await;
        })
        .await;
    }

    /// Without an operator.
    async fn open(client: Client, namespace: String) -> Self {
        let broker = Broker::default();
        let admin = broker.group_admin().await;
        Self { api: resets(&client, &namespace), client, namespace, broker, admin }
    }

    /// A Deployment of two replicas that nobody runs.
    async fn deployment(&self) {
        let pod = json!({"containers": [{"name": "c", "image": "nobody-runs-it"}]});
        deployment(&self.client, &self.namespace, "consumer", 2, pod).await;
    }

    /// How often the Deployment's spec was changed since it was created.
    async fn changes(&self) -> i64 {
        let api = Api::<Deployment>::namespaced(self.client.clone(), &self.namespace);
        api.get("consumer").await.unwrap().metadata.generation.unwrap() - 1
    }

    async fn replicas(&self) -> i32 {
        replicas(&self.client, &self.namespace, "consumer").await
    }

    /// The Leases that say who holds what.
    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Waits until nobody is said to hold anything.
    async fn no_leases(&self) {
        let gone = async {
            while !self.leases().list(&ListParams::default()).await.unwrap().items.is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        within(PATIENCE, gone).await.expect("the Leases go");
    }

    /// Waits until a group has so many members.
    async fn members(&self, group: &str, count: usize) {
        let there = async {
            while group::members(&self.admin.describe_group(group).await.unwrap()) != count {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        within(PATIENCE, there).await.expect("the members join");
    }

    /// A topic of three partitions: 100 records from T0 on, one per second, of which the first 20 are deleted; 10 records; none.
    async fn topic(&self) -> String {
        let topic = self.broker.topic("whole", 3).await;
        self.broker.produce(&topic, 0, &(0..100).map(|second| (T0 + second) * 1000).collect::<Vec<_>>()).await;
        self.broker.produce(&topic, 1, &(0..10).map(|second| (T0 + second) * 1000).collect::<Vec<_>>()).await;
        self.broker.delete_records(&topic, &[(0, 20)]).await;
        topic
    }

    /// Commits as an application might have, with metadata of its own.
    async fn commit(&self, group: &str, topic: &str, offsets: &[(i32, i64)]) {
        let offsets: Vec<_> = offsets
            .iter()
            .map(|(partition, offset)| {
                (tp(topic, *partition), Committed { offset: *offset, metadata: "of the application".into() })
            })
            .collect();
        let answers = self.admin.commit(group, &offsets).await.unwrap();
        assert!(answers.values().all(Result::is_ok), "{answers:?}");
    }

    /// What is committed for the first three partitions of a topic.
    async fn committed(&self, group: &str, topic: &str) -> [Option<i64>; 3] {
        let at = [0, 1, 2].map(|partition| tp(topic, partition));
        let found = self.admin.committed(group, &at).await.unwrap();
        at.map(|at| found[&at].as_ref().unwrap().as_ref().map(|committed| committed.offset))
    }

    async fn apply(&self, name: &str, group: &str, entries: Value, spec: Value) {
        let mut full = json!({"targetRefs": []});
        for (key, value) in spec.as_object().into_iter().flatten() {
            full[key] = value.clone();
        }
        self.api.create(&PostParams::default(), &reset(name, group, &entries, &full)).await.unwrap();
    }

    async fn run(&self, name: &str, group: &str, entries: Value, spec: Value) -> OffsetReset {
        self.apply(name, group, entries, spec).await;
        wait_for_end(&self.api, name).await
    }
}

/// How it ended, with its words for a failing test.
#[track_caller]
fn ended(reset: &OffsetReset, phase: Phase, reason: Reason) -> String {
    let status = status(reset);
    let message = status.explanation();
    assert_eq!((status.phase, status.reason), (Some(phase), Some(reason)), "{message}");
    message
}

/// The record of a reset, read as an admin would.
struct Recorded {
    before: String,
    after: String,
    partitions: Vec<PartitionStatus>,
}

async fn as_recorded(stand: &Stand, reset: &OffsetReset) -> Recorded {
    let place = status(reset).report.clone().expect("it says where its report is");
    let found = Api::<ConfigMap>::namespaced(stand.client.clone(), &stand.namespace).get(&place.config_map).await.unwrap();
    let file = |name: &str| {
        if place.compressed {
            let mut text = String::new();
            let bytes = &found.binary_data.as_ref().unwrap()[&format!("{name}.gz")].0;
            GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
            text
        } else {
            found.data.as_ref().unwrap()[name].clone()
        }
    };
    let partitions = serde_json::from_str(&file("partitions.json")).unwrap();
    Recorded { before: file("before.csv"), after: file("after.csv"), partitions }
}
