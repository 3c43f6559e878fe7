//! Sink connectors as targets, on a real Kafka Connect that runs real sinks, with Strimzi's CRD and a stand-in for Strimzi's operator
//! (`strimzi`). The operator has the rights of `deploy/rights` and `deploy/strimzi` and no others, under an account of its own, and the
//! policies for such accounts count.

mod connect;
mod course;
mod held;
mod refused;
pub mod strimzi;

use std::{fs, ops::Deref, time::Duration};

use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use offset_reset_operator::{
    api::{OffsetReset, TargetStatus},
    machine::facts::TopicPartition,
};
use serde_json::{Value, json};

use self::{
    connect::{Connect, file},
    strimzi::{Strimzi, connectors},
};
use crate::targets::{definitions, permissions::Rights};
use real_tests::{
    PATIENCE,
    env::TestEnv,
    reset, resets, rights,
    shop::{Operator, T0, status},
    unique, wait_for_end, with_namespace, within,
};

/// Strimzi's own definition of the kind.
pub const DEFINITION: &str = include_str!("../../manifests/others/strimzi-kafkaconnectors.yaml");

/// What lets the operator change connectors.
const RIGHTS: &str = include_str!("../../../../deploy/strimzi/rbac.yaml");

/// How many records there are.
const RECORDS: usize = 10;

/// A namespace with Connect, the stand-in for Strimzi, a topic of ten records, and an account for an operator.
struct Stand {
    env: TestEnv,
    connect: &'static Connect,
    strimzi: Strimzi,
    rights: Rights,
    topic: String,
    /// The name of the connector.
    name: String,
}

impl Deref for Stand {
    type Target = TestEnv;

    fn deref(&self) -> &TestEnv {
        &self.env
    }
}

impl Stand {
    /// With the operator, which has the rights for connectors.
    async fn with<T>(test: impl AsyncFnOnce(&Self, Operator) -> T) {
        Self::without_rights(async |stand| {
            stand.rights.kubectl("apply", RIGHTS).await;
            let operator = stand.operator().await;
            test(stand, operator).await;
            stand.rights.kubectl("delete", RIGHTS).await;
        })
        .await;
    }

    /// Without an operator, whose account may do what `deploy/rights` grants.
    async fn without_rights<T>(test: impl AsyncFnOnce(&Self) -> T) {
        with_namespace(async |client, namespace| {
            // The policies for the operator's account count for all accounts that are named like it.
            rights::operators_client(&client).await;
            definitions::install(&client, &serde_saphyr::from_str(DEFINITION).unwrap()).await;
            let (connect, env) = (Connect::shared().await, TestEnv::open(client, namespace.clone()).await);
            let topic = env.broker.topic("connectors", 1).await;
            env.broker.produce(&topic, 0, &[T0 * 1000; RECORDS]).await;
            let strimzi = Strimzi::start(&env.client, &namespace, connect);
            let account = unique("offset-reset-operator");
            let stand = Self { connect, strimzi, rights: Rights { namespace, name: account }, topic, name: unique("sink"), env };
            let base = include_str!("../../../../deploy/rights/rbac.yaml");
            stand.rights.kubectl("apply", base).await;
            test(&stand).await;
            stand.rights.kubectl("delete", base).await;
            stand.connect.delete(&stand.name).await;
            let _ = fs::remove_file(file(&stand.name));
        })
        .await;
    }

    async fn operator(&self) -> Operator {
        Operator::start_as(self.rights.client().await, &self.namespace)
    }

    /// The sink, in a state or without one, once it has written all records; `config` goes over what is usual.
    async fn sink(&self, state: Option<&str>, config: Value) {
        let mut full = json!({"topics": self.topic, "file": file(&self.name)});
        for (key, value) in config.as_object().into_iter().flatten() {
            full[key] = value.clone();
        }
        self.create("org.apache.kafka.connect.file.FileStreamSinkConnector", state, full).await;
        self.has_written(RECORDS).await;
    }

    async fn create(&self, class: &str, state: Option<&str>, config: Value) {
        let mut object = json!({
            "apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaConnector",
            "metadata": {"name": self.name, "labels": {"strimzi.io/cluster": "connect"}},
            "spec": {"class": class, "tasksMax": 1, "config": config},
        });
        if let Some(state) = state {
            object["spec"]["state"] = json!(state);
        }
        self.kinds().create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    fn kinds(&self) -> Api<DynamicObject> {
        connectors(&self.client, &self.namespace)
    }

    async fn object(&self) -> DynamicObject {
        self.kinds().get(&self.name).await.unwrap()
    }

    /// Its spec.state.
    async fn state(&self) -> Option<String> {
        self.object().await.data["spec"]["state"].as_str().map(str::to_owned)
    }

    /// How often its spec was changed since it was created.
    async fn changes(&self) -> i64 {
        self.object().await.metadata.generation.unwrap() - 1
    }

    /// Sets its state as another client.
    async fn set_state(&self, manager: &str, state: Option<&str>) {
        let params = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
        self.kinds().patch(&self.name, &params, &Patch::Merge(&json!({"spec": {"state": state}}))).await.unwrap();
    }

    /// Waits until the status is about the newest spec, and has this state.
    async fn is_reported_as(&self, state: &str) {
        self.until(state, async |_| {
            let object = self.object().await;
            let status = &object.data["status"];
            status["observedGeneration"].as_i64() == object.metadata.generation
                && status["connectorStatus"]["connector"]["state"] == state
        })
        .await;
    }

    /// Waits until the file has so many lines, and the group has committed all records.
    async fn has_written(&self, lines: usize) {
        self.until("written", async |_| self.lines() >= lines && self.committed().await == Some(10)).await;
        assert_eq!(self.lines(), lines, "each record as often as it is to be replayed");
    }

    fn lines(&self) -> usize {
        fs::read_to_string(file(&self.name)).unwrap_or_default().lines().count()
    }

    /// The group of the sink.
    fn group(&self) -> String {
        format!("connect-{}", self.name)
    }

    async fn committed(&self) -> Option<i64> {
        let at = TopicPartition::new(&self.topic, 0);
        let found = self.admin.committed(&self.group(), std::slice::from_ref(&at)).await.unwrap();
        found[&at].as_ref().unwrap().as_ref().map(|committed| committed.offset)
    }

    /// A reset of a group to the fourth record, with the connector as its target.
    async fn apply(&self, name: &str, group: &str, spec: Value) {
        let target = json!({"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaConnector", "name": self.name});
        let mut full = json!({"targetRefs": [target]});
        for (key, value) in spec.as_object().into_iter().flatten() {
            full[key] = value.clone();
        }
        let entries = json!([{"topic": self.topic, "offset": 3}]);
        self.api.create(&PostParams::default(), &reset(name, group, &entries, &full)).await.unwrap();
    }

    /// The same, of the sink's own group, and waits for its end.
    async fn run(&self, name: &str) -> OffsetReset {
        Box::pin(self.apply(name, &self.group(), json!({}))).await;
        wait_for_end(&self.api, name).await
    }
}

fn target(reset: &OffsetReset) -> TargetStatus {
    status(reset).targets[0].clone()
}

/// Waits until something is so, without a reset.
async fn until(what: &str, mut wished: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !wished().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(PATIENCE, waiting).await.unwrap_or_else(|| panic!("never was: {what}"));
}
