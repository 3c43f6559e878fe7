//! Kinds of the tests' own: installed once for all tests, or by a test for itself.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
    runtime::{conditions, wait::await_condition},
};
use serde_json::{Value, json};

use super::PATIENCE;
use real_tests::within;

/// The group of the kinds that all tests share.
pub const GROUP: &str = "tests.offsetreset.dev";

/// The API version of the kinds that all tests share.
pub const V1: &str = "tests.offsetreset.dev/v1";

/// A kind that keeps its replicas at a path, or that has no scale.
pub fn definition(group: &str, kind: &str, scope: &str, replicas: Option<&str>, versions: &[(&str, bool)]) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let version = |(index, (name, served)): (usize, &(&str, bool))| {
        let mut subresources = json!({"status": {}});
        if let Some(path) = replicas {
            subresources["scale"] = json!({
                "specReplicasPath": path, "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector",
            });
        }
        json!({
            "name": name, "served": served, "storage": index == 0, "subresources": subresources,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything, "status": anything}}},
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": scope, "names": {"kind": kind, "plural": plural},
            "versions": versions.iter().enumerate().map(version).collect::<Vec<_>>(),
        },
    })
}

/// Installs a kind, and waits until it is served.
pub async fn install(client: &Client, definition: &Value) {
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    let definition: CustomResourceDefinition = serde_json::from_value(definition.clone()).unwrap();
    crds.patch(&definition.name_any(), &PatchParams::apply("tests").force(), &Patch::Apply(&definition)).await.unwrap();
    await_condition(crds, &definition.name_any(), conditions::is_crd_established()).await.unwrap();
    // Established is what its names are; that it is served, discovery says, a moment later.
    let spec = &definition.spec;
    for version in spec.versions.iter().filter(|version| version.served) {
        let api_version = format!("{}/{}", spec.group, version.name);
        let served = async {
            loop {
                let found = client.list_api_group_resources(&api_version).await;
                if found.is_ok_and(|found| found.resources.iter().any(|resource| resource.name == spec.names.plural)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(PATIENCE, served).await.expect("the kind is served");
    }
}

/// The kinds that all tests share: Worker, Crew (which keeps its replicas elsewhere), Plain (which has no scale), and Fleet (which is in
/// no namespace).
pub async fn install_all(client: &Client) {
    for definition in [
        definition(GROUP, "Worker", "Namespaced", Some(".spec.replicas"), &[("v1", true), ("v1beta1", true)]),
        definition(GROUP, "Crew", "Namespaced", Some(".spec.size"), &[("v1", true)]),
        definition(GROUP, "Plain", "Namespaced", None, &[("v1", true)]),
        definition(GROUP, "Fleet", "Cluster", Some(".spec.replicas"), &[("v1", true)]),
    ] {
        install(client, &definition).await;
    }
}

/// Removes a kind, with all objects of it.
pub async fn remove(client: &Client, definition: &Value) {
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    crds.delete(definition["metadata"]["name"].as_str().unwrap(), &DeleteParams::default()).await.unwrap();
}

impl super::Stand {
    /// A custom resource with a spec, whose controller has written a selector.
    pub async fn custom(&self, api_version: &str, kind: &str, name: &str, spec: Value) {
        self.create(json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec})).await;
        self.report(api_version, kind, name, json!({"selector": format!("app={name}")})).await;
    }

    /// What a custom resource's controller writes into its status.
    pub async fn report(&self, api_version: &str, kind: &str, name: &str, status: Value) {
        let patch = json!({ "status": status });
        let api = self.objects(api_version, kind).await;
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }
}
