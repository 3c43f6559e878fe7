//! What the operator remembers beside a reset, it alone may write: whoever could forge it would have the operator do what they may not.

use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease};
use kube::api::DeleteParams;
use offset_reset_operator::{api::Reason, kubernetes::lease_name, machine::request::identity};

use super::*;
use real_tests::{
    deployment, replicas, rights,
    shop::{Operator, status},
    wait_for,
};

/// What a namespace's editor has, of what matters here.
const EDITOR: [&str; 3] =
    [RESETS, "create,get,patch,delete,update configmaps", "create,get,patch,delete,update leases.coordination.k8s.io"];

/// The kinds of what is remembered.
pub const KINDS: [&str; 2] = ["ConfigMap", "Lease"];

/// An object as the operator writes it, with a name as it gives it.
pub fn remembered(kind: &str) -> Value {
    let (api_version, name) = match kind {
        "Lease" => ("coordination.k8s.io/v1", "offset-reset-0f3c2b1a-1111-2222-3333-444455556666"),
        _ => ("v1", "remembered-report-0f3c2b1a"),
    };
    let labels = json!({"app.kubernetes.io/managed-by": "offset-reset-operator"});
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "labels": labels}})
}

/// A Lease by which a Deployment at zero would get 50 replicas, because nobody needs it there any more.
async fn forged(admin: &Client, namespace: &str) -> Value {
    deployment(admin, namespace, "orders", 0, json!({"containers": [{"name": "c", "image": "nobody-runs-it"}]})).await;
    let uid = Api::<Deployment>::namespaced(admin.clone(), namespace).get("orders").await.unwrap().uid().unwrap();
    let mut lease = remembered("Lease");
    lease["metadata"]["name"] = json!(lease_name(&uid));
    lease["metadata"]["labels"]["offsetreset.dev/lease"] = json!("hold");
    let claims = json!([{"uid": "nobody", "name": "nobody", "key": "k"}]).to_string();
    lease["metadata"]["annotations"] = json!({"offsetreset.dev/replicas": "50", "offsetreset.dev/claims": claims});
    lease["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders", "uid": uid}]);
    lease["spec"] = json!({"acquireTime": "2026-01-01T00:00:00.000000Z", "leaseDurationSeconds": 60});
    lease
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_policy_a_forged_lease_scales_somebodys_deployment() {
    unguarded(async |admin, namespace| {
        let operator = Operator::start(admin, namespace);
        let lease = forged(admin, namespace).await;
        let mallory = Person::new("mallory").await.may(admin, namespace, &EDITOR).await;
        create(&mallory.client, namespace, &lease).await.unwrap();
        let scaled = async {
            while replicas(admin, namespace, "orders").await != 50 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(PATIENCE, scaled).await.expect("the operator scales it");
        operator.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_policy_nobody_forges_a_lease() {
    guarded(async |admin, namespace| {
        let lease = forged(admin, namespace).await;
        let mallory = Person::new("mallory").await.may(admin, namespace, &EDITOR).await;
        let why = refused(&create(&mallory.client, namespace, &lease).await, "memory", &mallory.name);
        assert!(why.contains("may not create this object: it holds the state of an OffsetReset"), "{why}");

        // Without the label it would be let through, and counts for nothing; the operator says so, and looks no further.
        let mut unlabelled = lease;
        unlabelled["metadata"]["labels"] = json!({"offsetreset.dev/lease": "hold"});
        create(&mallory.client, namespace, &unlabelled).await.unwrap();
        let lease: Lease = serde_json::from_value(unlabelled).unwrap();
        let why = offset_reset_operator::kubernetes::hold_in(&lease).unwrap_err();
        assert!(why.contains("any user may have written it"), "{why}");
    })
    .await;
}

#[rstest::rstest]
#[case::lease("Lease")]
#[case::record_or_receipt("ConfigMap")]
#[tokio::test(flavor = "multi_thread")]
async fn an_editor_of_the_namespace_neither_makes_nor_changes_nor_removes_it(#[case] kind: &str) {
    guarded(async |admin, namespace| {
        let editor = Person::new("ivan").await.may(admin, namespace, &EDITOR).await;
        let object = remembered(kind);
        refused(&create(&editor.client, namespace, &object).await, "memory", "may not create this");
        let mut own = object.clone();
        own["metadata"]["labels"] = json!({});
        create(&editor.client, namespace, &own).await.unwrap();
        let labels = json!({"metadata": {"labels": object["metadata"]["labels"]}});
        refused(&patch(&editor.client, namespace, &own, &labels).await, "memory", "may not update this");
        patch(&editor.client, namespace, &own, &json!({"metadata": {"annotations": {"a": "b"}}})).await.unwrap();
        delete(&editor.client, namespace, &own).await.unwrap();

        create(admin, namespace, &object).await.unwrap();
        let unlabelled = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}});
        for change in [unlabelled, json!({"metadata": {"annotations": {"a": "b"}}})] {
            refused(&patch(&editor.client, namespace, &object, &change).await, "memory", "may not update this");
        }
        let why = refused(&delete(&editor.client, namespace, &object).await, "memory", "may not delete this");
        assert!(why.contains("Only users who may update offsetresets.offsetreset.dev/status there may write them"), "{why}");
    })
    .await;
}

/// The receipt of a run that is over only keeps that run from being repeated, which its owners may decide.
#[rstest::rstest]
#[case::succeeded("Succeeded", true)]
#[case::failed("Failed", true)]
#[case::cancelled("Cancelled", true)]
#[case::still_committing("Committing", false)]
#[case::without_a_state("", false)]
#[tokio::test(flavor = "multi_thread")]
async fn an_editor_deletes_the_receipt_of_a_run_that_is_over_and_no_other(#[case] state: &str, #[case] allowed: bool) {
    guarded(async |admin, namespace| {
        let editor = Person::new("olivia").await.may(admin, namespace, &EDITOR).await;
        let mut receipt = remembered("ConfigMap");
        receipt["metadata"]["labels"]["offsetreset.dev/receipt"] = json!("receipt");
        if !state.is_empty() {
            receipt["data"] = json!({"state": state, "uid": "u"});
        }
        create(admin, namespace, &receipt).await.unwrap();
        refused(
            &patch(&editor.client, namespace, &receipt, &json!({"data": {"state": "Failed"}})).await,
            "memory",
            "may not update",
        );
        let deleted = delete(&editor.client, namespace, &receipt).await;
        if allowed {
            deleted.unwrap();
        } else {
            refused(&deleted, "memory", "a receipt may be deleted once its run is over");
        }
        // A report with the same lines is none.
        let mut report = remembered("ConfigMap");
        report["metadata"]["name"] = json!("report");
        report["data"] = json!({"state": "Succeeded"});
        create(admin, namespace, &report).await.unwrap();
        refused(&delete(&editor.client, namespace, &report).await, "memory", "may not delete");
    })
    .await;
}

/// The operator itself, an administrator by hand, and whoever was given the right to be one.
#[rstest::rstest]
#[case::lease("Lease")]
#[case::record_or_receipt("ConfigMap")]
#[tokio::test(flavor = "multi_thread")]
async fn who_may_write_the_status_may_write_it(#[case] kind: &str) {
    guarded(async |admin, namespace| {
        let operator = rights::operators_client(admin).await;
        let judy = Person::new("judy").await.may(admin, namespace, &EDITOR).await;
        let judy = judy.may(admin, namespace, &["update offsetresets.offsetreset.dev/status"]).await;
        for client in [&operator, admin, &judy.client] {
            let object = remembered(kind);
            let mut written = create(client, namespace, &object).await.unwrap();
            written.annotations_mut().insert("a".into(), "b".into());
            let name = written.name_any();
            api(client, namespace, &object).replace(&name, &PostParams::default(), &written).await.unwrap();
            delete(client, namespace, &object).await.unwrap();
        }
    })
    .await;
}

#[rstest::rstest]
#[case::lease("Lease")]
#[case::record_or_receipt("ConfigMap")]
#[tokio::test(flavor = "multi_thread")]
async fn it_goes_with_what_it_belongs_to_and_with_its_namespace(#[case] kind: &str) {
    guarded(async |admin, namespace| {
        let collector = Person::called("system:serviceaccount:kube-system:generic-garbage-collector").await;
        create(admin, namespace, &remembered(kind)).await.unwrap();
        delete(&collector.client, namespace, &remembered(kind)).await.unwrap();

        // By whoever does that in this cluster.
        let mut owned = remembered(kind);
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}});
        let uid = create(admin, namespace, &owner).await.unwrap().uid().unwrap();
        owned["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}]);
        create(admin, namespace, &owned).await.unwrap();
        delete(admin, namespace, &owner).await.unwrap();
        gone(admin, namespace, &owned).await;

        let mut last = remembered(kind);
        last["metadata"]["finalizers"] = json!(["tests.offsetreset.dev/kept"]);
        create(admin, namespace, &last).await.unwrap();
        let namespaces = Api::<Namespace>::all(admin.clone());
        namespaces.delete(namespace, &DeleteParams::background()).await.unwrap();
        // Its finalizer keeps it until the namespace controller has asked for its deletion, so that this was seen.
        let asked = async {
            let name = last["metadata"]["name"].as_str().unwrap();
            while api(admin, namespace, &last).get(name).await.unwrap().metadata.deletion_timestamp.is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(PATIENCE, asked).await.expect("the namespace controller deletes it");
        patch(admin, namespace, &last, &json!({"metadata": {"finalizers": null}})).await.unwrap();
        gone(admin, namespace, &last).await;
    })
    .await;
}

/// Somebody plants what looks like the receipt of a reset that is to come, so that it would end without having run; or like one under way, so
/// that it would commit a plan of theirs.
#[tokio::test(flavor = "multi_thread")]
async fn a_planted_receipt_is_not_believed() {
    guarded(async |admin, namespace| {
        let operator = Operator::start(admin, namespace);
        let object = reset("r", &json!({"targetRefs": [], "suspend": false}));
        let typed: OffsetReset = serde_json::from_value(object.clone()).unwrap();
        let name = identity::receipt_name("r", &identity::key(&typed.spec));
        let data = json!({"uid": "u", "name": "r", "state": "Succeeded", "endTime": "2026-11-24T00:00:00Z", "message": "done"});
        let planted = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
        let mallory = Person::new("mallory").await.may(admin, namespace, &EDITOR).await;
        create(&mallory.client, namespace, &planted).await.unwrap();
        create(admin, namespace, &object).await.unwrap();
        let waits = |reset: &OffsetReset| {
            reset.status.as_ref().is_some_and(|status| status.explanation().contains("any user may have written it"))
        };
        let waiting = wait_for(&resets(admin, namespace), "r", "told of what was planted", waits).await;
        assert_ne!(status(&waiting).reason, Some(Reason::AlreadyApplied));
        operator.end().await;
    })
    .await;
}

async fn delete(client: &Client, namespace: &str, object: &Value) -> Result<(), String> {
    let name = object["metadata"]["name"].as_str().unwrap();
    let deleted = api(client, namespace, object).delete(name, &DeleteParams::background()).await;
    deleted.map(drop).map_err(|error| words(&error))
}

async fn gone(client: &Client, namespace: &str, object: &Value) {
    let name = object["metadata"]["name"].as_str().unwrap();
    let gone = async {
        while api(client, namespace, object).get_opt(name).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(PATIENCE, gone).await.expect("it goes");
}
