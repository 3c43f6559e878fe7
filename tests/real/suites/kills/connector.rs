//! A connector, and what reports of its state. No Kafka Connect runs here: how a connector stops is no matter of these runs, and they are
//! hundreds. The suite `connectors` has a real one.

use std::time::Duration;

use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{connectors, targets::definitions};

/// The state that it has before.
pub const STATE: &str = "paused";

/// Installs Strimzi's CRD.
pub async fn install(client: &Client) {
    definitions::install(client, &serde_saphyr::from_str(connectors::DEFINITION).unwrap()).await;
}

/// What names it in an OffsetReset.
pub fn target(name: &str) -> Value {
    json!({"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaConnector", "name": name})
}

/// A connector that is reported as it is wished.
pub async fn create(api: &Api<DynamicObject>, name: &str) {
    let object = json!({
        "apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaConnector", "metadata": {"name": name},
        "spec": {"class": "org.example.Sink", "tasksMax": 1, "config": {}, "state": STATE},
    });
    let created = api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    report(api, name, &created).await;
}

/// Reports each state of a connector as soon as it is wished; it ends with this.
pub struct Reporter(JoinHandle<()>);

impl Reporter {
    pub fn start(api: &Api<DynamicObject>, name: &str) -> Self {
        let (api, name) = (api.clone(), name.to_owned());
        Self(tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if let Ok(object) = api.get(&name).await
                    && object.data["status"]["observedGeneration"].as_i64() != object.metadata.generation
                {
                    report(&api, &name, &object).await;
                }
            }
        }))
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn report(api: &Api<DynamicObject>, name: &str, object: &DynamicObject) {
    let (state, tasks) = match object.data["spec"]["state"].as_str() {
        Some("stopped") => ("STOPPED", json!([])),
        Some("paused") => ("PAUSED", json!([{"id": 0, "state": "PAUSED"}])),
        _ => ("RUNNING", json!([{"id": 0, "state": "RUNNING"}])),
    };
    let status = json!({
        "observedGeneration": object.metadata.generation,
        "connectorStatus": {"name": name, "connector": {"state": state}, "tasks": tasks, "type": "sink"},
    });
    // The object may be gone by now.
    let _ = api.patch_status(name, &PatchParams::default(), &Patch::Merge(&json!({ "status": status }))).await;
}
