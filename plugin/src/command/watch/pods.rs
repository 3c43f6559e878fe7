//! The pods of a reset's targets, while they stop or start: looked up every second, beside the watch.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
    core::GroupVersionKind,
};
use offset_reset_operator::api::{OffsetReset, Phase, TargetRef};
use tokio::{sync::watch, task::JoinHandle};

use crate::{cluster::Cluster, view::PodState};

/// The pods are looked up until this is dropped.
pub struct Pods {
    targets: watch::Sender<Vec<TargetRef>>,
    found: watch::Receiver<Vec<PodState>>,
    task: JoinHandle<()>,
}

impl Drop for Pods {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts to look.
pub fn follow(cluster: &Cluster, reset: &OffsetReset) -> Pods {
    let (targets, mut of) = watch::channel(vec![]);
    let (tell, found) = watch::channel(vec![]);
    let (client, namespace) = (cluster.client.clone(), reset.namespace().unwrap_or_default());
    let task = tokio::spawn(async move {
        loop {
            let targets: Vec<TargetRef> = of.borrow_and_update().clone();
            let mut pods = vec![];
            for target in &targets {
                // Without the right to see them they are not shown: the rest of the picture stands.
                pods.extend(pods_of(&client, &namespace, target).await.unwrap_or_default());
            }
            if tell.send(pods).is_err() {
                return;
            }
            let _ = tokio::time::timeout(Duration::from_secs(1), of.changed()).await;
        }
    });
    Pods { targets, found, task }
}

impl Pods {
    /// Looks at the pods of these targets from now on, while they may be held.
    pub fn look_at(&self, reset: &OffsetReset) {
        let status = reset.status.as_ref().filter(|status| status.phase.is_some_and(Phase::may_hold));
        let targets: Vec<TargetRef> =
            status.map(|status| status.targets.iter().map(TargetRef::from).collect()).unwrap_or_default();
        self.targets.send_if_modified(|before| {
            let is_new = *before != targets;
            *before = targets;
            is_new
        });
    }

    /// The pods, as they were a moment ago.
    pub fn found(&self) -> Vec<PodState> {
        self.found.borrow().clone()
    }
}

async fn pods_of(client: &Client, namespace: &str, target: &TargetRef) -> Option<Vec<PodState>> {
    let (group, version) = target.api_version.split_once('/').unwrap_or(("", &target.api_version));
    let kind = GroupVersionKind::gvk(group, version, &target.kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, &target.checked_resource());
    let workloads = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
    let selector = workloads.get_scale(&target.name).await.ok()?.status?.selector.filter(|selector| !selector.is_empty())?;
    let pods = Api::<Pod>::namespaced(client.clone(), namespace).list(&ListParams::default().labels(&selector)).await.ok()?;
    let name = format!("{}/{}", target.kind, target.name);
    Some(pods.items.iter().filter_map(|pod| state(pod, &name)).collect())
}

/// The state of a pod that stops or starts; a pod that is ready is no news.
fn state(pod: &Pod, workload: &str) -> Option<PodState> {
    let status = pod.status.clone().unwrap_or_default();
    let is_ready = status.conditions.iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let ends = pod.metadata.deletion_timestamp.as_ref().map(|at| at.0);
    if is_ready && ends.is_none() {
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
    Some(PodState { workload: workload.to_owned(), name: pod.name_any(), state, node, grace_until: ends })
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
        assert_eq!(state(&pod, "Deployment/c").map(|pod| pod.state).as_deref(), expected);
    }
}
