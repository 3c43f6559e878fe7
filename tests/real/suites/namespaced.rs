//! An operator for some namespaces, with Roles there and no right in the whole cluster: docs/examples/namespaces, as kubectl renders it.

use std::{
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{Namespace, ServiceAccount},
};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    client::Body,
    config::{Config, KubeConfigOptions, Kubeconfig},
    core::{ApiResource, GroupVersionKind},
};
use offset_reset_operator::run;
use real_tests::{
    broker::Broker,
    deployment,
    process::configured,
    replicas, reset, resets,
    shop::{Operator, succeeded},
    unique, wait_for_end, with_namespace,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The objects of a directory, as kubectl renders them.
fn rendered(dir: &str) -> Vec<Value> {
    let output = Command::new("kubectl")
        .arg("kustomize")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(dir))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

#[test]
fn it_is_the_whole_install_with_roles_in_each_namespace_instead_of_rights_in_the_cluster() {
    let (whole, some) = (rendered("deploy"), rendered("docs/examples/namespaces"));
    let granted = |objects: &[Value]| of_kind(objects, "ClusterRoleBinding").count();
    assert_eq!((granted(&whole), granted(&some)), (3, 1));
    // In the cluster it may read the policies that bound it, by their names, and nothing else.
    let binding = of_kind(&some, "ClusterRoleBinding").next().unwrap();
    let named = |role: &&Value| role["metadata"]["name"] == binding["roleRef"]["name"];
    let role = of_kind(&some, "ClusterRole").find(named).unwrap();
    for rule in role["rules"].as_array().unwrap() {
        assert_eq!((&rule["apiGroups"], &rule["verbs"]), (&json!(["admissionregistration.k8s.io"]), &json!(["get"])));
        assert!(rule["resourceNames"].as_array().is_some_and(|names| !names.is_empty()), "{rule}");
    }
    let everywhere = of_kind(&whole, "ClusterRole").find(|role| role["metadata"]["name"] == "offset-reset-operator").unwrap();
    let roles: Vec<(&Value, &Value)> = of_kind(&some, "Role")
        .filter(|role| role["metadata"]["name"] == "offset-reset-operator")
        .map(|role| (&role["metadata"]["namespace"], &role["rules"]))
        .collect();
    assert_eq!(roles, [(&json!("payments"), &everywhere["rules"]), (&json!("shop"), &everywhere["rules"])]);
    let operator = of_kind(&some, "Deployment").next().unwrap();
    let env = operator["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    assert!(env.contains(&json!({"name": "OFFSET_RESET_NAMESPACES", "value": "shop,payments"})), "{env:?}");
    for kind in ["CustomResourceDefinition", "ValidatingAdmissionPolicy", "PodDisruptionBudget", "Namespace"] {
        assert_eq!(of_kind(&some, kind).count(), of_kind(&whole, kind).count(), "{kind}");
    }
}

/// A namespace with a Deployment, a group, and a reset for both.
async fn shop(client: &Client, namespace: &str) {
    let (topic, group) = Broker::default().consumed("namespaced").await;
    deployment(client, namespace, "consumer", 2, json!({"containers": [{"name": "c", "image": "nobody-runs-it"}]})).await;
    let entries = json!([{"topic": topic, "offset": 3}]);
    resets(client, namespace).create(&PostParams::default(), &reset("r", &group, &entries, &json!({}))).await.unwrap();
}

/// Installs the account and its Roles in namespaces of this test; a client of that account.
async fn install(admin: &Client, home: &str, [shop, payments]: [&str; 2]) -> Client {
    let place = |namespace: &str| match namespace {
        "shop" => shop.to_owned(),
        "payments" => payments.to_owned(),
        _ => home.to_owned(),
    };
    for mut object in rendered("docs/examples/namespaces") {
        let kind = object["kind"].as_str().unwrap().to_owned();
        if !["ServiceAccount", "Role", "RoleBinding"].contains(&kind.as_str()) {
            continue;
        }
        let namespace = place(object["metadata"]["namespace"].as_str().unwrap());
        object["metadata"]["namespace"] = json!(namespace);
        for subject in object.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
            assert_eq!(subject["namespace"], "offset-reset-system", "the account is in the operator's namespace");
            subject["namespace"] = json!(home);
        }
        let api_version = object["apiVersion"].as_str().unwrap();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
        let api = Api::<DynamicObject>::namespaced_with(admin.clone(), &namespace, &resource);
        let name = object["metadata"]["name"].as_str().unwrap();
        api.patch(name, &PatchParams::apply("tests").force(), &Patch::Apply(&object)).await.unwrap();
    }
    let accounts = Api::<ServiceAccount>::namespaced(admin.clone(), home);
    let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": 3600}})).unwrap();
    let answer = accounts.create_token_request("offset-reset-operator", &PostParams::default(), &request).await.unwrap();
    let mut kubeconfig = Kubeconfig::read_from(real_tests::environment().kubeconfig).unwrap();
    for user in &mut kubeconfig.auth_infos {
        user.auth_info = Some(serde_json::from_value(json!({"token": answer.status.as_ref().unwrap().token})).unwrap());
    }
    Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()).unwrap()
}

/// Each request: its method and path, and the status of the answer.
type Requests = Arc<Mutex<Vec<(String, u16)>>>;

/// A client that remembers what was asked.
fn remembering(real: &Client, requests: &Requests) -> Client {
    let (namespace, real, requests) = (real.default_namespace().to_owned(), real.clone(), Arc::clone(requests));
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (real, requests) = (real.clone(), Arc::clone(&requests));
        async move {
            let what = format!("{} {}", request.method(), request.uri().path());
            let answer = real.send(request).await?;
            requests.lock().unwrap().push((what, answer.status().as_u16()));
            Ok::<_, kube::Error>(answer)
        }
    });
    Client::new(service, namespace)
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_in_two_namespaces_are_enough_and_nothing_is_asked_of_any_other() {
    with_namespace(async |admin, home| {
        let (first, second, other) = (unique("shop"), unique("payments"), unique("other"));
        let namespaces = Api::<Namespace>::all(admin.clone());
        for name in [&first, &second, &other] {
            let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        }
        let client = install(&admin, &home, [&first, &second]).await;
        let may_list = || async { resets(&client, &second).list(&kube::api::ListParams::default()).await.is_ok() };
        let counts = async {
            while !may_list().await {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        real_tests::within(real_tests::PATIENCE, counts).await.expect("the Roles count");
        for name in [&first, &second, &other] {
            shop(&admin, name).await;
        }
        let requests = Requests::default();
        let both = format!("{first},{second}");
        let config = configured(&["--namespaces", &both, "--leader-election", "--lease-namespace", &home]);
        let stop = CancellationToken::new();
        let operator = Operator { task: tokio::spawn(run::operate(remembering(&client, &requests), config, stop.clone())), stop };
        for name in [&first, &second] {
            succeeded(&wait_for_end(&resets(&admin, name), "r").await);
            assert_eq!(replicas(&admin, name, "consumer").await, 2);
        }
        operator.end().await;
        let untouched = resets(&admin, &other).get("r").await.unwrap();
        assert!(untouched.status.is_none_or(|status| status.phase.is_none()), "nobody watches it");

        let requests = requests.lock().unwrap().clone();
        assert!(requests.len() > 50, "{} requests", requests.len());
        for (what, status) in &requests {
            // What there is to know of kinds is everybody's.
            let is_discovery = what.starts_with("GET /apis") && what.split('/').count() <= 4;
            let known =
                is_discovery || [&home, &first, &second].iter().any(|name| what.contains(&format!("/namespaces/{name}/")));
            assert!(known && ![401, 403].contains(status), "{what}: {status}");
        }
        println!("{} requests, each in one of its namespaces, none refused", requests.len());
        for name in [&first, &second, &other] {
            namespaces.delete(name, &DeleteParams::background()).await.unwrap();
        }
    })
    .await;
}
