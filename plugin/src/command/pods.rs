//! The pods of a reset's targets: those that stop, start or crash.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
    core::GroupVersionKind,
};
use offset_reset_operator::api::{OffsetReset, TargetRef};

use crate::{
    cluster::Cluster,
    view::{PodState, words::ago},
};

/// The pods of a reset's targets that stop, start or crash, and the workloads whose pods could not be read.
pub async fn pods(cluster: &Cluster, reset: &OffsetReset) -> (Vec<PodState>, Vec<String>) {
    let (mut found, mut unread) = (vec![], vec![]);
    let namespace = reset.namespace().unwrap_or_default();
    for target in reset.status.iter().flat_map(|status| &status.targets).map(TargetRef::from) {
        match pods_of(&cluster.client, &namespace, &target).await {
            Some(pods) => found.extend(pods),
            None => unread.push(format!("{}/{}", target.kind, target.name)),
        }
    }
    (found, unread)
}

/// The pods of a workload that stop, start or crash. None without the right to list pods. A connector has none of its own: its tasks run in
/// the pods of Kafka Connect.
pub async fn pods_of(client: &Client, namespace: &str, target: &TargetRef) -> Option<Vec<PodState>> {
    if target.is_connector() {
        return Some(vec![]);
    }
    let (group, version) = target.api_version.split_once('/').unwrap_or(("", &target.api_version));
    let kind = GroupVersionKind::gvk(group, version, &target.kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, &target.checked_resource());
    let workloads = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
    let selector = workloads.get_scale(&target.name).await.ok()?.status?.selector.filter(|selector| !selector.is_empty())?;
    let pods = Api::<Pod>::namespaced(client.clone(), namespace).list(&ListParams::default().labels(&selector)).await.ok()?;
    let name = format!("{}/{}", target.kind, target.name);
    Some(pods.items.iter().filter_map(|pod| state(pod, &name, Timestamp::now())).collect())
}

/// How long a crash is shown for a pod that is ready again.
const RECENT: SignedDuration = SignedDuration::from_mins(10);

/// The state of a pod that stops, starts or crashes; `None` for a pod that was ready all the time.
fn state(pod: &Pod, workload: &str, now: Timestamp) -> Option<PodState> {
    let status = pod.status.clone().unwrap_or_default();
    let is_ready = status.conditions.iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let ends = pod.metadata.deletion_timestamp.as_ref().map(|at| at.0);
    let crash = status.container_statuses.iter().flatten().find_map(|container| crash(container, now)).filter(|_| ends.is_none());
    if is_ready && ends.is_none() && crash.is_none() {
        return None;
    }
    let waiting = status
        .container_statuses
        .iter()
        .flatten()
        .find_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone());
    let state = match ends {
        Some(_) => "Terminating".to_owned(),
        None => waiting.or(status.phase).unwrap_or_else(|| "Pending".to_owned()),
    };
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    Some(PodState { workload: workload.to_owned(), name: pod.name_any(), state, node, grace_until: ends, crash })
}

/// A container that has terminated, and was restarted or waits for its restart.
fn crash(container: &ContainerStatus, now: Timestamp) -> Option<String> {
    let state = container.state.as_ref();
    let waits = state.and_then(|state| state.waiting.as_ref()).and_then(|waiting| waiting.reason.as_deref());
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let last = state.and_then(|state| state.terminated.as_ref()).or(last)?;
    let ended = last.finished_at.as_ref().map(|at| at.0);
    let is_recent = ended.is_none_or(|at| now.duration_since(at) <= RECENT);
    if container.restart_count == 0 || !(waits == Some("CrashLoopBackOff") || is_recent) {
        return None;
    }
    let why = last.reason.as_deref().filter(|reason| *reason != "Error").map(|reason| format!(" ({reason})")).unwrap_or_default();
    let when = ended.map(|at| format!(" {}", ago(at, now))).unwrap_or_default();
    let times = if container.restart_count == 1 { "once".to_owned() } else { format!("{} times", container.restart_count) };
    Some(format!("restarted {times}, ended{when} with exit code {}{why}", last.exit_code))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case::ready(json!({}), json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}), None)]
    #[case::ends(json!({"deletionTimestamp": "2026-11-26T21:57:34Z"}), json!({"phase": "Running"}), Some("Terminating"))]
    #[case::starts(json!({}), json!({"phase": "Pending"}), Some("Pending"))]
    #[case::cannot_start(
        json!({}),
        json!({"phase": "Pending", "containerStatuses": [{
            "name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff"}},
        }]}),
        Some("ImagePullBackOff")
    )]
    fn only_pods_that_stop_or_start_are_shown(
        #[case] mut metadata: Value,
        #[case] status: Value,
        #[case] expected: Option<&str>,
    ) {
        metadata["name"] = json!("p");
        let pod = serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap();
        assert_eq!(state(&pod, "Deployment/c", Timestamp::UNIX_EPOCH).map(|pod| pod.state).as_deref(), expected);
    }

    /// Between two crashes the pod is ready.
    #[rstest]
    #[case::waits(json!({"waiting": {"reason": "CrashLoopBackOff"}}), "1970-01-01T00:00:00Z", 5, Some("restarted 5 times, ended 1h ago with exit code 1"))]
    #[case::runs_again(json!({"running": {}}), "1970-01-01T00:59:00Z", 1, Some("restarted once, ended 1m ago with exit code 1"))]
    #[case::long_ago(json!({"running": {}}), "1970-01-01T00:49:00Z", 1, None)]
    #[case::never(json!({"running": {}}), "1970-01-01T00:59:00Z", 0, None)]
    fn a_container_that_crashes_is_told_though_its_pod_is_ready(
        #[case] now: Value,
        #[case] ended: &str,
        #[case] restarts: i32,
        #[case] expected: Option<&str>,
    ) {
        let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [{
            "name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": restarts, "state": now,
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": ended}},
        }]});
        let pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap();
        let found = state(&pod, "Deployment/c", "1970-01-01T01:00:00Z".parse().unwrap());
        assert_eq!(found.and_then(|pod| pod.crash).as_deref(), expected);
    }
}
