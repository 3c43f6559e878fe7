//! Who may have the operator do what, on a real API server with RBAC: deploy/rights/policies.yaml, tried by people with just the rights that a test
//! gives them. The policies are those of deploy/ word for word; only their bindings count in the namespaces of these tests alone, so that the
//! same attacks can be seen to succeed in a namespace without them.

mod four_eyes;
mod memory;
mod names;
mod operator;
mod plugin;
mod record_users;
mod secrets;
mod stopping;
mod theft;
mod updates;

use std::{fs, path::Path, time::Duration};

use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    core::v1::{ConfigMap, Namespace},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use offset_reset_operator::api::OffsetReset;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use real_tests::{PATIENCE, people::Person, unique, with_namespace, within};

/// What makes a namespace one in which the policies count.
const GUARDED: &str = "tests.offsetreset.dev/guarded";

/// What makes a namespace one in which a reset runs only for whoever has the verb `run`.
const FOUR_EYES: &str = "tests.offsetreset.dev/four-eyes";

/// What makes a namespace one in which the annotations that name users are checked.
const CHECKED: &str = "tests.offsetreset.dev/users-checked";

/// What makes a namespace one in which they are set.
const RECORDED: &str = "tests.offsetreset.dev/users-recorded";

/// The group of a kind that stands in for KEDA's, which is not installed here.
const STAND_IN: &str = "keda.tests.offsetreset.dev";

/// What a user needs to create OffsetResets at all, and to change and look at them.
const RESETS: &str = "create,get,patch,delete offsetresets.offsetreset.dev";

/// The policies of a kind in `deploy/` and their bindings, those that are applied on their own included.
fn policies(kind: &str) -> Vec<Value> {
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")];
    let mut found = vec![];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let documents: Vec<Value> = serde_saphyr::from_multiple(&fs::read_to_string(path).unwrap()).unwrap();
                let is_policy = |document: &Value| text(&document["kind"]).starts_with(kind);
                found.extend(documents.into_iter().filter(is_policy));
            }
        }
    }
    found
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Installs the policies under names of their own, once, and waits until they count.
async fn installed(admin: &Client) {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED
        .get_or_init(|| async {
            let (params, mut count) = (PatchParams::apply("tests").force(), 0);
            for mut document in policies("ValidatingAdmissionPolicy") {
                let name = format!("tests-{}", document["metadata"]["name"].as_str().unwrap());
                document["metadata"]["name"] = json!(name);
                if document["kind"] == "ValidatingAdmissionPolicy" {
                    count += 1;
                    for rule in document["spec"]["matchConstraints"]["resourceRules"].as_array_mut().unwrap() {
                        if rule["apiGroups"] == json!(["keda.sh"]) {
                            rule["apiGroups"] = json!(["keda.sh", STAND_IN]);
                        }
                    }
                    let api = Api::<ValidatingAdmissionPolicy>::all(admin.clone());
                    api.patch(&name, &params, &Patch::Apply(&document)).await.unwrap();
                } else {
                    document["spec"]["policyName"] = json!(name);
                    let label = match name.as_str() {
                        "tests-offset-reset-four-eyes" => FOUR_EYES,
                        "tests-offset-reset-users" => CHECKED,
                        _ => GUARDED,
                    };
                    document["spec"]["matchResources"]["namespaceSelector"]["matchLabels"] = json!({label: "true"});
                    let api = Api::<ValidatingAdmissionPolicyBinding>::all(admin.clone());
                    api.patch(&name, &params, &Patch::Apply(&document)).await.unwrap();
                }
            }
            assert_eq!(count, 8, "the policies of deploy/");
            real_tests::install_crd(admin).await;
            let name = guarded_namespace(admin).await;
            let nobody = Person::new("nobody").await.may(admin, &name, &["create configmaps", RESETS]).await;
            let refused = async {
                loop {
                    let target = create(&nobody.client, &name, &reset("probe", &json!({}))).await;
                    let memory = create(&nobody.client, &name, &memory::remembered("ConfigMap")).await;
                    if [target, memory].iter().all(|answer| answer.as_ref().is_err_and(|why| why.contains("tests-offset-reset-")))
                    {
                        return;
                    }
                    let leftovers = Api::<OffsetReset>::namespaced(admin.clone(), &name);
                    leftovers
                        .delete_collection(&kube::api::DeleteParams::default(), &kube::api::ListParams::default())
                        .await
                        .unwrap();
                    let leftovers = Api::<ConfigMap>::namespaced(admin.clone(), &name);
                    leftovers
                        .delete_collection(&kube::api::DeleteParams::default(), &kube::api::ListParams::default())
                        .await
                        .unwrap();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            within(PATIENCE, refused).await.expect("the policies count");
            Api::<Namespace>::all(admin.clone()).delete(&name, &kube::api::DeleteParams::background()).await.unwrap();
        })
        .await;
}

async fn guarded_namespace(admin: &Client) -> String {
    let name = unique("guarded");
    let namespace = json!({"metadata": {"name": name, "labels": {GUARDED: "true"}}});
    let namespace: Namespace = serde_json::from_value(namespace).unwrap();
    Api::all(admin.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    name
}

/// A namespace in which the policies count.
async fn guarded<T>(test: impl AsyncFnOnce(&Client, &str) -> T) {
    with_namespace(async |admin, namespace| {
        installed(&admin).await;
        let labels = json!({"metadata": {"labels": {GUARDED: "true"}}});
        let namespaces = Api::<Namespace>::all(admin.clone());
        namespaces.patch(&namespace, &PatchParams::default(), &Patch::Merge(&labels)).await.unwrap();
        // Admission knows namespaces by a watch of its own.
        let nobody = Person::new("nobody").await.may(&admin, &namespace, &[RESETS]).await;
        let known = async {
            while create(&nobody.client, &namespace, &reset("probe", &json!({}))).await.is_ok() {
                resets(&admin, &namespace).delete("probe", &kube::api::DeleteParams::default()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(PATIENCE, known).await.expect("the policies count here");
        test(&admin, &namespace).await;
    })
    .await;
}

/// A namespace in which they do not.
async fn unguarded<T>(test: impl AsyncFnOnce(&Client, &str) -> T) {
    with_namespace(async |admin, namespace| test(&admin, &namespace).await).await;
}

fn resets(client: &Client, namespace: &str) -> Api<OffsetReset> {
    real_tests::resets(client, namespace)
}

/// A reset that stops `orders`; `spec` goes over what is usual.
fn reset(name: &str, spec: &Value) -> Value {
    let mut full = json!({
        "targetRefs": [{"name": "orders"}], "kafka": {"bootstrapServers": "broker.attacker.example:9092"}, "group": "orders",
        "resets": [{"topic": "orders", "offset": 1}], "suspend": true,
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        full[key] = value.clone();
    }
    json!({"apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": name}, "spec": full})
}

fn api(client: &Client, namespace: &str, object: &Value) -> Api<DynamicObject> {
    let (api_version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// What the API server says to whoever creates an object.
async fn create(client: &Client, namespace: &str, object: &Value) -> Result<DynamicObject, String> {
    let typed: DynamicObject = serde_json::from_value(object.clone()).unwrap();
    api(client, namespace, object).create(&PostParams::default(), &typed).await.map_err(|error| words(&error))
}

/// What the API server says to whoever changes an object.
async fn patch(client: &Client, namespace: &str, object: &Value, change: &Value) -> Result<DynamicObject, String> {
    let name = object["metadata"]["name"].as_str().unwrap();
    let patched = api(client, namespace, object).patch(name, &PatchParams::default(), &Patch::Merge(change)).await;
    patched.map_err(|error| words(&error))
}

fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => panic!("{other}"),
    }
}

/// That it was a policy that refused, and the words of it.
#[track_caller]
fn refused<T>(answer: &Result<T, String>, policy: &str, expected: &str) -> String {
    let why = refused_by(answer, &format!("offset-reset-{policy}"));
    assert!(why.contains(expected), "{why}");
    why
}

#[track_caller]
fn refused_by<T>(answer: &Result<T, String>, policy: &str) -> String {
    let Err(why) = answer else { panic!("it was let through") };
    // The policies that bound the operator are installed a second time, under their own names, for all suites.
    assert!(["", "tests-"].iter().any(|prefix| why.contains(&format!("ValidatingAdmissionPolicy '{prefix}{policy}'"))), "{why}");
    println!("refused: {why}");
    why.clone()
}
