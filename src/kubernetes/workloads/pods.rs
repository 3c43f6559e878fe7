//! The pods of a target: those that it controls, followed over their owner references, and not all that match its selector.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::SignedDuration;
use k8s_openapi::{
    api::{apps::v1::ReplicaSet, core::v1::Pod as CorePod},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Api, Client, api::ListParams};

use super::owners;
use crate::kubernetes::limit::limited;
use crate::machine::facts::{ForeignPod, Pod};

/// How many ReplicaSets are remembered; a controller reference does not change while the object lives.
const REMEMBERED: usize = 10_000;

/// Reads pods.
#[derive(Clone)]
pub(super) struct Pods {
    client: Client,
    /// The UID of the controller of each ReplicaSet, by the ReplicaSet's UID.
    controllers: Arc<Mutex<HashMap<String, Option<String>>>>,
}

/// The pods that match a selector.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Matching {
    /// Those that the target controls.
    pub own: Vec<Pod>,
    /// Those that it does not.
    pub foreign: Vec<ForeignPod>,
}

impl Pods {
    pub fn new(client: Client) -> Self {
        Self { client, controllers: Arc::default() }
    }

    /// The pods that match `selector`, apart by whether the workload with this UID controls them.
    ///
    /// `of_a_known_kind`: a Deployment, StatefulSet or ReplicaSet, whose pods always have it in their chain of controllers. Of another
    /// kind that is not certain, so all pods count as its own unless at least one of them leads to it.
    pub async fn matching(
        &self,
        namespace: &str,
        selector: &str,
        uid: &str,
        of_a_known_kind: bool,
    ) -> Result<Matching, kube::Error> {
        let api = Api::<CorePod>::namespaced(self.client.clone(), namespace);
        let pods = limited(api.list(&ListParams::default().labels(selector))).await?.items;
        let mut led = Vec::with_capacity(pods.len());
        for pod in &pods {
            led.push(self.leads_to(namespace, &pod.metadata, uid).await?);
        }
        Ok(apart(pods, &led, of_a_known_kind))
    }

    /// Whether a pod's chain of controllers leads to a workload: directly, or by a ReplicaSet.
    async fn leads_to(&self, namespace: &str, pod: &ObjectMeta, uid: &str) -> Result<bool, kube::Error> {
        let Some(controller) = controller(pod) else { return Ok(false) };
        if controller.uid == uid {
            return Ok(true);
        }
        if controller.kind != "ReplicaSet" {
            return Ok(false);
        }
        if let Some(known) = self.controllers.lock().unwrap_or_else(PoisonError::into_inner).get(&controller.uid) {
            return Ok(known.as_deref() == Some(uid));
        }
        let api = Api::<ReplicaSet>::namespaced(self.client.clone(), namespace);
        match limited(api.get_metadata(&controller.name)).await {
            Ok(found) if found.metadata.uid.as_ref() == Some(&controller.uid) => {
                let owner = self::controller(&found.metadata).map(|owner| owner.uid.clone());
                let leads = owner.as_deref() == Some(uid);
                let mut known = self.controllers.lock().unwrap_or_else(PoisonError::into_inner);
                if known.len() >= REMEMBERED {
                    known.clear();
                }
                known.insert(controller.uid.clone(), owner);
                Ok(leads)
            }
            // A ReplicaSet that is gone, or that may not be read, tells nothing: the pod counts as the target's own, and as running.
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_forbidden() => Ok(true),
            Err(error) => Err(error),
        }
    }
}

fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

fn apart(pods: Vec<CorePod>, led: &[bool], of_a_known_kind: bool) -> Matching {
    let certain = of_a_known_kind || led.contains(&true);
    let mut matching = Matching::default();
    for (found, leads) in pods.into_iter().zip(led) {
        if *leads || !certain {
            matching.own.push(pod(found));
        } else if !is_terminated(&found) {
            matching.foreign.push(ForeignPod {
                controller: owners::controller(&found.metadata),
                ips: ips(&found),
                name: found.metadata.name.unwrap_or_default(),
            });
        }
    }
    matching
}

/// Its own addresses only; in the host's network that is the host's. Another process on the same node is not this pod.
fn ips(pod: &CorePod) -> Vec<String> {
    pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten()).map(|ip| ip.ip.clone()).collect()
}

/// Only these two phases are final. A kubelet writes one of them once every container has terminated and none will be started again,
/// even for a pod that is being deleted; container statuses alone may be older than a restart.
fn is_terminated(pod: &CorePod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

pub(super) fn pod(pod: CorePod) -> Pod {
    let (ips, terminated) = (ips(&pod), is_terminated(&pod));
    let status = pod.status.unwrap_or_default();
    let ready = status.conditions.iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let became_ready =
        status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready" && condition.status == "True");
    let started = status
        .container_statuses
        .iter()
        .flatten()
        .filter_map(|container| container.state.as_ref()?.running.as_ref()?.started_at.as_ref().map(|at| at.0));
    let ready_since =
        became_ready.and_then(|condition| condition.last_transition_time.as_ref()).map(|at| started.fold(at.0, Ord::max));
    let crashed = status.container_statuses.iter().flatten().any(|container| {
        let state = container.state.as_ref();
        let waits = state.and_then(|state| state.waiting.as_ref()).and_then(|waiting| waiting.reason.as_deref());
        waits == Some("CrashLoopBackOff")
            || (container.restart_count > 0 && state.is_some_and(|state| state.terminated.is_some()))
    });
    let grace = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
    Pod {
        name: pod.metadata.name.unwrap_or_default(),
        ips,
        node: pod.spec.and_then(|spec| spec.node_name),
        deletion: pod.metadata.deletion_timestamp.map(|at| at.0),
        terminated,
        ready,
        ready_since,
        crashed,
        grace: SignedDuration::from_secs(grace),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn found(name: &str, phase: &str) -> CorePod {
        serde_json::from_value(json!({"metadata": {"name": name}, "status": {"phase": phase}})).unwrap()
    }

    #[rstest]
    #[case::of_a_known_kind_each_pod_is_told(true, &[true, false], &["a"], &["b"])]
    #[case::of_a_known_kind_none_may_be_its_own(true, &[false, false], &[], &["a", "b"])]
    #[case::of_another_kind_one_that_leads_to_it_tells_the_rest(false, &[false, true], &["b"], &["a"])]
    #[case::of_another_kind_none_leads_to_it(false, &[false, false], &["a", "b"], &[])]
    fn pods_are_told_apart_by_their_controllers(
        #[case] known: bool,
        #[case] led: &[bool],
        #[case] own: &[&str],
        #[case] foreign: &[&str],
    ) {
        let matching = apart(vec![found("a", "Running"), found("b", "Running")], led, known);
        assert_eq!(matching.own.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), own);
        assert_eq!(matching.foreign.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), foreign);
    }

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
    fn a_pod_counts_until_its_phase_is_final(#[case] status: serde_json::Value, #[case] terminated: bool, #[case] ready: bool) {
        let seen = pod(serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap());
        assert_eq!((seen.terminated, seen.ready), (terminated, ready));
    }

    #[test]
    fn a_foreign_pod_that_has_completed_is_not_named() {
        assert_eq!(apart(vec![found("a", "Succeeded")], &[false], true), Matching::default());
    }

    #[rstest]
    #[case::waits_in_a_crash_loop(json!({"waiting": {"reason": "CrashLoopBackOff"}}), true)]
    #[case::has_just_crashed_again(json!({"terminated": {"exitCode": 1}}), true)]
    #[case::runs_again(json!({"running": {}}), false)]
    #[case::has_no_image(json!({"waiting": {"reason": "ImagePullBackOff"}}), false)]
    fn a_crash_is_told_from_a_pod_that_never_started(#[case] state: serde_json::Value, #[case] crashed: bool) {
        let status = json!({"phase": "Running", "containerStatuses": [
            {"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 2, "state": state},
        ]});
        let found: CorePod = serde_json::from_value(json!({"metadata": {"name": "a"}, "status": status})).unwrap();
        assert_eq!(pod(found).crashed, crashed);
    }
}
