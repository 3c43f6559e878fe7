//! Shared by the suites on real parts: where they run, a namespace for each test, topics, records, consumers, operators.

pub mod any_logs;
pub mod broker;
pub mod consumers;
pub mod env;
#[path = "../../generators/mod.rs"]
pub mod generators;
pub mod kafka_tool;
pub mod layer;
pub mod logs;
pub mod parts;
pub mod people;
pub mod plugin;
pub mod process;
pub mod rights;
pub mod shop;

use std::{
    future::Future,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Namespace};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, GroupVersionKind},
    discovery::pinned_kind,
};
use offset_reset_operator::api::{OffsetReset, Phase};
use sandbox::Environment;
use serde_json::{Value, json};

use broker::Broker;

/// How long anything may take on a machine that is busy. Nothing is measured against it.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// Where the tests run. Panics, with what to do, when that was not said.
pub fn environment() -> Environment {
    sandbox::environment().unwrap_or_else(|error| panic!("{error:#}"))
}

pub fn brokers() -> String {
    environment().bootstrap_servers
}

/// A name that no other test, and no earlier run, has.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let millis = jiff::Timestamp::now().as_millisecond() % 1_000_000_000;
    format!("{prefix}-{millis}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A kind of admission policy, in the newest version that the API server has.
pub async fn admission_kind(client: &Client, kind: &str) -> ApiResource {
    for version in ["v1", "v1beta1", "v1alpha1"] {
        let gvk = GroupVersionKind::gvk("admissionregistration.k8s.io", version, kind);
        if let Ok((resource, _)) = pinned_kind(client, &gvk).await {
            return resource;
        }
    }
    panic!("this API server has no {kind}")
}

/// An admin of the cluster.
pub async fn client() -> Client {
    let kubeconfig = Kubeconfig::read_from(environment().kubeconfig).unwrap();
    Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()).unwrap()
}

/// Runs a test in a namespace of its own, which is deleted afterwards. One of a test that fails stays, to be looked at.
pub async fn with_namespace<T>(test: impl AsyncFnOnce(Client, String) -> T) -> T {
    let client = client().await;
    install_crd(&client).await;
    let name = unique("test");
    let namespaces = Api::<Namespace>::all(client.clone());
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let result = test(client.clone(), name.clone()).await;
    namespaces.delete(&name, &DeleteParams::background()).await.unwrap();
    result
}

/// Installs the definition, and waits until it is served.
pub async fn install_crd(client: &Client) {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    use kube::runtime::{conditions, wait::await_condition};
    let crd = offset_reset_operator::api::crd();
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    crds.patch(&crd.name_any(), &PatchParams::apply("tests").force(), &Patch::Apply(&crd)).await.unwrap();
    await_condition(crds, &crd.name_any(), conditions::is_crd_established()).await.unwrap();
}

/// A topic with so many partitions.
pub async fn topic(name: &str, partitions: i32) -> String {
    Broker::default().topic(name, partitions).await
}

/// Writes records to a partition, each with a timestamp in milliseconds.
pub async fn produce(topic: &str, partition: i32, timestamps: &[i64]) {
    Broker::default().produce(topic, partition, timestamps).await;
}

/// Deletes the records before an offset, as retention would.
pub async fn delete_records(topic: &str, partition: i32, before: i64) {
    Broker::default().delete_records(topic, &[(partition, before)]).await;
}

/// A Deployment whose pods nobody runs in a control plane alone, or that runs `pod` on a node.
pub async fn deployment(client: &Client, namespace: &str, name: &str, replicas: i32, pod: Value) {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        },
    });
    let deployment: Deployment = serde_json::from_value(deployment).unwrap();
    Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &deployment).await.unwrap();
}

pub async fn replicas(client: &Client, namespace: &str, name: &str) -> i32 {
    let scale = Api::<Deployment>::namespaced(client.clone(), namespace).get_scale(name).await.unwrap();
    scale.spec.and_then(|spec| spec.replicas).unwrap_or(0)
}

/// An `OffsetReset` for one Deployment named `consumer`; `spec` goes over what is usual.
pub fn reset(name: &str, group: &str, resets: &Value, spec: &Value) -> OffsetReset {
    let mut full = json!({
        "targetRefs": [{"name": "consumer"}], "kafka": {"bootstrapServers": brokers()}, "group": group, "resets": resets,
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        full[key] = value.clone();
    }
    serde_json::from_value(json!({
        "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": name}, "spec": full,
    }))
    .unwrap()
}

pub fn resets(client: &Client, namespace: &str) -> Api<OffsetReset> {
    Api::namespaced(client.clone(), namespace)
}

/// Waits until an object is as wished, by watching it; panics with its last state when that takes too long.
pub async fn wait_for(api: &Api<OffsetReset>, name: &str, what: &str, wished: impl Fn(&OffsetReset) -> bool) -> OffsetReset {
    let mut last = None;
    let waiting = async {
        loop {
            let Some(now) = api.get_opt(name).await.unwrap() else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let version = now.resource_version().unwrap();
            let found = wished(&now);
            last = Some(now.clone());
            if found {
                return now;
            }
            let params = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(10);
            let Ok(events) = api.watch(&params, &version).await else { continue };
            let mut events = std::pin::pin!(events);
            while let Some(Ok(event)) = events.next().await {
                if let WatchEvent::Modified(next) = event {
                    let found = wished(&next);
                    last = Some(next.clone());
                    if found {
                        return next;
                    }
                }
            }
        }
    };
    let found = within(PATIENCE, waiting).await;
    match found {
        Some(found) => found,
        None => panic!("{name} never was {what}; its last state: {:#?}", last.map(|reset| reset.status)),
    }
}

/// Waits until it has ended, whatever the outcome.
pub async fn wait_for_end(api: &Api<OffsetReset>, name: &str) -> OffsetReset {
    wait_for(api, name, "over", |reset| reset.status.as_ref().is_some_and(|status| status.completion_time.is_some())).await
}

/// Waits until it is known whether the consumers came back.
pub async fn wait_for_comeback(api: &Api<OffsetReset>, name: &str) -> OffsetReset {
    wait_for(api, name, "known to have its consumers back", |reset| condition(reset, "ConsumersResumed").0 == "True").await
}

pub async fn wait_for_phase(api: &Api<OffsetReset>, name: &str, phase: Phase) -> OffsetReset {
    wait_for(api, name, phase.as_str(), |reset| reset.status.as_ref().and_then(|status| status.phase) == Some(phase)).await
}

/// Waits until an object that was deleted is gone: its finalizer has let it go.
pub async fn wait_until_gone(api: &Api<OffsetReset>, name: &str) {
    let gone = async {
        while api.get_opt(name).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(PATIENCE, gone).await.expect("it goes");
}

/// Takes off what keeps a reset from going before its replicas are back, as a person may do.
pub async fn take_off_finalizer(api: &Api<OffsetReset>, name: &str) {
    let none = serde_json::json!({"metadata": {"finalizers": null}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(&none)).await.unwrap();
}

/// Deletes a reset and what keeps it from going before its replicas are back.
pub async fn delete_by_force(api: &Api<OffsetReset>, name: &str) {
    take_off_finalizer(api, name).await;
    api.delete(name, &DeleteParams::default()).await.unwrap();
    wait_until_gone(api, name).await;
}

/// A condition's status and reason.
pub fn condition(reset: &OffsetReset, kind: &str) -> (String, String) {
    let found = reset.status.iter().flat_map(|status| &status.conditions).find(|condition| condition.type_ == kind);
    found.map(|condition| (condition.status.clone(), condition.reason.clone())).unwrap_or_default()
}

pub async fn within<T>(limit: Duration, waiting: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, waiting).await.ok()
}
