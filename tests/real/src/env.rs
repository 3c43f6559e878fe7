//! What a test has to itself: a namespace, and a broker with a view of its groups; then a topic and a group; then the operator.

use std::{ops::Deref, sync::Arc, time::Duration};

use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease, events::v1::Event};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use offset_reset_operator::{
    api::OffsetReset,
    kafka::GroupAdmin,
    machine::facts::{Committed, TopicPartition, group},
};
use serde_json::{Value, json};

use crate::{
    PATIENCE,
    broker::{Broker, number},
    deployment, replicas, reset, resets,
    shop::{Operator, T0},
    unique, wait_for_end, with_namespace, within,
};

/// A namespace and a broker.
pub struct TestEnv {
    pub client: Client,
    pub namespace: String,
    pub api: Api<OffsetReset>,
    pub broker: Broker,
    pub admin: Arc<dyn GroupAdmin>,
}

impl TestEnv {
    /// Runs a test beside an operator, which has the rights of `deploy/` and no others.
    pub async fn with<T>(test: impl AsyncFnOnce(&Self) -> T) {
        with_namespace(async |client, namespace| {
            let env = Self::open(client, namespace).await;
            env.operated(async || _ = Box::pin(test(&env)).await).await;
        })
        .await;
    }

    /// Without an operator.
    pub async fn open(client: Client, namespace: String) -> Self {
        let broker = Broker::default();
        let admin = broker.group_admin().await;
        Self { api: resets(&client, &namespace), client, namespace, broker, admin }
    }

    /// Runs something while an operator works in the namespace.
    pub async fn operated(&self, test: impl AsyncFnOnce()) {
        let operator = Operator::start(&self.client, &self.namespace);
        test().await;
        operator.end().await;
    }

    /// Creates the Deployment `consumer` of two replicas, whose pods are never started.
    pub async fn deployment(&self) {
        let pod = json!({"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "nobody-runs-it"}]});
        deployment(&self.client, &self.namespace, "consumer", 2, pod).await;
    }

    pub fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// How often the Deployment's spec was changed since it was created.
    pub async fn changes(&self) -> i64 {
        self.deployments().get("consumer").await.unwrap().metadata.generation.unwrap() - 1
    }

    pub async fn replicas(&self) -> i32 {
        replicas(&self.client, &self.namespace, "consumer").await
    }

    /// The Leases that store who holds what.
    pub fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Waits until nothing is held.
    pub async fn no_leases(&self) {
        let leases = self.leases();
        let none = async || leases.list(&ListParams::default()).await.unwrap().items.is_empty();
        self.until("without Leases", async |_| none().await).await;
    }

    /// Waits until a group has so many members.
    pub async fn members(&self, group: &str, count: usize) {
        let joined = async || group::members(&self.admin.describe_group(group).await.unwrap()) == count;
        self.until("with its members", async |_| joined().await).await;
    }

    /// Asks until something is as wished.
    pub async fn until(&self, what: &str, mut wished: impl AsyncFnMut(&Self) -> bool) {
        let waiting = async {
            while !wished(self).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(within(PATIENCE, waiting).await.is_some(), "never was: {what}");
    }

    /// The Events that are as wished, once there is one: the operator publishes them beside its passes.
    pub async fn events(&self, wished: impl Fn(&Event) -> bool) -> Vec<Event> {
        let events = Api::<Event>::namespaced(self.client.clone(), &self.namespace);
        let mut found = vec![];
        self.until("told by an Event", async |_| {
            found = events.list(&ListParams::default()).await.unwrap().items;
            found.retain(&wished);
            !found.is_empty()
        })
        .await;
        found
    }

    /// A topic of three partitions: 100 records from T0 on, one per second, of which the first 20 are deleted; 10 records; none.
    pub async fn topic(&self) -> String {
        let topic = self.broker.topic("three", 3).await;
        self.broker.produce(&topic, 0, &(0..100).map(|second| (T0 + second) * 1000).collect::<Vec<_>>()).await;
        self.broker.produce(&topic, 1, &(0..10).map(|second| (T0 + second) * 1000).collect::<Vec<_>>()).await;
        self.broker.delete_records(&topic, &[(0, 20)]).await;
        topic
    }

    /// Commits as an application might, with metadata of its own.
    pub async fn commit(&self, group: &str, topic: &str, offsets: &[(i32, i64)]) {
        let metadata = "of the application";
        let committed = |offset| Committed { offset, metadata: metadata.into() };
        let offsets: Vec<_> = offsets.iter().map(|(at, offset)| (TopicPartition::new(topic, *at), committed(*offset))).collect();
        let answers = self.admin.commit(group, &offsets).await.unwrap();
        assert!(answers.values().all(Result::is_ok), "{answers:?}");
    }

    /// What is committed for the first three partitions of a topic.
    pub async fn committed(&self, group: &str, topic: &str) -> [Option<i64>; 3] {
        self.offsets(group, topic).await
    }

    async fn offsets<const N: usize>(&self, group: &str, topic: &str) -> [Option<i64>; N] {
        let at: [TopicPartition; N] = std::array::from_fn(|partition| TopicPartition::new(topic, number(partition)));
        let found = self.admin.committed(group, &at).await.unwrap();
        at.map(|at| found[&at].as_ref().unwrap().as_ref().map(|committed| committed.offset))
    }

    /// Creates a reset without targets; `spec` goes over what is usual.
    pub async fn apply(&self, name: &str, group: &str, entries: Value, spec: Value) {
        let mut full = json!({"targetRefs": []});
        for (key, value) in spec.as_object().into_iter().flatten() {
            full[key] = value.clone();
        }
        self.api.create(&PostParams::default(), &reset(name, group, &entries, &full)).await.unwrap();
    }

    /// The same, and waits until it is over.
    pub async fn run(&self, name: &str, group: &str, entries: Value, spec: Value) -> OffsetReset {
        self.apply(name, group, entries, spec).await;
        wait_for_end(&self.api, name).await
    }
}

/// A topic of one partition, and a group that has committed in it.
pub struct GroupEnv {
    env: TestEnv,
    pub topic: String,
    pub group: String,
}

impl Deref for GroupEnv {
    type Target = TestEnv;

    fn deref(&self) -> &TestEnv {
        &self.env
    }
}

impl GroupEnv {
    /// With records at these Unix times in seconds, and this offset committed.
    pub async fn open(client: Client, namespace: String, name: &str, records: &[i64], committed: i64) -> Self {
        let env = TestEnv::open(client, namespace).await;
        let (topic, group) = (env.broker.topic(name, 1).await, unique(name));
        env.broker.produce(&topic, 0, &records.iter().map(|second| second * 1000).collect::<Vec<_>>()).await;
        env.commit(&group, &topic, &[(0, committed)]).await;
        Self { env, topic, group }
    }

    /// What a group has committed in the topic.
    pub async fn offset_of(&self, group: &str) -> Option<i64> {
        let [offset] = self.env.offsets(group, &self.topic).await;
        offset
    }
}
