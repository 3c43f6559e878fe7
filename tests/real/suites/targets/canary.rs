//! A custom kind with pods of two revisions, as Argo Rollouts has during a canary: its scale selects those of the stable one only.

use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
use offset_reset_operator::api::OffsetResetStatus;

use super::{definitions::V1, *};

/// The revisions, as the values of a label.
const STABLE: &str = "6cf78c66c5";
const CANARY: &str = "7b8cd9f6d";

/// Creates the Worker `orders` with a pod of each revision, which real ReplicaSets of its own control.
async fn in_a_canary(stand: &Stand) {
    let selector = json!({"matchLabels": {"app": "orders"}});
    let worker = json!({
        "apiVersion": V1, "kind": "Worker", "metadata": {"name": "orders"}, "spec": {"replicas": 1, "selector": selector},
    });
    let uid = stand.create(worker).await.metadata.uid.unwrap();
    for revision in [STABLE, CANARY] {
        let labels = json!({"app": "orders", "rollouts-pod-template-hash": revision});
        let owner = json!({"apiVersion": V1, "kind": "Worker", "name": "orders", "uid": uid, "controller": true});
        let set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": format!("orders-{revision}"), "labels": labels, "ownerReferences": [owner]},
            "spec": {
                "replicas": 1, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nobody-runs-it"}]}},
            },
        });
        stand.create(set).await;
        pods_of(stand, revision, 1).await;
    }
}

/// Waits until so many pods of a revision exist, and returns the name of the first.
async fn pods_of(stand: &Stand, revision: &str, count: usize) -> Option<String> {
    let pods = Api::<Pod>::namespaced(stand.client.clone(), &stand.namespace);
    let selector = ListParams::default().labels(&format!("rollouts-pod-template-hash={revision}"));
    let found = async {
        loop {
            let found = pods.list(&selector).await.unwrap().items;
            if found.len() == count {
                return found.first().and_then(|pod| pod.metadata.name.clone());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(PATIENCE, found).await.unwrap_or_else(|| panic!("there are never {count} pods of {revision}"))
}

/// Scales the ReplicaSet of a revision to zero, as the controller of the kind does.
async fn stop(stand: &Stand, revision: &str) {
    let sets = Api::<ReplicaSet>::namespaced(stand.client.clone(), &stand.namespace);
    let zero = json!({"spec": {"replicas": 0}});
    sets.patch(&format!("orders-{revision}"), &PatchParams::default(), &Patch::Merge(&zero)).await.unwrap();
    pods_of(stand, revision, 0).await;
}

/// The status that Argo Rollouts writes, with the newest revision.
fn argo(newest: &str, phase: &str, pauses: &Value) -> Value {
    json!({
        "HPAReplicas": 1, "replicas": 1, "updatedReplicas": 1, "observedGeneration": "1", "phase": phase, "pauseConditions": pauses,
        "selector": format!("app=orders,rollouts-pod-template-hash={STABLE}"), "stableRS": STABLE, "currentPodHash": newest,
    })
}

fn targets() -> Value {
    json!([{"apiVersion": V1, "kind": "Worker", "name": "orders"}])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_pod_that_the_scale_does_not_select_is_waited_for() {
    Stand::with_kinds(async |stand| {
        in_a_canary(stand).await;
        stand.report(V1, "Worker", "orders", argo(STABLE, "Healthy", &json!([]))).await;
        let canary = pods_of(stand, CANARY, 1).await.unwrap();
        stand.apply("run", targets(), json!({})).await;
        stand.wait_for_replicas(V1, "Worker", "orders", 0).await;
        stop(stand, STABLE).await;
        let waits = wait_for(&stand.api, "run", "a wait for the canary pod alone", |reset| {
            let said = reset.status.as_ref().map(OffsetResetStatus::explanation).unwrap_or_default();
            said.contains(&canary) && !said.contains(&format!("orders-{STABLE}"))
        })
        .await;
        assert_eq!(status(&waits).phase, Some(Phase::Stopping));
        assert_ne!(real_tests::condition(&waits, "ConsumersStopped").0, "True");
        stop(stand, CANARY).await;
        let done = wait_for_end(&stand.api, "run").await;
        succeeded(&done);
        let warnings = &status(&done).warnings;
        assert!(
            warnings.iter().all(|warning| !warning.contains("which counts")),
            "its pods are told by their controllers: {warnings:?}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_is_paused_is_not_stopped_unless_its_target_accepts_that() {
    Stand::with_kinds(async |stand| {
        in_a_canary(stand).await;
        let pauses = json!([{"reason": "CanaryPauseStep", "startTime": "2026-11-24T18:00:00Z"}]);
        stand.report(V1, "Worker", "orders", argo(CANARY, "Paused", &pauses)).await;
        let refused = stand.run("refused", targets()).await;
        ended(&refused, Phase::Failed, Reason::RolloutIncomplete);
        let said = status(&refused).explanation();
        assert!(said.contains("Worker/orders is paused at a step of its rollout"), "{said}");
        assert!(said.contains(&format!("its newest revision ({CANARY}) is not the stable one ({STABLE})")), "{said}");
        let mut accepted = targets();
        accepted[0]["acceptRevisionChange"] = json!(true);
        let planned = stand.plan("accepted", accepted).await;
        assert!(status(&planned).warnings[0].contains("as acceptRevisionChange allows"), "{:?}", status(&planned).warnings);
        assert_eq!(stand.replicas(V1, "Worker", "orders").await, 1);
    })
    .await;
}
