//! Which resets an event of a workload or of a pod concerns: those with this workload as a target, and no others. A busy
//! namespace has events all the time, and a pass has requests to the API server and to Kafka.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use kube::{
    Resource, ResourceExt,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher::Event,
    },
};

use super::scope::Guarded;
use crate::{
    api::{OffsetReset, Phase, TargetRef},
    machine,
    reconcile::Change,
};

/// The pods that are watched: those that may run. One whose containers have all terminated leaves this watch as a deleted one does.
pub(super) const LIVE_PODS: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Touched {
    /// A workload; whether its spec has changed, or it is gone; and its version while it exists.
    Workload { kind: &'static str, name: String, spec: bool, version: Option<String> },
    /// A pod: its name; its controller's kind and name, if it has one; and whether it has terminated, or is gone.
    Pod { name: String, controller: Option<(String, String)>, is_over: bool },
}

/// The namespace of an object, and what its event is about.
pub(super) type About = (Option<String>, Touched);

/// The generations of the workloads, to tell a change of a spec from one of a status.
#[derive(Default)]
struct Generations {
    /// By a hash of the UID: a cluster has many workloads.
    seen: HashMap<u64, Option<i64>>,
    hasher: RandomState,
}

impl Generations {
    /// Whether the spec of a workload has changed since the last event, or the workload is gone.
    fn changed(&mut self, workload: &impl ResourceExt, is_gone: bool) -> bool {
        let key = self.hasher.hash_one(workload.uid());
        if is_gone {
            self.seen.remove(&key);
            return true;
        }
        let generation = workload.meta().generation;
        self.seen.insert(key, generation) != Some(generation)
    }
}

impl Touched {
    /// An event of a pod.
    pub fn pod<K: ResourceExt>(event: &Event<K>) -> Option<About> {
        let (pod, is_over) = object(event)?;
        let controller = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
        let controller = controller.map(|owner| (owner.kind.clone(), owner.name.clone()));
        Some((pod.namespace(), Self::Pod { name: pod.name_any(), controller, is_over }))
    }

    /// What it says to the resets that it concerns.
    pub fn change(&self) -> Change<'_> {
        let matters_at_zero = self.matters_at_zero();
        match self {
            Self::Pod { name, is_over, .. } => Change { pod_over: is_over.then_some(name), version: None, matters_at_zero },
            Self::Workload { version, .. } => Change { pod_over: None, version: version.as_deref(), matters_at_zero },
        }
    }

    /// Whether it may matter while nothing of the targets is to run: then only a pod that has terminated and a change of a spec do.
    fn matters_at_zero(&self) -> bool {
        match self {
            Self::Workload { spec, .. } => *spec,
            Self::Pod { is_over, .. } => *is_over,
        }
    }

    /// Whether the event is about this target. It may be about one of a kind that is not watched, whose pods have any owner.
    fn concerns(&self, target: &TargetRef) -> bool {
        let is_native = matches!(target.kind.as_str(), "Deployment" | "StatefulSet" | "ReplicaSet");
        match self {
            Self::Workload { kind, name, .. } => target.kind == *kind && target.name == *name,
            Self::Pod { controller: Some((kind, name)), .. } if target.kind == *kind => target.name == *name,
            // A Deployment's ReplicaSet has its name and a hash.
            Self::Pod { controller: Some((kind, name)), .. } if target.kind == "Deployment" => {
                kind == "ReplicaSet" && name.rsplit_once('-').is_some_and(|(deployment, _)| deployment == target.name)
            }
            Self::Pod { .. } => !is_native,
        }
    }
}

/// What the events of the watch of a kind of workloads are about.
pub(super) fn of_workloads<K: ResourceExt>(kind: &'static str) -> impl FnMut(&Event<K>) -> Option<About> + Send {
    let mut generations = Generations::default();
    move |event| {
        let (workload, is_gone) = object(event)?;
        let spec = generations.changed(workload, is_gone);
        let version = workload.resource_version().filter(|_| !is_gone);
        Some((workload.namespace(), Touched::Workload { kind, name: workload.name_any(), spec, version }))
    }
}

/// The object of an event, and whether it is gone.
fn object<K>(event: &Event<K>) -> Option<(&K, bool)> {
    match event {
        Event::Apply(object) | Event::InitApply(object) => Some((object, false)),
        Event::Delete(object) => Some((object, true)),
        Event::Init | Event::InitDone => None,
    }
}

/// The resets of a namespace that wait for such an event.
pub(super) fn touched_by(store: &Store<Guarded>, namespace: Option<&str>, touched: &Touched) -> Vec<ObjectRef<Guarded>> {
    let state: Vec<Arc<Guarded>> = store.state();
    state
        .iter()
        .filter(|guard| guard.meta().namespace.as_deref() == namespace)
        .filter(|guard| guard.0.as_ref().is_ok_and(|reset| waits_for(reset, touched)))
        .map(|guard| ObjectRef::from_obj(guard.as_ref()))
        .collect()
}

fn waits_for(reset: &OffsetReset, touched: &Touched) -> bool {
    let Some(status) = &reset.status else { return false };
    let waits = match status.phase {
        // The pods go one after the other, and the workload's status follows each of them.
        Some(Phase::Stopping) => !machine::waits_at_zero(status) || touched.matters_at_zero(),
        Some(Phase::Draining | Phase::Resetting | Phase::Canary | Phase::Restoring | Phase::Unknown) => true,
        Some(Phase::Succeeded | Phase::Failed | Phase::Cancelled) => machine::needs_a_look(status),
        Some(Phase::Pending | Phase::Planning | Phase::Planned) | None => false,
    };
    waits && reset.spec.target_refs.iter().any(|target| touched.concerns(target))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn reset(phase: &str, kind: &str, name: &str) -> OffsetReset {
        serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "r", "namespace": "shop"},
            "spec": {
                "kafka": {"bootstrapServers": "k:1"}, "group": "g", "resets": [{"topic": "t", "offset": 1}],
                "targetRefs": [{"kind": kind, "name": name}],
            },
            "status": {"phase": phase},
        }))
        .unwrap()
    }

    fn pod(kind: &str, name: &str) -> Touched {
        let owners = json!([
            {"apiVersion": "v1", "kind": "Other", "name": "no-controller", "uid": "1"},
            {"apiVersion": "v1", "kind": kind, "name": name, "uid": "2", "controller": true},
        ]);
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "ownerReferences": owners}})).unwrap();
        Touched::pod(&Event::Apply(pod)).unwrap().1
    }

    fn deployment(name: &str) -> Touched {
        Touched::Workload { kind: "Deployment", name: name.into(), spec: true, version: None }
    }

    #[rstest]
    #[case::of_a_deployment("Deployment", "web", pod("ReplicaSet", "web-5d9c"), true)]
    #[case::of_one_whose_name_begins_alike("Deployment", "web", pod("ReplicaSet", "web-api-5d9c"), false)]
    #[case::of_another_deployment("Deployment", "web", pod("ReplicaSet", "batch-5d9c"), false)]
    #[case::of_a_stateful_set("StatefulSet", "web", pod("StatefulSet", "web"), true)]
    #[case::of_another_stateful_set("StatefulSet", "web", pod("StatefulSet", "db"), false)]
    #[case::of_a_job("Deployment", "web", pod("Job", "web-1"), false)]
    #[case::of_a_bare_replica_set("ReplicaSet", "web-5d9c", pod("ReplicaSet", "web-5d9c"), true)]
    #[case::without_a_controller("Deployment", "web", Touched::Pod { name: "p".into(), controller: None, is_over: false }, false)]
    #[case::of_a_kind_that_is_not_watched("Rollout", "web", pod("ReplicaSet", "web-5d9c"), true)]
    #[case::of_the_target_itself("StrimziPodSet", "web", pod("StrimziPodSet", "web"), true)]
    #[case::the_deployment("Deployment", "web", deployment("web"), true)]
    #[case::another_deployment("Deployment", "web", deployment("db"), false)]
    #[case::a_set_of_that_name("Deployment", "web", Touched::Workload { kind: "StatefulSet", name: "web".into(), spec: true, version: None }, false)]
    fn an_event_wakes_the_resets_of_its_workload(
        #[case] kind: &str,
        #[case] name: &str,
        #[case] touched: Touched,
        #[case] wakes: bool,
    ) {
        assert_eq!(waits_for(&reset("Draining", kind, name), &touched), wakes);
        assert!(!waits_for(&reset("Planning", kind, name), &touched), "it waits for no event");
        assert!(!waits_for(&reset("Succeeded", kind, name), &touched), "it is over");
    }
    #[rstest]
    #[case::a_pod_that_still_runs(Touched::Pod { name: "p".into(), controller: None, is_over: false }, false)]
    #[case::a_pod_that_has_terminated(Touched::Pod { name: "p".into(), controller: None, is_over: true }, true)]
    #[case::a_status(Touched::Workload { kind: "Widget", name: "web".into(), spec: false, version: None }, false)]
    #[case::a_spec(Touched::Workload { kind: "Widget", name: "web".into(), spec: true, version: None }, true)]
    fn once_the_targets_are_at_zero_only_what_ends_the_wait_wakes_a_reset(#[case] touched: Touched, #[case] wakes: bool) {
        let mut stopping = reset("Stopping", "Widget", "web");
        let targets = |stopped: bool| json!([{"apiVersion": "w/v1", "kind": "Widget", "name": "web", "uid": "u", "originalReplicas": 1, "stopped": stopped}]);
        let mut set = |stopped: bool| {
            stopping.status.as_mut().unwrap().targets = serde_json::from_value(targets(stopped)).unwrap();
            waits_for(&stopping, &touched)
        };
        assert!(set(false), "it is being stopped");
        assert_eq!(set(true), wakes);
    }

    #[test]
    fn a_change_of_a_spec_is_told_from_one_of_a_status() {
        let mut touched = of_workloads("Pod");
        let mut spec = |event: &dyn Fn(Pod) -> Event<Pod>, generation: i64| {
            let pod: Pod =
                serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u", "generation": generation}})).unwrap();
            let Some((_, Touched::Workload { spec, .. })) = touched(&event(pod)) else {
                panic!("it is a workload's");
            };
            spec
        };
        assert!(spec(&Event::InitApply, 1), "it was not seen before");
        assert!(!spec(&Event::Apply, 1));
        assert!(spec(&Event::Apply, 2));
        assert!(spec(&Event::Delete, 2), "it is gone");
        assert!(spec(&Event::Apply, 2), "it was recreated");
    }
}
