//! Which resets an event of a workload or of a pod concerns: those with this workload as a target, and no others. A busy
//! namespace has events all the time, and a pass has requests to the API server and to Kafka.

use std::sync::Arc;

use kube::{
    Resource, ResourceExt,
    runtime::reflector::{ObjectRef, Store},
};

use super::scope::Guarded;
use crate::{
    api::{OffsetReset, Phase, TargetRef},
    machine,
};

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Touched {
    /// A workload.
    Workload { kind: &'static str, name: String },
    /// A pod: its controller's kind and name, if it has one.
    Pod(Option<(String, String)>),
}

impl Touched {
    /// An event of a workload.
    pub fn workload(kind: &'static str, workload: &impl ResourceExt) -> Self {
        Self::Workload { kind, name: workload.name_any() }
    }

    /// An event of a pod.
    pub fn pod(pod: &impl ResourceExt) -> Self {
        let controller = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
        Self::Pod(controller.map(|owner| (owner.kind.clone(), owner.name.clone())))
    }

    /// Whether the event is about this target. It may be about one of a kind that is not watched, whose pods have any owner.
    fn concerns(&self, target: &TargetRef) -> bool {
        let is_native = matches!(target.kind.as_str(), "Deployment" | "StatefulSet" | "ReplicaSet");
        match self {
            Self::Workload { kind, name } => target.kind == *kind && target.name == *name,
            Self::Pod(Some((kind, name))) if target.kind == *kind => target.name == *name,
            // A Deployment's ReplicaSet has its name and a hash.
            Self::Pod(Some((kind, name))) if target.kind == "Deployment" => {
                kind == "ReplicaSet" && name.rsplit_once('-').is_some_and(|(deployment, _)| deployment == target.name)
            }
            Self::Pod(_) => !is_native,
        }
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
        Some(Phase::Stopping | Phase::Draining | Phase::Resetting | Phase::Restoring | Phase::Unknown) => true,
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
        Touched::pod(&pod)
    }

    #[rstest]
    #[case::of_a_deployment("Deployment", "web", pod("ReplicaSet", "web-5d9c"), true)]
    #[case::of_one_whose_name_begins_alike("Deployment", "web", pod("ReplicaSet", "web-api-5d9c"), false)]
    #[case::of_another_deployment("Deployment", "web", pod("ReplicaSet", "batch-5d9c"), false)]
    #[case::of_a_stateful_set("StatefulSet", "web", pod("StatefulSet", "web"), true)]
    #[case::of_another_stateful_set("StatefulSet", "web", pod("StatefulSet", "db"), false)]
    #[case::of_a_job("Deployment", "web", pod("Job", "web-1"), false)]
    #[case::of_a_bare_replica_set("ReplicaSet", "web-5d9c", pod("ReplicaSet", "web-5d9c"), true)]
    #[case::without_a_controller("Deployment", "web", Touched::Pod(None), false)]
    #[case::of_a_kind_that_is_not_watched("Rollout", "web", pod("ReplicaSet", "web-5d9c"), true)]
    #[case::of_the_target_itself("StrimziPodSet", "web", pod("StrimziPodSet", "web"), true)]
    #[case::the_deployment("Deployment", "web", Touched::Workload { kind: "Deployment", name: "web".into() }, true)]
    #[case::another_deployment("Deployment", "web", Touched::Workload { kind: "Deployment", name: "db".into() }, false)]
    #[case::a_set_of_that_name("Deployment", "web", Touched::Workload { kind: "StatefulSet", name: "web".into() }, false)]
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
}
