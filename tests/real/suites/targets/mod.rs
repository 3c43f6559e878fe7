//! Targets of every kind on a real API server: held and brought back, refused, warned of, and scaled up by others.
//!
//! Nobody runs pods here. Where a reset is to be looked at while it holds, a member keeps its group from becoming empty.

mod autoscaled;
mod canary;
mod comeback;
pub mod definitions;
mod foreign;
mod held;
mod lost;
pub mod permissions;
mod refused;
mod scaled;
mod stoppable;
mod unset;

use std::{ops::Deref, time::Duration};

use k8s_openapi::api::events::v1::Event;
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
    discovery::pinned_kind,
};
use offset_reset_operator::api::{OffsetReset, Phase, Reason, Restored};
use real_tests::{
    PATIENCE,
    consumers::{Consumed, Kind, Member},
    env::GroupEnv,
    reset,
    shop::{Operator, T0, ended, status, succeeded},
    unique, wait_for, wait_for_end, wait_for_phase, with_namespace, within,
};
use serde_json::{Value, json};

/// A namespace with the operator, a topic of ten records, and a group that has consumed them all.
struct Stand(GroupEnv);

impl Deref for Stand {
    type Target = GroupEnv;

    fn deref(&self) -> &GroupEnv {
        &self.0
    }
}

impl Stand {
    /// The operator has the rights of `deploy/` and no others.
    async fn with<T>(test: impl AsyncFnOnce(&Self) -> T) {
        with_namespace(async |client, namespace| {
            let stand = Self::open(client, namespace).await;
            stand.operated(async || _ = test(&stand).await).await;
        })
        .await;
    }

    /// With kinds of the tests' own, for which `deploy/` gives no rights: the operator may do everything. `permissions` has one that may not.
    async fn with_kinds<T>(test: impl AsyncFnOnce(&Self) -> T) {
        with_namespace(async |client, namespace| {
            definitions::install_all(&client).await;
            let stand = Self::open(client, namespace).await;
            let operator = Operator::start_as(stand.client.clone(), &stand.namespace);
            test(&stand).await;
            operator.end().await;
        })
        .await;
    }

    /// Without an operator.
    async fn open(client: Client, namespace: String) -> Self {
        Self(GroupEnv::open(client, namespace, "targets", &[T0; 10], 10).await)
    }

    /// A reset of the group to its third record, with targets.
    async fn apply(&self, name: &str, targets: Value, spec: Value) {
        let mut full = json!({"targetRefs": targets});
        for (key, value) in spec.as_object().into_iter().flatten() {
            full[key] = value.clone();
        }
        let entries = json!([{"topic": self.topic, "offset": 3}]);
        self.api.create(&PostParams::default(), &reset(name, &self.group, &entries, &full)).await.unwrap();
    }

    async fn run(&self, name: &str, targets: Value) -> OffsetReset {
        self.apply(name, targets, json!({})).await;
        wait_for_end(&self.api, name).await
    }

    /// What a reset would do.
    async fn plan(&self, name: &str, targets: Value) -> OffsetReset {
        self.apply(name, targets, json!({"dryRun": true})).await;
        let planned = wait_for_end(&self.api, name).await;
        ended(&planned, Phase::Planned, Reason::DryRun);
        planned
    }

    /// One that no pod of a target is: it keeps the group from becoming empty, and so a reset holding.
    async fn member(&self) -> Member {
        let member = Member::start(&self.group, std::slice::from_ref(&self.topic), &Kind::default(), 0, Consumed::default());
        self.members(&self.group, 1).await;
        member
    }

    /// Lets a reset go on that a member has kept holding, and waits for its end.
    async fn let_go(&self, name: &str, member: Member) -> OffsetReset {
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
        wait_for_end(&self.api, name).await
    }

    /// What is committed.
    async fn committed(&self) -> Option<i64> {
        self.offset_of(&self.group).await
    }

    /// The objects of a kind in the namespace.
    async fn objects(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let (resource, _) = pinned_kind(&self.client, &GroupVersionKind::gvk(group, version, kind)).await.unwrap();
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    async fn create(&self, object: Value) -> DynamicObject {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let types = object.types.clone().unwrap();
        self.objects(&types.api_version, &types.kind).await.create(&PostParams::default(), &object).await.unwrap()
    }

    /// Applies as somebody, by force, as GitOps tools do.
    async fn apply_as(&self, manager: &str, object: &Value) {
        let text = |key: &str| object[key].as_str().unwrap().to_owned();
        let api = self.objects(&text("apiVersion"), &text("kind")).await;
        let name = object["metadata"]["name"].as_str().unwrap();
        api.patch(name, &PatchParams::apply(manager).force(), &Patch::Apply(object)).await.unwrap();
    }

    /// The scale of a target.
    async fn replicas(&self, api_version: &str, kind: &str, name: &str) -> i32 {
        let scale = self.objects(api_version, kind).await.get_scale(name).await.unwrap();
        scale.spec.and_then(|spec| spec.replicas).unwrap_or(0)
    }

    /// Scales as somebody, through `scale`.
    async fn scale_as(&self, manager: &str, api_version: &str, kind: &str, name: &str, replicas: i32) {
        let patch = json!({"spec": {"replicas": replicas}});
        let params = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
        self.objects(api_version, kind).await.patch_scale(name, &params, &Patch::Merge(&patch)).await.unwrap();
    }

    /// Waits until a target is at so many replicas.
    async fn wait_for_replicas(&self, api_version: &str, kind: &str, name: &str, wanted: i32) {
        let waiting = async {
            while self.replicas(api_version, kind, name).await != wanted {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(PATIENCE, waiting).await.unwrap_or_else(|| panic!("{kind}/{name} never has {wanted} replicas"));
    }

    /// What Events with a reason say of an object, once there is one.
    async fn told(&self, kind: &str, name: &str, reason: Reason) -> Vec<String> {
        let about = |event: &Event| {
            let regarding = event.regarding.clone().unwrap_or_default();
            (regarding.kind.as_deref(), regarding.name.as_deref()) == (Some(kind), Some(name))
                && event.reason.as_deref() == Some(reason.as_str())
        };
        self.events(about).await.into_iter().filter_map(|event| event.note).collect()
    }
}

/// A workload whose pods nobody runs.
fn workload(kind: &str, name: &str, replicas: i32) -> Value {
    let mut workload = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "nobody-runs-it"}]},
            },
        },
    });
    if kind == "StatefulSet" {
        workload["spec"]["serviceName"] = json!(name);
    }
    workload
}
