//! The pods of a target: those that it controls, followed over their owner references, and not all that match its selector.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        apps::v1::ReplicaSet,
        core::v1::{ContainerStatus, Pod as CorePod, PodStatus},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Api, Client, api::ListParams};
use parking_lot::Mutex;

use super::exits;
use crate::kubernetes::limit::limited;
use crate::machine::facts::{Controller, ForeignPod, Pod};

/// How many ReplicaSets are remembered, and how many workloads.
const REMEMBERED: usize = 10_000;

/// For how long a ReplicaSet is remembered: it has another controller when its Deployment is deleted with
/// `--cascade=orphan` and recreated.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);

/// When a ReplicaSet was read, and its controller.
type Remembered = (Instant, Option<OwnerReference>);

/// Reads pods.
#[derive(Clone)]
pub(super) struct Pods {
    client: Client,
    /// The controller of each ReplicaSet, by the ReplicaSet's UID.
    controllers: Arc<Mutex<HashMap<String, Remembered>>>,
    /// The UIDs of workloads of other kinds of which a pod has led to its workload: then all of their pods do, even when only others
    /// match the selector any more.
    leading: Arc<Mutex<HashSet<String>>>,
}

/// The selectors of a workload's pods.
#[derive(Debug)]
pub(super) struct Selectors {
    /// That of its scale.
    pub of_scale: String,
    /// A wider one, for pods of other revisions; of these only those count that the workload controls.
    pub of_all_revisions: Option<String>,
}

/// The pods that match the selectors.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Matching {
    /// Those that the target controls.
    pub own: Vec<Pod>,
    /// Those that it does not.
    pub foreign: Vec<ForeignPod>,
    /// Whether controllers tell the two apart; otherwise all pods under the selector of the scale count as its own.
    pub told_by_controllers: bool,
}

/// The controllers that a pod leads to, the nearest first.
#[derive(Debug, Default)]
struct Chain {
    controllers: Vec<OwnerReference>,
    /// The next one could not be read, so the chain tells nothing: the pod counts as the target's own, and as running.
    is_cut: bool,
}

impl Chain {
    fn leads_to(&self, uid: &str) -> bool {
        self.is_cut || self.controllers.iter().any(|controller| controller.uid == uid)
    }

    /// The object that a person knows the pod by: the last one.
    fn end(&self) -> Option<Controller> {
        let OwnerReference { api_version, kind, name, .. } = self.controllers.last()?.clone();
        Some(Controller { api_version, kind, name })
    }
}

impl Pods {
    pub fn new(client: Client) -> Self {
        Self { client, controllers: Arc::default(), leading: Arc::default() }
    }

    /// The pods that match the selectors, apart by whether the workload with this UID controls them.
    ///
    /// `of_a_known_kind`: a Deployment, StatefulSet or ReplicaSet, whose pods always have it in their chain of controllers. Of another
    /// kind that is not certain until at least one of them leads to it.
    pub async fn matching(
        &self,
        namespace: &str,
        selectors: &Selectors,
        uid: &str,
        of_a_known_kind: bool,
    ) -> Result<Matching, kube::Error> {
        let api = Api::<CorePod>::namespaced(self.client.clone(), namespace);
        let list = async |selector: &str| limited(api.list(&ListParams::default().labels(selector))).await;
        let mut found = vec![];
        for pod in list(&selectors.of_scale).await?.items {
            found.push((self.chain(namespace, &pod.metadata).await?, true, pod));
        }
        if let Some(selector) = &selectors.of_all_revisions {
            let seen: HashSet<Option<String>> = found.iter().map(|(_, _, pod)| pod.metadata.uid.clone()).collect();
            for pod in list(selector).await?.items.into_iter().filter(|pod| !seen.contains(&pod.metadata.uid)) {
                found.push((self.chain(namespace, &pod.metadata).await?, false, pod));
            }
        }
        let leads = found.iter().any(|(chain, _, _)| !chain.is_cut && chain.leads_to(uid));
        Ok(apart(found, uid, of_a_known_kind || self.led(uid, leads)))
    }

    /// Whether a pod of a workload leads to it, or has done so before.
    fn led(&self, uid: &str, leads: bool) -> bool {
        let mut leading = self.leading.lock();
        if leads {
            if leading.len() >= REMEMBERED {
                leading.clear();
            }
            leading.insert(uid.to_owned());
        }
        leading.contains(uid)
    }

    /// The pod that has an address, when none of the workloads with these UIDs controls it. An address that several pods have, or that
    /// is the host's, tells nothing. A pod's second address is not found: the API server selects by the first one only.
    pub async fn foreign_at(
        &self,
        namespace: &str,
        address: IpAddr,
        targets: &[&str],
    ) -> Result<Option<ForeignPod>, kube::Error> {
        let api = Api::<CorePod>::namespaced(self.client.clone(), namespace);
        let list = limited(api.list(&ListParams::default().fields(&format!("status.podIP={address}")))).await?;
        let mut live = list.items.into_iter().filter(|pod| !is_terminated(pod));
        let (Some(pod), None) = (live.next(), live.next()) else { return Ok(None) };
        let chain = self.chain(namespace, &pod.metadata).await?;
        let is_own = targets.iter().any(|uid| chain.leads_to(uid));
        Ok(Some(foreign(pod, &chain)).filter(|pod| !is_own && !pod.ips.is_empty()))
    }

    /// The controllers of a pod: one, and of a ReplicaSet the next one.
    async fn chain(&self, namespace: &str, pod: &ObjectMeta) -> Result<Chain, kube::Error> {
        let Some(controller) = controller(pod) else { return Ok(Chain::default()) };
        let mut chain = Chain { controllers: vec![controller.clone()], is_cut: false };
        if controller.kind != "ReplicaSet" {
            return Ok(chain);
        }
        if let Some((since, known)) = self.controllers.lock().get(&controller.uid)
            && since.elapsed() < REMEMBERED_FOR
        {
            chain.controllers.extend(known.clone());
            return Ok(chain);
        }
        let api = Api::<ReplicaSet>::namespaced(self.client.clone(), namespace);
        match limited(api.get_metadata(&controller.name)).await {
            Ok(found) if found.metadata.uid.as_ref() == Some(&controller.uid) => {
                let owner = self::controller(&found.metadata).cloned();
                chain.controllers.extend(owner.clone());
                let mut known = self.controllers.lock();
                if known.len() >= REMEMBERED {
                    known.clear();
                }
                known.insert(controller.uid.clone(), (Instant::now(), owner));
            }
            // It is gone, or may not be read.
            Ok(_) => chain.is_cut = true,
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_forbidden() => chain.is_cut = true,
            Err(error) => return Err(error),
        }
        Ok(chain)
    }
}

fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Tells pods apart, each with its chain of controllers and whether it matches the selector of the scale.
fn apart(found: Vec<(Chain, bool, CorePod)>, uid: &str, told_by_controllers: bool) -> Matching {
    let mut matching = Matching { told_by_controllers, ..Matching::default() };
    for (chain, of_scale, found) in found {
        let leads = chain.leads_to(uid) && (of_scale || !chain.is_cut || told_by_controllers);
        if leads || of_scale && !told_by_controllers {
            matching.own.push(pod(found));
        } else if told_by_controllers && !is_terminated(&found) {
            matching.foreign.push(foreign(found, &chain));
        }
    }
    matching
}

fn foreign(pod: CorePod, chain: &Chain) -> ForeignPod {
    let in_host_network = pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true));
    let terminates = pod.metadata.deletion_timestamp.is_some();
    let status = pod.status.as_ref();
    ForeignPod {
        controller: chain.end(),
        ips: if in_host_network { vec![] } else { ips(&pod) },
        running_since: status.and_then(|status| started(status).min()).filter(|_| !terminates),
        name: pod.metadata.name.unwrap_or_default(),
    }
}

/// When each running container has started: none of them before the pod had its address.
fn started(status: &PodStatus) -> impl Iterator<Item = Timestamp> {
    let containers = status.container_statuses.iter().flatten();
    containers.filter_map(|container| container.state.as_ref()?.running.as_ref()?.started_at.as_ref().map(|at| at.0))
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
    let became_ready =
        status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready" && condition.status == "True");
    let ready_since = became_ready
        .and_then(|condition| condition.last_transition_time.as_ref())
        .map(|at| started(&status).fold(at.0, Timestamp::max));
    let node_ips = status.host_ips.iter().flatten().map(|ip| ip.ip.clone()).chain(status.host_ip.clone()).collect();
    let crashed = status.container_statuses.iter().flatten().any(|container| {
        let state = container.state.as_ref();
        let waits = state.and_then(|state| state.waiting.as_ref()).and_then(|waiting| waiting.reason.as_deref());
        waits == Some("CrashLoopBackOff")
            || (container.restart_count > 0 && state.is_some_and(|state| state.terminated.is_some()))
    });
    let restarted = status.container_statuses.iter().flatten().any(|container| container.restart_count > 0);
    // A container that has done its work and is not started again has not crashed; that cannot be in a pod of a Deployment.
    let restarts_always =
        pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).is_none_or(|policy| policy == "Always");
    let has_exited = |container: &ContainerStatus| {
        let terminated = container.state.as_ref().and_then(|state| state.terminated.as_ref());
        terminated.is_some_and(|terminated| restarts_always || terminated.exit_code != 0)
    };
    let exited = status.container_statuses.iter().flatten().any(has_exited);
    let last_exit = exits::last_exit(&status, has_exited);
    let grace = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
    Pod {
        name: pod.metadata.name.unwrap_or_default(),
        ips,
        node_ips,
        node: pod.spec.and_then(|spec| spec.node_name),
        deletion: pod.metadata.deletion_timestamp.map(|at| at.0),
        terminated,
        ready: became_ready.is_some(),
        ready_since,
        crashed,
        restarted,
        exited,
        last_exit,
        grace: SignedDuration::from_secs(grace),
        tasks: None,
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

    fn owner(kind: &str, uid: &str) -> OwnerReference {
        OwnerReference { kind: kind.into(), uid: uid.into(), controller: Some(true), ..OwnerReference::default() }
    }

    fn chain(leads: bool) -> Chain {
        let controllers = vec![owner("ReplicaSet", "rs"), owner("Deployment", if leads { "own" } else { "other" })];
        Chain { controllers, is_cut: false }
    }

    fn cut() -> Chain {
        Chain { controllers: vec![owner("ReplicaSet", "rs")], is_cut: true }
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
        let found = ["a", "b"].into_iter().zip(led).map(|(name, leads)| (chain(*leads), true, found(name, "Running")));
        let told = known || led.contains(&true);
        let matching = apart(found.collect(), "own", told);
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
        let matching = apart(vec![(chain(false), true, found("a", "Succeeded"))], "own", true);
        assert_eq!((matching.own.len(), matching.foreign.len()), (0, 0));
    }

    #[rstest]
    #[case::a_canary_that_it_controls(chain(true), true, (1, 0))]
    #[case::a_pod_of_another_workload(chain(false), true, (0, 1))]
    #[case::one_whose_controller_cannot_be_read(cut(), true, (1, 0))]
    #[case::a_pod_of_another_workload_while_controllers_do_not_tell(chain(false), false, (0, 0))]
    #[case::one_whose_controller_cannot_be_read_while_controllers_do_not_tell(cut(), false, (0, 0))]
    fn beyond_the_selector_of_the_scale_only_pods_count_that_the_target_controls(
        #[case] chain: Chain,
        #[case] told: bool,
        #[case] expected: (usize, usize),
    ) {
        let matching = apart(vec![(chain, false, found("a", "Running"))], "own", told);
        assert_eq!((matching.own.len(), matching.foreign.len()), expected);
    }

    #[rstest]
    #[case::running(json!({}), json!({}), &["10.0.0.9"], Some(60))]
    #[case::in_the_network_of_its_host(json!({"hostNetwork": true}), json!({}), &[], Some(60))]
    #[case::terminating(json!({}), json!({"deletionTimestamp": "2027-01-15T08:00:00Z"}), &["10.0.0.9"], None)]
    fn a_foreign_pod_has_its_address_to_itself_for_as_long_as_its_oldest_container_runs(
        #[case] spec: serde_json::Value,
        #[case] metadata: serde_json::Value,
        #[case] expected: &[&str],
        #[case] since: Option<i64>,
    ) {
        let container = |name: &str, started: &str| {
            json!({
                "name": name, "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {"startedAt": started}},
            })
        };
        let mut spec = spec;
        spec["containers"] = json!([]);
        let pod = json!({"metadata": metadata, "spec": spec, "status": {
            "podIPs": [{"ip": "10.0.0.9"}],
            "containerStatuses": [container("a", "1970-01-01T00:02:00Z"), container("b", "1970-01-01T00:01:00Z")],
        }});
        let seen = foreign(serde_json::from_value(pod).unwrap(), &chain(false));
        assert_eq!(seen.ips, expected);
        assert_eq!(seen.running_since.map(Timestamp::as_second), since);
        assert_eq!(seen.controller.unwrap().kind, "Deployment", "the end of the chain, and not the ReplicaSet");
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
        let found = pod(found);
        assert_eq!((found.crashed, found.restarted), (crashed, true));
    }

    /// A pod of a Deployment always has `Always`.
    #[rstest]
    #[case::crashed("Always", json!({"terminated": {"exitCode": 7}}), true)]
    #[case::killed_for_its_memory("Always", json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}), true)]
    #[case::ended_by_itself_and_is_started_again("Always", json!({"terminated": {"exitCode": 0}}), true)]
    #[case::runs("Always", json!({"running": {}}), false)]
    #[case::starts("Always", json!({"waiting": {"reason": "ContainerCreating"}}), false)]
    #[case::has_done_its_work("OnFailure", json!({"terminated": {"exitCode": 0}}), false)]
    #[case::crashed_and_is_started_again("OnFailure", json!({"terminated": {"exitCode": 1}}), true)]
    #[case::has_done_its_work_for_good("Never", json!({"terminated": {"exitCode": 0}}), false)]
    #[case::crashed_for_good("Never", json!({"terminated": {"exitCode": 1}}), true)]
    fn a_container_that_has_exited_counts_unless_it_has_done_its_work(
        #[case] restart_policy: &str,
        #[case] state: serde_json::Value,
        #[case] exited: bool,
    ) {
        let container = |name: &str, state| json!({"name": name, "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state});
        let status = json!({
            "phase": "Running",
            // Init containers and native sidecars are here, and are no consumers.
            "initContainerStatuses": [container("init", json!({"terminated": {"exitCode": 0}}))],
            "containerStatuses": [container("other", json!({"running": {}})), container("c", state)],
        });
        let spec = json!({"restartPolicy": restart_policy, "containers": []});
        let found: CorePod = serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec, "status": status})).unwrap();
        let found = pod(found);
        assert_eq!((found.exited, found.crashed, found.restarted), (exited, false, false));
    }
}
