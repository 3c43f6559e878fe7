//! Strimzi's KafkaConnectors: read, stopped and restored through `spec.state`; nothing else in them changes.
//!
//! Strimzi's operator carries the state to Kafka Connect, and reports what Connect answers in the status. A status counts only when it
//! is about the current generation: before, it tells what was before the stop.

use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{owners, scale::Scaled};
use crate::kubernetes::{
    limit::limited,
    write::{WriteOutcome, classify},
};
use crate::{
    api::{FIELD_MANAGER, TargetRef},
    machine::facts::{Connector, Pod, Rollout, STOPPED, Tasks, UNSET, Workload, WorkloadDetails},
};

/// With "true", Strimzi does not reconcile an object.
const IGNORED: &str = "strimzi.io/pause-reconciliation";

/// Whether these are Strimzi's connectors.
pub(super) fn are_connectors(resource: &ApiResource) -> bool {
    TargetRef::new(&resource.api_version, &resource.kind, "").is_connector()
}

/// All that is known of a connector.
///
/// # Errors
/// When it has no UID or version; the message says so.
pub(super) fn workload(object: &DynamicObject) -> Result<Workload, String> {
    let (Some(uid), Some(resource_version)) = (object.uid(), object.resource_version()) else {
        return Err("it has no uid or resourceVersion".into());
    };
    let state = state(object);
    let reported = Reported::of(object);
    let details = WorkloadDetails {
        controller: owners::controller(&object.metadata),
        scalers: owners::of_field(&object.metadata, "/f:spec/f:state"),
        rollout: if reported.is_current { Rollout::Complete } else { Rollout::Unobserved },
        connector: Some(Connector {
            plugin_type: object.data["status"]["connectorStatus"]["type"].as_str().map(str::to_owned),
            group: config(object, "consumer.override.group.id").unwrap_or_else(|| format!("connect-{}", object.name_any())),
            is_ignored: object.annotations().get(IGNORED).is_some_and(|value| value == "true"),
        }),
        ..WorkloadDetails::default()
    };
    Ok(Workload {
        uid,
        resource_version,
        replicas: i32::from(state != STOPPED),
        state: Some(state),
        refusal: None,
        overridden: None,
        pods: vec![tasks(object, &reported)],
        details,
    })
}

/// Sets the state of a connector that is still at this version, and returns what the API server stored.
///
/// # Errors
/// When it is unknown whether it was written.
pub(super) async fn set_state(
    api: &Api<DynamicObject>,
    name: &str,
    version: &str,
    state: &str,
    dry_run: bool,
) -> Result<WriteOutcome<Scaled>, kube::Error> {
    let params = PatchParams { dry_run, field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    let answer = limited(api.patch(name, &params, &Patch::Merge(patch(version, state)))).await;
    classify(
        answer.map(|stored| Scaled {
            replicas: i32::from(self::state(&stored) != STOPPED),
            version: stored.metadata.resource_version,
        }),
    )
}

/// Null removes a field.
fn patch(version: &str, state: &str) -> Value {
    let state = Some(state).filter(|state| *state != UNSET);
    json!({"metadata": {"resourceVersion": version}, "spec": {"state": state}})
}

fn state(object: &DynamicObject) -> String {
    object.data["spec"]["state"].as_str().unwrap_or(UNSET).to_owned()
}

/// A setting of the connector's own configuration.
fn config(object: &DynamicObject, key: &str) -> Option<String> {
    match &object.data["spec"]["config"][key] {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

/// What the status has of the connector and its tasks.
struct Reported<'a> {
    /// The status is about the current generation.
    is_current: bool,
    connector: Option<&'a str>,
    tasks: Vec<&'a str>,
}

impl<'a> Reported<'a> {
    fn of(object: &'a DynamicObject) -> Self {
        let status = &object.data["status"];
        let observed = status["observedGeneration"].as_i64();
        let tasks = status["connectorStatus"]["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            is_current: observed.is_some() && observed == object.metadata.generation,
            connector: status["connectorStatus"]["connector"]["state"].as_str(),
            tasks: tasks.iter().map(|task| task["state"].as_str().unwrap_or("UNKNOWN")).collect(),
        }
    }

    fn is_stopped(&self) -> bool {
        self.is_current && self.connector == Some("STOPPED")
    }

    fn runs(&self) -> bool {
        let tasks_run = !self.tasks.is_empty() && self.tasks.iter().all(|task| *task == "RUNNING");
        self.is_current && self.connector == Some("RUNNING") && tasks_run
    }

    fn in_words(&self) -> String {
        match self.connector {
            _ if !self.is_current => "its status is not about its newest spec yet".to_owned(),
            None => "its status has no state of the connector".to_owned(),
            Some(connector) if self.tasks.is_empty() => format!("its status reports {connector} and no task"),
            Some(connector) => format!("its status reports {connector}, and of its tasks {}", self.tasks.join(", ")),
        }
    }
}

/// What stands for the pod of a connector: its tasks.
fn tasks(object: &DynamicObject, reported: &Reported<'_>) -> Pod {
    let name = object.name_any();
    let conditions = object.data["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_ready = conditions.iter().find(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let since = is_ready.and_then(|condition| condition["lastTransitionTime"].as_str()?.parse::<Timestamp>().ok());
    Pod {
        name: format!("KafkaConnector/{name}"),
        ips: vec![],
        node_ips: vec![],
        node: None,
        deletion: None,
        terminated: reported.is_stopped(),
        ready: reported.runs(),
        ready_since: since.filter(|_| reported.runs()),
        crashed: false,
        restarted: false,
        exited: false,
        last_exit: None,
        grace: SignedDuration::ZERO,
        tasks: Some(Tasks {
            // As WorkerSinkTask's consumers are named (`Worker.baseConsumerConfigs`, Kafka 4.3).
            client_id: config(object, "consumer.override.client.id").unwrap_or_else(|| format!("connector-consumer-{name}-")),
            reported: reported.in_words(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn connector(generation: i64, spec: &Value, status: &Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaConnector",
            "metadata": {"name": "s3-sink", "uid": "u", "resourceVersion": "7", "generation": generation},
            "spec": spec, "status": status,
        }))
        .unwrap()
    }

    /// As Strimzi writes it: what Connect answers to GET /connectors/NAME/status.
    fn status(observed: i64, state: &str, tasks: &[&str]) -> Value {
        let tasks: Vec<Value> =
            tasks.iter().enumerate().map(|(id, state)| json!({"id": id, "state": state, "worker_id": "w:8083"})).collect();
        json!({
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-28T00:00:00.123456789Z"}],
            "observedGeneration": observed,
            "connectorStatus": {"name": "s3-sink", "connector": {"state": state, "worker_id": "w:8083"}, "tasks": tasks, "type": "sink"},
        })
    }

    #[rstest]
    #[case::stopped(&json!({"state": "stopped"}), 0, "stopped")]
    #[case::running(&json!({"state": "running"}), 1, "running")]
    #[case::paused(&json!({"state": "paused"}), 1, "paused")]
    #[case::no_state(&json!({}), 1, "unset")]
    fn the_state_is_that_of_the_spec(#[case] spec: &Value, #[case] replicas: i32, #[case] state: &str) {
        let found = workload(&connector(1, spec, &status(1, "RUNNING", &["RUNNING"]))).unwrap();
        assert_eq!((found.replicas, found.state.as_deref()), (replicas, Some(state)));
    }

    #[rstest]
    #[case::stopped(status(2, "STOPPED", &[]), true, false, Rollout::Complete)]
    #[case::stopped_before_this_spec(status(1, "STOPPED", &[]), false, false, Rollout::Unobserved)]
    #[case::not_yet_stopped(status(2, "RUNNING", &["RUNNING"]), false, true, Rollout::Complete)]
    #[case::a_task_has_failed(status(2, "RUNNING", &["RUNNING", "FAILED"]), false, false, Rollout::Complete)]
    #[case::no_task_yet(status(2, "RUNNING", &[]), false, false, Rollout::Complete)]
    #[case::paused(status(2, "PAUSED", &["PAUSED"]), false, false, Rollout::Complete)]
    #[case::no_status(Value::Null, false, false, Rollout::Unobserved)]
    #[case::connect_was_not_reached(json!({"observedGeneration": 2}), false, false, Rollout::Complete)]
    fn a_stop_is_what_the_status_reports_of_the_current_spec(
        #[case] status: Value,
        #[case] stopped: bool,
        #[case] runs: bool,
        #[case] rollout: Rollout,
    ) {
        let found = workload(&connector(2, &json!({"state": "stopped"}), &status)).unwrap();
        assert_eq!((found.pods[0].terminated, found.pods[0].ready, &found.details.rollout), (stopped, runs, &rollout));
        assert_eq!(found.pods[0].ready_since.is_some(), runs);
    }

    #[rstest]
    #[case::by_default(json!({}), "connect-s3-sink", "connector-consumer-s3-sink-0")]
    #[case::as_configured(
        json!({"consumer.override.group.id": "copies", "consumer.override.client.id": "copier"}), "copies", "copier"
    )]
    #[case::not_a_text(json!({"consumer.override.group.id": 7}), "7", "connector-consumer-s3-sink-12")]
    fn the_group_and_the_client_ids_are_those_of_its_configuration(
        #[case] config: Value,
        #[case] group: &str,
        #[case] member: &str,
    ) {
        let found = workload(&connector(1, &json!({"config": config}), &Value::Null)).unwrap();
        assert_eq!(found.details.connector.unwrap().group, group);
        assert!(found.pods[0].tasks.as_ref().unwrap().have_client_id(member));
    }

    #[rstest]
    #[case::set("paused", json!("paused"))]
    #[case::removed(UNSET, Value::Null)]
    fn only_the_state_of_the_version_that_was_read_is_written(#[case] state: &str, #[case] written: Value) {
        assert_eq!(patch("7", state), json!({"metadata": {"resourceVersion": "7"}, "spec": {"state": written}}));
    }
}
