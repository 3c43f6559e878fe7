//! KEDA's ScaledObjects: found by the workload that they scale, and paused and resumed by annotation; nothing else in them changes.
//!
//! KEDA may not be installed, and the operator may have no rights on its objects. Discovery, which every user may ask, tells
//! these two apart.

use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use crate::kubernetes::{
    errors::describe,
    limit::limited,
    write::{WriteOutcome, classify},
};
use crate::{
    api::{FIELD_MANAGER, TargetRef},
    machine::facts::{Denial, ScaledObject, ScaledObjectSeen},
};

const GROUP_VERSION: &str = "keda.sh/v1alpha1";

/// With "true", KEDA stops scaling and leaves the replicas as they are.
const PAUSED: &str = "autoscaling.keda.sh/paused";

/// KEDA keeps the workload at this count, which would undo the restore.
const PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";

/// The name of the `OffsetReset` that paused it. Without this annotation the pause is not the operator's.
const PAUSED_BY: &str = "offsetreset.dev/paused-by";

/// The earlier value of [`PAUSED`], if there was one, such as "false".
const PAUSED_BEFORE: &str = "offsetreset.dev/paused-before";

/// Reads, pauses and resumes ScaledObjects.
#[derive(Clone)]
pub struct ScaledObjects {
    client: Client,
}

impl ScaledObjects {
    /// Reads and writes through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The ScaledObject that scales a workload, read live. Of several, one that is not paused; KEDA's webhook allows only one.
    pub async fn find(&self, namespace: &str, target: &TargetRef) -> ScaledObjectSeen {
        match limited(self.client.list_api_group_resources(GROUP_VERSION)).await {
            Ok(served) if served.resources.iter().any(|resource| resource.name == "scaledobjects") => {}
            Ok(_) => return ScaledObjectSeen::Absent,
            // By its code: for a group that it does not serve, the API server answers in plain text, without a reason.
            Err(kube::Error::Api(status)) if status.code == 404 => return ScaledObjectSeen::Absent,
            Err(error) => return ScaledObjectSeen::Unknown(describe(&error)),
        }
        match limited(self.api(namespace).list(&ListParams::default())).await {
            Ok(all) => {
                let mut found: Vec<ScaledObject> =
                    all.items.iter().filter(|object| scales(&object.data, target)).map(read).collect();
                found.sort_by_key(|own| own.paused);
                found.into_iter().next().map_or(ScaledObjectSeen::Absent, ScaledObjectSeen::Found)
            }
            Err(error) => not_seen(&error),
        }
    }

    /// The ScaledObject of this name, read live.
    pub async fn look(&self, namespace: &str, name: &str) -> ScaledObjectSeen {
        match limited(self.api(namespace).get_opt(name)).await {
            Ok(Some(object)) => ScaledObjectSeen::Found(read(&object)),
            Ok(None) => ScaledObjectSeen::Absent,
            Err(error) => not_seen(&error),
        }
    }

    /// Why the API server would refuse a pause, if so: a dry run, which includes admission.
    pub async fn try_pause(&self, namespace: &str, found: &ScaledObject) -> Option<Denial> {
        let patch = annotations(&found.resource_version, &json!({PAUSED: "true", PAUSED_BY: "a-dry-run"}));
        match self.patch(namespace, &found.name, &patch, true).await {
            Ok(WriteOutcome::Done(()) | WriteOutcome::Stale) => None,
            Ok(WriteOutcome::NotAllowed(why)) => Some(Denial::NotAllowed(why)),
            Ok(WriteOutcome::Refused(why)) => Some(Denial::Refused(why)),
            // No answer is no refusal, and may pass as well.
            Err(error) => Some(Denial::NotAllowed(describe(&error))),
        }
    }

    /// Pauses a ScaledObject for the `OffsetReset` of the name `by`, if it is still at `version`.
    ///
    /// # Errors
    /// When it is unknown whether it was written.
    pub async fn pause(&self, namespace: &str, name: &str, version: &str, by: &str) -> Result<WriteOutcome<()>, kube::Error> {
        let Some(object) = self.at(namespace, name, version).await? else { return Ok(WriteOutcome::Stale) };
        let before = object.annotations().get(PAUSED);
        let patch = annotations(version, &json!({PAUSED: "true", PAUSED_BY: by, PAUSED_BEFORE: before}));
        self.patch(namespace, name, &patch, false).await
    }

    /// Undoes the operator's pause, if the ScaledObject is still at `version`: the earlier value is restored, unless another
    /// client has changed it since.
    ///
    /// # Errors
    /// When it is unknown whether it was written.
    pub async fn resume(&self, namespace: &str, name: &str, version: &str) -> Result<WriteOutcome<()>, kube::Error> {
        let Some(object) = self.at(namespace, name, version).await? else { return Ok(WriteOutcome::Stale) };
        let patch = annotations(version, &without_ours(&object));
        self.patch(namespace, name, &patch, false).await
    }

    /// The object, if it is still at that version.
    async fn at(&self, namespace: &str, name: &str, version: &str) -> Result<Option<DynamicObject>, kube::Error> {
        let found = limited(self.api(namespace).get_opt(name)).await?;
        Ok(found.filter(|object| object.resource_version().as_deref() == Some(version)))
    }

    async fn patch(&self, namespace: &str, name: &str, patch: &Value, dry_run: bool) -> Result<WriteOutcome<()>, kube::Error> {
        let params = PatchParams { dry_run, field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        classify(limited(self.api(namespace).patch(name, &params, &Patch::Merge(patch))).await.map(drop))
    }

    fn api(&self, namespace: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject");
        Api::namespaced_with(self.client.clone(), namespace, &ApiResource::from_gvk_with_plural(&kind, "scaledobjects"))
    }
}

fn not_seen(error: &kube::Error) -> ScaledObjectSeen {
    match error {
        kube::Error::Api(status) if status.is_forbidden() => ScaledObjectSeen::Hidden(describe(error)),
        kube::Error::Api(status) if status.is_not_found() => ScaledObjectSeen::Absent,
        _ => ScaledObjectSeen::Unknown(describe(error)),
    }
}

fn annotations(version: &str, annotations: &Value) -> Value {
    json!({"metadata": {"resourceVersion": version, "annotations": annotations}})
}

/// The annotations as they were before the operator's pause; a null removes one.
fn without_ours(object: &DynamicObject) -> Value {
    let mut patch = json!({PAUSED_BY: null, PAUSED_BEFORE: null});
    if object.annotations().get(PAUSED).is_some_and(|value| value == "true") {
        patch[PAUSED] = json!(object.annotations().get(PAUSED_BEFORE));
    }
    patch
}

/// Whether a ScaledObject scales a workload. KEDA's default kind is Deployment. Only the group of the API version counts.
fn scales(object: &Value, target: &TargetRef) -> bool {
    let reference = &object["spec"]["scaleTargetRef"];
    let field = |name: &str, default: &'static str| {
        reference[name].as_str().filter(|value| !value.is_empty()).unwrap_or(default).to_owned()
    };
    let group = |version: &str| version.split_once('/').map(|(group, _)| group.to_owned()).unwrap_or_default();
    field("name", "") == target.name
        && field("kind", "Deployment") == target.kind
        && group(&field("apiVersion", "apps/v1")) == group(&target.api_version)
}

fn read(object: &DynamicObject) -> ScaledObject {
    let annotation = |name: &str| object.annotations().get(name);
    let conditions = object.data["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let fixed_replicas = annotation(PAUSED_REPLICAS).cloned();
    ScaledObject {
        name: object.name_any(),
        resource_version: object.resource_version().unwrap_or_default(),
        paused: fixed_replicas.is_some() || annotation(PAUSED).is_some_and(|value| is_true(value)),
        ours: object.annotations().contains_key(PAUSED_BY),
        fixed_replicas,
        acknowledged: conditions.iter().any(|condition| condition["type"] == "Paused" && condition["status"] == "True"),
        refusal: None,
    }
}

/// As KEDA reads it: every value that Go does not parse as false is true.
fn is_true(value: &str) -> bool {
    !matches!(value, "0" | "f" | "F" | "false" | "FALSE" | "False")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn object(fields: &Value) -> DynamicObject {
        let mut object =
            json!({"apiVersion": GROUP_VERSION, "kind": "ScaledObject", "metadata": {"name": "s", "resourceVersion": "7"}});
        for (name, value) in fields.as_object().unwrap() {
            object[name] = value.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    #[rstest]
    #[case::by_name(json!({"name": "consumer"}), true)]
    #[case::another(json!({"name": "other"}), false)]
    #[case::with_kind_and_version(json!({"name": "consumer", "kind": "Deployment", "apiVersion": "apps/v1beta1"}), true)]
    #[case::empty_is_the_default(json!({"name": "consumer", "kind": "", "apiVersion": ""}), true)]
    #[case::another_kind(json!({"name": "consumer", "kind": "StatefulSet"}), false)]
    #[case::another_group(json!({"name": "consumer", "apiVersion": "example.com/v1"}), false)]
    fn a_scaled_object_is_found_by_its_workload(#[case] reference: Value, #[case] expected: bool) {
        let target = TargetRef::new("apps/v1", "Deployment", "consumer");
        assert_eq!(scales(&json!({"spec": {"scaleTargetRef": reference}}), &target), expected);
    }

    #[rstest]
    #[case::nothing(json!({}), false, false)]
    #[case::paused_by_a_user(json!({PAUSED: "true"}), true, false)]
    #[case::not_a_boolean_is_true(json!({PAUSED: "yes"}), true, false)]
    #[case::not_paused(json!({PAUSED: "false"}), false, false)]
    #[case::as_go_reads_it(json!({PAUSED: "F"}), false, false)]
    #[case::to_a_count(json!({PAUSED_REPLICAS: "0"}), true, false)]
    #[case::ours(json!({PAUSED: "true", PAUSED_BY: "replay"}), true, true)]
    #[case::ours_and_unpaused(json!({PAUSED_BY: "replay"}), false, true)]
    fn the_annotations_tell_whose_a_pause_is(#[case] annotations: Value, #[case] paused: bool, #[case] ours: bool) {
        let metadata = json!({"name": "s", "resourceVersion": "7", "annotations": annotations});
        let conditions = json!({"conditions": [{"type": "Ready", "status": "True"}, {"type": "Paused", "status": "True"}]});
        let found = read(&object(&json!({"metadata": metadata, "status": conditions})));
        assert_eq!((found.paused, found.ours, found.acknowledged), (paused, ours, true));
    }

    #[rstest]
    #[case::there_was_none(json!({PAUSED: "true", PAUSED_BY: "replay"}), json!({PAUSED_BY: null, PAUSED_BEFORE: null, PAUSED: null}))]
    #[case::it_was_false(
        json!({PAUSED: "true", PAUSED_BY: "replay", PAUSED_BEFORE: "false"}),
        json!({PAUSED_BY: null, PAUSED_BEFORE: null, PAUSED: "false"})
    )]
    #[case::changed_since(json!({PAUSED: "false", PAUSED_BY: "replay"}), json!({PAUSED_BY: null, PAUSED_BEFORE: null}))]
    fn resuming_restores_the_earlier_annotations(#[case] annotations: Value, #[case] expected: Value) {
        let found = object(&json!({"metadata": {"name": "s", "annotations": annotations}}));
        assert_eq!(without_ours(&found), expected);
    }
}
