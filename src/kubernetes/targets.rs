//! The workloads: their replicas through the `scale` subresource, never the workload itself, and their pods.

use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v1::{Scale, ScaleSpec},
    core::v1::Pod as CorePod,
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};

use super::{limit::limited, words};
use crate::{
    api::{FIELD_MANAGER, TargetRef},
    machine::{
        observed::Seen,
        world::{Pod, Workload},
    },
};

/// Reads and scales workloads.
#[derive(Clone)]
pub struct Targets {
    client: Client,
}

/// How scaling ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scaled {
    /// The API server accepted it.
    Accepted,
    /// The workload has changed since it was read, or is gone. Nothing was done.
    Stale,
    /// The API server refuses it, and will again; its words.
    Refused(String),
}

impl Targets {
    /// With a client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Looks at a workload, live, and at its pods when they are wanted: what brings consumers back must not wait for a list of pods.
    pub async fn look(&self, namespace: &str, target: &TargetRef, with_pods: bool) -> Seen<Workload> {
        let scale = match limited(self.scale_api(namespace).get_scale(&target.name)).await {
            Ok(scale) => scale,
            Err(kube::Error::Api(status)) if status.is_not_found() => return Seen::Missing,
            Err(error) => return Seen::Unknown(words(&error)),
        };
        let (Some(uid), Some(resource_version)) = (scale.metadata.uid.clone(), scale.metadata.resource_version.clone()) else {
            return Seen::Unknown("its scale has no uid or resourceVersion".into());
        };
        let seen = |pods| Seen::Known(Workload { uid, resource_version, replicas: replicas(&scale), refusal: None, pods });
        if !with_pods {
            return seen(vec![]);
        }
        let selector = scale.status.as_ref().and_then(|status| status.selector.clone()).unwrap_or_default();
        if selector.is_empty() {
            // An empty selector would mean every pod of the namespace, or none: either is a guess.
            return Seen::Unknown("its scale names no selector, so its pods cannot be told".into());
        }
        match self.pods(namespace, &selector).await {
            Ok(pods) => seen(pods),
            Err(error) => Seen::Unknown(format!("its pods could not be listed: {}", words(&error))),
        }
    }

    /// Why scaling to zero would be refused, found out by a dry run through the whole API server, admission included.
    ///
    /// # Errors
    /// In words, when nobody can tell: no answer, or the API server is in trouble. That is no refusal.
    pub async fn try_stop(&self, namespace: &str, target: &TargetRef, workload: &Workload) -> Result<Option<String>, String> {
        match self.replace(namespace, &target.name, &workload.resource_version, 0, true).await {
            // A conflict proves the right to scale as well as a success does: it is checked after the right.
            Ok(Scaled::Accepted | Scaled::Stale) => Ok(None),
            Ok(Scaled::Refused(why)) => Ok(Some(why)),
            Err(error) => Err(format!("whether it can be scaled could not be tried: {}", words(&error))),
        }
    }

    /// Sets the replicas, if the workload is still at `resource_version`.
    ///
    /// # Errors
    /// When nobody can tell whether it was done: no answer, or the API server is in trouble. Look again.
    pub async fn scale(
        &self,
        namespace: &str,
        target: &TargetRef,
        resource_version: &str,
        replicas: i32,
    ) -> Result<Scaled, kube::Error> {
        self.replace(namespace, &target.name, resource_version, replicas, false).await
    }

    async fn replace(
        &self,
        namespace: &str,
        name: &str,
        version: &str,
        replicas: i32,
        dry_run: bool,
    ) -> Result<Scaled, kube::Error> {
        let mut scale = Scale { spec: Some(ScaleSpec { replicas: Some(replicas) }), ..Scale::default() };
        scale.metadata.name = Some(name.to_owned());
        scale.metadata.namespace = Some(namespace.to_owned());
        scale.metadata.resource_version = Some(version.to_owned());
        let params = PostParams { dry_run, field_manager: Some(FIELD_MANAGER.into()) };
        match limited(self.scale_api(namespace).replace_scale(name, &params, &scale)).await {
            Ok(_) => Ok(Scaled::Accepted),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(Scaled::Stale),
            Err(kube::Error::Api(status)) if (400..429).contains(&status.code) => {
                Ok(Scaled::Refused(words(&kube::Error::Api(status))))
            }
            Err(error) => Err(error),
        }
    }

    async fn pods(&self, namespace: &str, selector: &str) -> Result<Vec<Pod>, kube::Error> {
        let pods = Api::<CorePod>::namespaced(self.client.clone(), namespace);
        Ok(limited(pods.list(&ListParams::default().labels(selector))).await?.items.into_iter().map(pod).collect())
    }

    fn scale_api(&self, namespace: &str) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Zero is left out on the wire.
fn replicas(scale: &Scale) -> i32 {
    scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0)
}

fn pod(pod: CorePod) -> Pod {
    let status = pod.status.unwrap_or_default();
    let ready = status.conditions.iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    // Its own addresses only; in the host's network that is the host's. Another process on the same node is not this pod.
    let ips = status.pod_ips.into_iter().flatten().map(|ip| ip.ip).collect();
    Pod {
        name: pod.metadata.name.unwrap_or_default(),
        ips,
        node: pod.spec.and_then(|spec| spec.node_name),
        deletion: pod.metadata.deletion_timestamp.map(|at| at.0),
        // Only these two phases are final. A kubelet writes one of them once every container has ended and none will be
        // started again, for pods that are being deleted too; container statuses alone may be older than a restart.
        ended: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        ready,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case::not_started(json!({"phase": "Pending"}), false, false)]
    #[case::running(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}), false, true)]
    #[case::running_with_a_terminated_container(
        json!({"phase": "Running", "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 1, "state": {"terminated": {"exitCode": 1}}}]}),
        false,
        false
    )]
    #[case::node_lost(json!({"phase": "Unknown"}), false, false)]
    #[case::no_status_yet(json!({}), false, false)]
    #[case::succeeded(json!({"phase": "Succeeded"}), true, false)]
    #[case::failed(json!({"phase": "Failed"}), true, false)]
    fn a_pod_counts_until_its_phase_is_final(#[case] status: Value, #[case] ended: bool, #[case] ready: bool) {
        let seen = pod(serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap());
        assert_eq!((seen.ended, seen.ready), (ended, ready));
    }

    #[rstest]
    #[case::zero_is_left_out(json!({"spec": {}}), 0)]
    #[case::no_spec(json!({}), 0)]
    #[case::three(json!({"spec": {"replicas": 3}}), 3)]
    fn a_scale_without_replicas_has_zero(#[case] scale: Value, #[case] expected: i32) {
        assert_eq!(replicas(&serde_json::from_value(scale).unwrap()), expected);
    }
}
