//! A small stand-in for Strimzi's operator, which cannot be built here: it carries `spec` of the KafkaConnectors of a namespace to Kafka
//! Connect's REST API, and what Connect reports into their status.
//!
//! Written after `AbstractConnectOperator` of Strimzi at 8541da1e: the configuration first, then the state by the same table
//! (`updateState`), then the status as Connect reports it a moment later, which may still be the state before. As there, a write of the
//! status brings the next reconciliation. Not here: restarts, offsets, topics, several Connect clusters.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::connect::Connect;

pub fn connectors(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("kafka.strimzi.io", "v1", "KafkaConnector");
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk_with_plural(&kind, "kafkaconnectors"))
}

/// The stand-in; it ends with this.
pub struct Strimzi {
    is_away: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Strimzi {
    pub fn start(client: &Client, namespace: &str, connect: &'static Connect) -> Self {
        let is_away = Arc::new(AtomicBool::new(false));
        let (away, api) = (Arc::clone(&is_away), connectors(client, namespace));
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if away.load(Ordering::SeqCst) {
                    continue;
                }
                for connector in api.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
                    reconcile(&api, connect, &connector).await;
                }
            }
        });
        Self { is_away, task }
    }

    /// Takes no notice of anything until it is told otherwise.
    pub fn goes_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::SeqCst);
    }
}

impl Drop for Strimzi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn reconcile(api: &Api<DynamicObject>, connect: &Connect, connector: &DynamicObject) {
    let (name, spec) = (connector.name_any(), &connector.data["spec"]);
    let mut config = spec["config"].clone();
    config["name"] = json!(name);
    config["connector.class"] = spec["class"].clone();
    config["tasks.max"] = json!(spec["tasksMax"].to_string());
    let current = connect.ask("GET", &format!("/connectors/{name}/config"), &Value::Null).await;
    if !matches!(current, Ok((200, current)) if current == config) {
        connect.configure(&name, &config).await;
    }
    let wanted = spec["state"].as_str().unwrap_or("running");
    match (connect.state(&name).await.as_str(), wanted) {
        ("RUNNING" | "STOPPED", "paused") => connect.transition(&name, "pause").await,
        ("RUNNING" | "PAUSED" | "FAILED", "stopped") => connect.transition(&name, "stop").await,
        ("PAUSED" | "STOPPED", "running") => connect.transition(&name, "resume").await,
        _ => {}
    }
    let Some(reported) = connect.status(&name).await else { return };
    let observed = json!(connector.metadata.generation);
    let before = &connector.data["status"];
    if (&before["observedGeneration"], &before["connectorStatus"]) == (&observed, &reported) {
        return;
    }
    let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": jiff::Timestamp::now().to_string()});
    let status =
        json!({"observedGeneration": observed, "connectorStatus": reported, "conditions": [ready], "tasksMax": spec["tasksMax"]});
    // The object may be gone by now.
    let _ = api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&json!({ "status": status }))).await;
}
