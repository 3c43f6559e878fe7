//! A source that Flux's kustomize-controller applies from: an ExternalArtifact, whose archive a small server here serves.

use std::{
    collections::HashMap,
    fs,
    process::Command,
    sync::{Arc, Mutex},
};

use axum::{Router, extract::Path, http::StatusCode, routing::get};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use super::Stand;
use real_tests::unique;

type Archives = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// A Kustomization with its source.
pub struct Kustomization<'a> {
    stand: &'a Stand,
    api: Api<DynamicObject>,
    sources: Api<DynamicObject>,
    archives: Archives,
    address: std::net::SocketAddr,
}

impl<'a> Kustomization<'a> {
    /// Applies these manifests to the namespace of the stand, and goes on doing so; `spec` goes over what is usual.
    pub async fn create(stand: &'a Stand, manifests: &[Value], spec: Value) -> Self {
        let archives = Archives::default();
        let served = Arc::clone(&archives);
        let archive =
            async move |Path(name): Path<String>| served.lock().unwrap().get(&name).cloned().ok_or(StatusCode::NOT_FOUND);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // It ends with the test's runtime.
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/{name}", get(archive))).await });
        let dynamic = |group: &str, kind: &str| {
            let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
            Api::namespaced_with(stand.client.clone(), &stand.namespace, &kind)
        };
        let own = Self {
            stand,
            api: dynamic("kustomize.toolkit.fluxcd.io", "Kustomization"),
            sources: dynamic("source.toolkit.fluxcd.io", "ExternalArtifact"),
            archives,
            address,
        };
        let source = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "ExternalArtifact", "metadata": {"name": "shop"}, "spec": {},
        });
        own.sources.create(&PostParams::default(), &serde_json::from_value(source).unwrap()).await.unwrap();
        own.publish(manifests).await;
        let mut full = json!({
            "interval": "10m", "retryInterval": "2s", "timeout": "1m", "prune": true, "targetNamespace": stand.namespace,
            "sourceRef": {"kind": "ExternalArtifact", "name": "shop"},
        });
        for (key, value) in spec.as_object().into_iter().flatten() {
            full[key] = value.clone();
        }
        let object = json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": {"name": "shop"}, "spec": full,
        });
        own.api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        own
    }

    /// Commits to Git, as it were: from here on these are the manifests.
    pub async fn publish(&self, manifests: &[Value]) -> String {
        let name = format!("{}.tar.gz", unique("revision"));
        let bytes = archive(manifests);
        let sum = ring::digest::digest(&ring::digest::SHA256, &bytes);
        let sum = sum.as_ref().iter().fold(String::new(), |sum, byte| sum + &format!("{byte:02x}"));
        let digest = format!("sha256:{sum}");
        let revision = format!("{name}@{digest}");
        let artifact = json!({
            "path": name, "url": format!("http://{}/{name}", self.address), "revision": revision, "digest": digest,
            "size": bytes.len(), "lastUpdateTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        });
        self.archives.lock().unwrap().insert(name, bytes);
        let ready = json!([{
            "type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored",
            "lastTransitionTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }]);
        let patch = json!({"status": {"artifact": artifact, "conditions": ready}});
        self.sources.patch_status("shop", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
        revision
    }

    async fn get(&self) -> DynamicObject {
        self.api.get("shop").await.unwrap()
    }

    /// The condition Ready: its status and its reason.
    pub async fn ready(&self) -> (String, String) {
        let found = self.get().await;
        let conditions = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready").cloned().unwrap_or_default();
        let field = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
        (field("status"), field("reason"))
    }

    /// Waits until a revision was applied.
    pub async fn applied(&self, revision: &str) {
        self.stand.until("applied", async |_| self.get().await.data["status"]["lastAppliedRevision"] == revision).await;
    }

    /// Waits until Flux is through with what was published first.
    pub async fn is_ready(&self) {
        self.stand.until("a Kustomization that is ready", async |_| self.ready().await.0 == "True").await;
    }

    /// What `flux reconcile` does: asks for a pass at once, and waits until it was made.
    pub async fn reconcile(&self) {
        let at = unique("asked");
        let patch = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": at}}});
        self.api.patch("shop", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
        self.stand.until("reconciled", async |_| self.get().await.data["status"]["lastHandledReconcileAt"] == at.as_str()).await;
    }
}

fn archive(manifests: &[Value]) -> Vec<u8> {
    let dir = std::env::temp_dir().join(unique("flux-source"));
    fs::create_dir_all(&dir).unwrap();
    for (index, manifest) in manifests.iter().enumerate() {
        // JSON is YAML.
        fs::write(dir.join(format!("{index}.yaml")), manifest.to_string()).unwrap();
    }
    let output = Command::new("tar").args(["-czf", "-", "-C"]).arg(&dir).arg(".").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::remove_dir_all(&dir).unwrap();
    output.stdout
}
