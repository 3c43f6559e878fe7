//! Workloads as they are found in clusters: in the middle of a rollout, beside pods that are not theirs, slow to stop, and under an
//! admission policy that changes replica counts.

use k8s_openapi::api::core::v1::Pod;
use kube::{Resource, api::DeleteParams};

use real_tests::admission_kind;

use super::*;

/// Waits until the workload's controller has created as many pods as wanted, which nobody runs.
async fn has_pods(stand: &Stand, name: &str, wanted: usize) {
    let pods = Api::<Pod>::namespaced(stand.client.clone(), &stand.namespace);
    let created = async {
        while pods.list(&ListParams::default().labels(&format!("app={name}"))).await.unwrap().items.len() != wanted {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(PATIENCE, created).await.unwrap_or_else(|| panic!("{name} never has {wanted} pods"));
}

async fn patch(stand: &Stand, kind: &str, name: &str, change: Value) {
    let api = stand.objects("apps/v1", kind).await;
    api.patch(name, &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
}

/// Waits until the controller of a workload has observed its newest spec.
async fn is_observed(stand: &Stand, kind: &str, name: &str) {
    let api = stand.objects("apps/v1", kind).await;
    let observed = async {
        loop {
            let found = api.get(name).await.unwrap();
            if found.data["status"]["observedGeneration"].as_i64() == found.meta().generation {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(PATIENCE, observed).await.expect("its controller observes it");
}

fn new_image() -> Value {
    json!({"spec": {"template": {"metadata": {"labels": {"revision": "new"}}}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_is_paused_half_way_is_not_stopped_unless_its_target_accepts_the_newest_revision() {
    Stand::with(async |stand| {
        // A rolling update would wait for pods that are ready, and nobody runs pods here.
        let mut half = workload("Deployment", "half", 2);
        half["spec"]["strategy"] = json!({"type": "Recreate"});
        stand.create(half).await;
        has_pods(stand, "half", 2).await;
        let mut change = new_image();
        change["spec"]["paused"] = json!(true);
        patch(stand, "Deployment", "half", change).await;
        is_observed(stand, "Deployment", "half").await;
        for (name, spec) in [("run", json!({})), ("plan", json!({"dryRun": true}))] {
            stand.apply(name, json!([{"name": "half"}]), spec).await;
            ended(&wait_for_end(&stand.api, name).await, Phase::Failed, Reason::RolloutIncomplete);
        }
        assert_eq!(stand.replicas("apps/v1", "Deployment", "half").await, 2, "it was not stopped");
        let accepted = stand.run("accepted", json!([{"name": "half", "acceptRevisionChange": true}])).await;
        succeeded(&accepted);
        assert!(status(&accepted).warnings.iter().any(|warning| warning.contains("0 of 2 pods have its newest revision")));
        // Resumed, the rollout completes.
        patch(stand, "Deployment", "half", json!({"spec": {"paused": false}})).await;
        // Or there would be nothing to change.
        stand.commit(&stand.group, &stand.topic, &[(0, 10)]).await;
        succeeded(&stand.run("after", json!([{"name": "half"}])).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_whose_pods_are_replaced_on_delete_only_is_not_stopped_in_between() {
    Stand::with(async |stand| {
        let mut set = workload("StatefulSet", "set", 1);
        set["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
        stand.create(set).await;
        has_pods(stand, "set", 1).await;
        patch(stand, "StatefulSet", "set", new_image()).await;
        is_observed(stand, "StatefulSet", "set").await;
        let refused = stand.run("refused", json!([{"kind": "StatefulSet", "name": "set"}])).await;
        ended(&refused, Phase::Failed, Reason::RolloutIncomplete);
        let target = json!([{"kind": "StatefulSet", "name": "set", "acceptRevisionChange": true}]);
        succeeded(&stand.run("accepted", target).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_under_the_selector_that_the_target_does_not_control_are_named_and_not_waited_for() {
    Stand::with(async |stand| {
        stand.create(workload("Deployment", "shared", 1)).await;
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "migrate", "labels": {"app": "shared"}},
            "spec": {"containers": [{"name": "c", "image": "nobody-runs-it"}]},
        });
        stand.create(pod).await;
        let mut other = workload("Deployment", "canary", 1);
        for labels in ["/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
            *other.pointer_mut(labels).unwrap() = json!({"app": "shared", "track": "canary"});
        }
        stand.create(other).await;
        has_pods(stand, "shared", 3).await;
        let done = stand.run("done", json!([{"name": "shared"}])).await;
        succeeded(&done);
        let warnings = status(&done).warnings.join("\n");
        assert!(warnings.contains("migrate without a controller") && warnings.contains("of Deployment/canary"), "{warnings}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_cannot_terminate_within_the_hold_are_told_before_the_stop_with_the_value_that_would_do() {
    Stand::with(async |stand| {
        let mut slow = workload("Deployment", "slow", 1);
        slow["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(900);
        stand.create(slow).await;
        has_pods(stand, "slow", 1).await;
        let refused = stand.run("refused", json!([{"name": "slow"}])).await;
        ended(&refused, Phase::Failed, Reason::CannotStopInTime);
        let planned = status(&refused).explanation();
        assert!(planned.contains("900 s") && planned.contains("Set holdTimeout to at least 18m"), "{planned}");
        assert_eq!(stand.replicas("apps/v1", "Deployment", "slow").await, 1);
        stand.apply("longer", json!([{"name": "slow"}]), json!({"holdTimeout": "18m"})).await;
        succeeded(&wait_for_end(&stand.api, "longer").await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admission_policy_that_turns_zero_into_one_is_seen_while_planning() {
    Stand::with(async |stand| {
        stand.create(workload("Deployment", "kept", 3)).await;
        has_pods(stand, "kept", 3).await;
        let name = format!("never-zero-{}", stand.namespace);
        let version = admission_kind(&stand.client, "MutatingAdmissionPolicy").await.api_version;
        let policy = json!({
            "apiVersion": version, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail", "reinvocationPolicy": "Never",
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stand.namespace}},
                    "resourceRules": [
                        {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments/scale"]},
                    ],
                },
                "matchConditions": [{"name": "zero", "expression": "!has(object.spec.replicas) || object.spec.replicas < 1"}],
                "mutations": [{
                    "patchType": "JSONPatch",
                    "jsonPatch": {"expression": "[JSONPatch{op: \"add\", path: \"/spec/replicas\", value: 1}]"},
                }],
            },
        });
        let binding = json!({
            "apiVersion": version, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name},
        });
        for object in [&policy, &binding] {
            in_the_cluster(stand, object).await.create(&PostParams::default(), &parsed(object)).await.unwrap();
        }
        // A policy takes a moment to be in force.
        let in_force = async {
            loop {
                let asked = kube::api::PatchParams { dry_run: true, ..PatchParams::default() };
                let patch = json!({"spec": {"replicas": 0}});
                let api = stand.objects("apps/v1", "Deployment").await;
                let answered = api.patch_scale("kept", &asked, &Patch::Merge(&patch)).await.unwrap();
                if answered.spec.and_then(|spec| spec.replicas) == Some(1) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        within(PATIENCE, in_force).await.expect("the policy comes into force");
        let refused = stand.run("refused", json!([{"name": "kept"}])).await;
        for object in [&binding, &policy] {
            in_the_cluster(stand, object).await.delete(&name, &DeleteParams::default()).await.unwrap();
        }
        ended(&refused, Phase::Failed, Reason::ReplicasOverridden);
        assert_eq!(stand.replicas("apps/v1", "Deployment", "kept").await, 3);
    })
    .await;
}

fn parsed(object: &Value) -> DynamicObject {
    serde_json::from_value(object.clone()).unwrap()
}

async fn in_the_cluster(stand: &Stand, object: &Value) -> Api<DynamicObject> {
    let (group, version) = object["apiVersion"].as_str().unwrap().split_once('/').unwrap();
    let kind = GroupVersionKind::gvk(group, version, object["kind"].as_str().unwrap());
    let (resource, _) = pinned_kind(&stand.client, &kind).await.unwrap();
    Api::all_with(stand.client.clone(), &resource)
}
