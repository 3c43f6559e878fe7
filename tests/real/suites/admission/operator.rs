//! What the operator's token may write: its own objects, and of others' objects no more than a reset needs. The attacks are
//! those of somebody who has the token.

use kube::api::DeleteParams;

use super::{
    memory::{KINDS, remembered},
    *,
};
use real_tests::{deployment, replicas, rights};

/// The token, and the API server's answers to an administrator.
async fn stolen(test: impl AsyncFnOnce(&Client, &Client, &str)) {
    guarded(async |admin, namespace| {
        let token = rights::operators_client(admin).await;
        counts_for(&token, namespace).await;
        test(admin, &token, namespace).await;
    })
    .await;
}

/// Waits until the policies count for the token in a namespace: admission learns of both by watches of its own.
async fn counts_for(token: &Client, namespace: &str) {
    let foreign = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": unique("probe")}});
    let counts = async {
        while create(token, namespace, &foreign).await.is_ok() {
            delete(token, namespace, &foreign).await.ok();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(PATIENCE, counts).await.expect("the policies count for the operator");
}

/// The object with something changed.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[key] = value;
    object
}

fn config_map(name: &str) -> Value {
    with(remembered("ConfigMap"), "/metadata/name", json!(name))
}

fn lease(name: &str) -> Value {
    with(remembered("Lease"), "/metadata/name", json!(name))
}

fn named_on_creation(kind: &str, prefix: &str) -> Value {
    let mut object = with(remembered(kind), "/metadata/generateName", json!(prefix));
    object["metadata"].as_object_mut().unwrap().remove("name");
    object
}

#[rstest::rstest]
#[case::without_the_label(with(config_map("aws-auth"), "/metadata/labels", json!({})), "this ConfigMap: it is neither a report")]
#[case::its_name_without_the_label(with(remembered("ConfigMap"), "/metadata/labels", json!({})), "it is neither a report nor a receipt")]
#[case::another_value_of_the_label(
    with(remembered("ConfigMap"), "/metadata/labels", json!({"app.kubernetes.io/managed-by": "offset-reset-operator2"})), "it is neither a report"
)]
#[case::a_name_that_another_component_looks_for(config_map("aws-auth"), "it is neither a report nor a receipt")]
#[case::a_name_that_only_begins_so(config_map("r-report-0f3c2b1a.aws-auth"), "it is neither a report")]
#[case::a_name_with_nothing_before(config_map("report-0f3c2b1a"), "it is neither a report")]
#[case::a_generated_name(named_on_creation("ConfigMap", "aws-auth"), "it is neither a report")]
#[case::a_generated_end(named_on_creation("ConfigMap", "r-report-"), "it is neither a report")]
#[case::what_another_component_reads(with(remembered("ConfigMap"), "/data", json!({"mapRoles": "- groups: [system:masters]"})), "it has keys that no report")]
#[case::binary_data(with(remembered("ConfigMap"), "/binaryData", json!({"Corefile": "eA=="})), "it has keys that no report")]
#[case::a_hold_without_the_label(with(remembered("Lease"), "/metadata/labels", json!({})), "this Lease: it is neither the hold")]
#[case::a_lease_of_a_node(lease("node-1"), "this Lease: it is neither the hold")]
#[case::a_leader_lease_elsewhere(with(lease("offset-reset-operator"), "/metadata/labels", json!({})), "this Lease: it is neither the hold")]
#[case::a_labelled_leader_lease_elsewhere(lease("offset-reset-operator"), "this Lease: it is neither the hold")]
#[case::a_generated_lease(named_on_creation("Lease", "offset-reset-"), "this Lease: it is neither the hold")]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_created_but_what_the_operator_creates(#[case] object: Value, #[case] expected: &str) {
    stolen(async |admin, token, namespace| {
        refused(&create(token, namespace, &object).await, "operator-objects", expected);
        // Server-side apply creates as well, where there is a right to patch.
        if let Some(name) = object["metadata"]["name"].as_str() {
            let rules = ["patch configmaps", "patch leases.coordination.k8s.io"];
            let user = Person::called(&rights::user()).await.may(admin, namespace, &rules).await;
            let params = PatchParams::apply("mallory").force();
            let applied = api(&user.client, namespace, &object).patch(name, &params, &Patch::Apply(&object)).await;
            refused(&applied.map_err(|error| words(&error)), "operator-objects", expected);
        }
    })
    .await;
}

/// All the ways to a foreign object that a token with every verb would have; the operator's own roles leave out most of them.
#[rstest::rstest]
#[case::config_map("ConfigMap", "configmaps")]
#[case::lease("Lease", "leases.coordination.k8s.io")]
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_object_is_not_changed_adopted_or_removed(#[case] kind: &str, #[case] resource: &str) {
    stolen(async |admin, token, namespace| {
        let verbs = format!("create,get,update,patch,delete,deletecollection {resource}");
        let user = Person::called(&rights::user()).await.may(admin, namespace, &[&verbs]).await;
        // One whose name is as the operator would give it, and one that another component looks for.
        for name in [remembered(kind)["metadata"]["name"].as_str().unwrap(), "aws-auth"] {
            let foreign = with(with(remembered(kind), "/metadata/name", json!(name)), "/metadata/labels", json!({"app": "x"}));
            let found = create(admin, namespace, &foreign).await.unwrap();
            for client in [token, &user.client] {
                for adopt in [false, true] {
                    let mut changed = found.clone();
                    changed.annotations_mut().insert("a".into(), "b".into());
                    if adopt {
                        changed.labels_mut().insert("app.kubernetes.io/managed-by".into(), "offset-reset-operator".into());
                    }
                    let replaced = api(client, namespace, &foreign).replace(name, &PostParams::default(), &changed).await;
                    refused(&replaced.map_err(|error| words(&error)), "operator-objects", "may not update this");
                }
                refused(&delete(client, namespace, &foreign).await, "operator-objects", "may not delete this");
            }
            let label = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "offset-reset-operator"}}});
            refused(&patch(&user.client, namespace, &foreign, &label).await, "operator-objects", "may not update this");
            let mut applied = foreign.clone();
            applied["metadata"]["labels"] = label["metadata"]["labels"].clone();
            let params = PatchParams::apply("mallory").force();
            let answer = api(&user.client, namespace, &foreign).patch(name, &params, &Patch::Apply(&applied)).await;
            refused(&answer.map_err(|error| words(&error)), "operator-objects", "may not update this");
            let all = kube::api::ListParams::default();
            let collection = api(&user.client, namespace, &foreign).delete_collection(&DeleteParams::default(), &all).await;
            refused(&collection.map(drop).map_err(|error| words(&error)), "operator-objects", "may not delete this");
            let after = api(admin, namespace, &foreign).get(name).await.unwrap();
            assert_eq!((after.resource_version(), after.data), (found.resource_version(), found.data), "it is as it was");
            delete(admin, namespace, &foreign).await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_own_objects_are_written_and_keep_their_label() {
    stolen(async |_, token, namespace| {
        for kind in KINDS {
            for name in [remembered(kind)["metadata"]["name"].as_str().unwrap(), "r.2-receipt-0123456789abcdef"] {
                if kind == "Lease" && name.contains("receipt") {
                    continue;
                }
                let object = with(remembered(kind), "/metadata/name", json!(name));
                let mut written = create(token, namespace, &object).await.unwrap();
                written.annotations_mut().insert("a".into(), "b".into());
                let own = api(token, namespace, &object);
                let mut written = own.replace(name, &PostParams::default(), &written).await.unwrap();
                written.labels_mut().remove("app.kubernetes.io/managed-by");
                let disowned = own.replace(name, &PostParams::default(), &written).await;
                refused(&disowned.map_err(|error| words(&error)), "operator-objects", "may not update this");
                delete(token, namespace, &object).await.unwrap();
            }
        }
    })
    .await;
}

/// In its own namespace it has its leader lease, which has no label; that of another component there it leaves.
#[tokio::test(flavor = "multi_thread")]
async fn of_the_leases_of_its_own_namespace_only_its_leader_lease_is_written() {
    stolen(async |admin, token, _| {
        let labels = json!({"metadata": {"labels": {GUARDED: "true"}}});
        let namespaces = Api::<Namespace>::all(admin.clone());
        namespaces.patch(rights::NAMESPACE, &PatchParams::default(), &Patch::Merge(&labels)).await.unwrap();
        counts_for(token, rights::NAMESPACE).await;
        let leader = with(lease(&unique("offset-reset-operator")), "/metadata/labels", json!({}));
        let mut written = create(token, rights::NAMESPACE, &leader).await.unwrap();
        written.annotations_mut().insert("a".into(), "b".into());
        let name = written.name_any();
        api(token, rights::NAMESPACE, &leader).replace(&name, &PostParams::default(), &written).await.unwrap();
        refused(&delete(token, rights::NAMESPACE, &leader).await, "operator-objects", "may not delete this Lease");
        let other = with(lease(&unique("another-operator")), "/metadata/labels", json!({}));
        refused(&create(token, rights::NAMESPACE, &other).await, "operator-objects", "neither the hold of a workload nor");
        delete(admin, rights::NAMESPACE, &leader).await.unwrap();
    })
    .await;
}

/// The operator's right to patch an OffsetReset is for its finalizer. With it a stolen token could let a dry run begin.
#[rstest::rstest]
#[case::a_dry_run_begins(json!({"spec": {"dryRun": false}}))]
#[case::a_suspended_one_begins(json!({"spec": {"suspend": false}}))]
#[case::a_label(json!({"metadata": {"labels": {"app": "x"}}}))]
#[case::an_annotation(json!({"metadata": {"annotations": {"argocd.argoproj.io/hook": "Skip"}}}))]
#[case::a_foreign_finalizer_goes(json!({"metadata": {"finalizers": ["offsetreset.dev/restore-replicas"]}}))]
#[case::a_foreign_finalizer_comes(json!({"metadata": {"finalizers": ["tests.offsetreset.dev/kept", "tests.offsetreset.dev/more"]}}))]
#[case::an_owner(json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u"}]}}))]
#[tokio::test(flavor = "multi_thread")]
async fn of_a_reset_nothing_is_changed_but_the_operators_finalizer(#[case] change: Value) {
    stolen(async |admin, token, namespace| {
        let mut object = reset("r", &json!({"dryRun": true}));
        object["metadata"]["finalizers"] = json!(["tests.offsetreset.dev/kept"]);
        create(admin, namespace, &object).await.unwrap();
        let why =
            refused(&patch(token, namespace, &object, &change).await, "operator-changes", "may not update this OffsetReset");
        assert!(why.contains("the operator changes the finalizer offsetreset.dev/restore-replicas and the status"), "{why}");

        for own in
            [json!(["tests.offsetreset.dev/kept", "offsetreset.dev/restore-replicas"]), json!(["tests.offsetreset.dev/kept"])]
        {
            patch(token, namespace, &object, &json!({"metadata": {"finalizers": own}})).await.unwrap();
        }
        let status = json!({"status": {"phase": "Pending", "message": "m"}});
        let mut read = resets(admin, namespace).get("r").await.unwrap();
        read.status = Some(serde_json::from_value(status["status"].clone()).unwrap());
        resets(token, namespace).replace_status("r", &PostParams::default(), &read).await.unwrap();
        patch(admin, namespace, &object, &json!({"metadata": {"finalizers": null}})).await.unwrap();
    })
    .await;
}

/// A right to delete OffsetResets is a right to cancel them, and to delete their reports. The policy leaves the token those that
/// their owners let the operator delete.
#[rstest::rstest]
#[case::succeeded("Succeeded", json!(86_400), false, true)]
#[case::failed("Failed", json!(0), false, true)]
#[case::cancelled("Cancelled", json!(0), false, true)]
#[case::planned("Planned", json!(0), false, true)]
#[case::to_be_kept("Succeeded", Value::Null, false, false)]
#[case::running("Draining", json!(0), false, false)]
#[case::not_begun("", json!(0), false, false)]
#[case::holding("Succeeded", json!(0), true, false)]
#[tokio::test(flavor = "multi_thread")]
async fn of_the_resets_only_finished_ones_with_a_time_to_live_are_deleted(
    #[case] phase: &str,
    #[case] time_to_live: Value,
    #[case] holds: bool,
    #[case] allowed: bool,
) {
    stolen(async |admin, token, namespace| {
        let mut object = reset("r", &json!({"dryRun": true, "ttlSecondsAfterFinished": time_to_live}));
        if holds {
            object["metadata"]["finalizers"] = json!(["offsetreset.dev/restore-replicas"]);
        }
        create(admin, namespace, &object).await.unwrap();
        if !phase.is_empty() {
            let status = json!({"status": {"phase": phase}});
            resets(admin, namespace).patch_status("r", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
        }
        let deleted = delete(token, namespace, &object).await;
        if allowed {
            deleted.unwrap();
        } else {
            let why = refused(&deleted, "operator-changes", "may not delete this OffsetReset");
            assert!(why.contains("it deletes only finished OffsetResets with ttlSecondsAfterFinished"), "{why}");
            patch(admin, namespace, &object, &json!({"metadata": {"finalizers": null}})).await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_of_another_controller_is_written() {
    stolen(async |admin, token, namespace| {
        let event = |name: &str, controller: &str| {
            json!({
                "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name},
                "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": controller, "reportingInstance": "i",
                "action": "A", "reason": "R", "type": "Normal", "note": "n",
                "regarding": {"apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": namespace},
            })
        };
        refused(
            &create(token, namespace, &event("forged", "kubelet")).await,
            "operator-changes",
            "another controller reports it",
        );
        let foreign = event("foreign", "kubelet");
        create(admin, namespace, &foreign).await.unwrap();
        let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}});
        for change in [&series, &json!({"metadata": {"labels": {"app": "x"}}})] {
            refused(&patch(token, namespace, &foreign, change).await, "operator-changes", "another controller reports it");
        }
        let own = event("own", "offset-reset-operator");
        create(token, namespace, &own).await.unwrap();
        patch(token, namespace, &own, &series).await.unwrap();
    })
    .await;
}

/// On a kind of the tests' own, because KEDA is not there; the policy is the same, word for word.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_scaled_object_only_the_annotations_of_the_pause_are_changed() {
    stolen(async |admin, _, namespace| {
        scaled_objects(admin).await;
        let user = Person::called(&rights::user()).await;
        let user = user.may(admin, namespace, &[&format!("get,patch scaledobjects.{STAND_IN}")]).await;
        let object = json!({
            "apiVersion": format!("{STAND_IN}/v1"), "kind": "ScaledObject",
            "metadata": {"name": "s", "annotations": {"a": "b"}, "labels": {"l": "m"}, "finalizers": ["tests.offsetreset.dev/kept"]},
            "spec": {"maxReplicaCount": 3},
        });
        create(admin, namespace, &object).await.unwrap();
        let counts = async {
            while patch(&user.client, namespace, &object, &json!({"metadata": {"annotations": {"probe": "x"}}})).await.is_ok() {
                patch(admin, namespace, &object, &json!({"metadata": {"annotations": {"probe": null}}})).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(PATIENCE, counts).await.expect("the policy counts for the new kind");
        for change in [
            json!({"spec": {"maxReplicaCount": 300}}),
            json!({"metadata": {"annotations": {"a": "c"}}}),
            json!({"metadata": {"annotations": {"a": null}}}),
            json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": "0"}}}),
            json!({"metadata": {"labels": {"l": null}}}),
            json!({"metadata": {"finalizers": null}}),
            json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}, "spec": {"maxReplicaCount": 300}}),
        ] {
            let why = refused(&patch(&user.client, namespace, &object, &change).await, "operator-changes", "this ScaledObject");
            assert!(why.contains("the operator changes the annotations of its pause, and nothing else"), "{why}");
        }
        let pause = json!({"autoscaling.keda.sh/paused": "true", "offsetreset.dev/paused-by": "r", "offsetreset.dev/paused-before": "false"});
        let resume = json!({"autoscaling.keda.sh/paused": null, "offsetreset.dev/paused-by": null, "offsetreset.dev/paused-before": null});
        for own in [pause, resume] {
            patch(&user.client, namespace, &object, &json!({"metadata": {"annotations": own}})).await.unwrap();
        }
        patch(admin, namespace, &object, &json!({"metadata": {"finalizers": null}})).await.unwrap();
    })
    .await;
}

async fn scaled_objects(admin: &Client) {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    use kube::runtime::{conditions, wait::await_condition};
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": anything}}});
    let name = format!("scaledobjects.{STAND_IN}");
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name},
        "spec": {
            "group": STAND_IN, "scope": "Namespaced", "names": {"kind": "ScaledObject", "plural": "scaledobjects"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    });
    let crds = Api::<CustomResourceDefinition>::all(admin.clone());
    crds.patch(&name, &PatchParams::apply("tests").force(), &Patch::Apply(&crd)).await.unwrap();
    await_condition(crds, &name, conditions::is_crd_established()).await.unwrap();
}

/// What the token is for: it scales, and can still do so. This is what remains to somebody who has it.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_is_for_is_not_refused() {
    stolen(async |admin, token, namespace| {
        deployment(admin, namespace, "orders", 3, json!({"containers": [{"name": "c", "image": "nobody-runs-it"}]})).await;
        let deployments = Api::<k8s_openapi::api::apps::v1::Deployment>::namespaced(token.clone(), namespace);
        // Its controller writes the status meanwhile.
        let scaled = async {
            loop {
                let mut scale = deployments.get_scale("orders").await.unwrap();
                scale.spec.as_mut().unwrap().replicas = Some(0);
                match deployments.replace_scale("orders", &PostParams::default(), &scale).await {
                    Err(kube::Error::Api(status)) if status.is_conflict() => {}
                    answer => return answer,
                }
            }
        };
        scaled.await.unwrap();
        assert_eq!(replicas(admin, namespace, "orders").await, 0);
    })
    .await;
}

async fn delete(client: &Client, namespace: &str, object: &Value) -> Result<(), String> {
    let name = object["metadata"]["name"].as_str().unwrap();
    api(client, namespace, object).delete(name, &DeleteParams::background()).await.map(drop).map_err(|error| words(&error))
}
