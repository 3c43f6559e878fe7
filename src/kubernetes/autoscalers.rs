//! KEDA's ScaledObjects: found by the workload that they scale, paused and let go by annotation, and nothing else of them changed.
//!
//! KEDA need not be installed, and the operator need not have rights on it: both are told apart, by discovery, which everybody may ask.

use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use super::{limit::limited, words};
use crate::{
    api::{FIELD_MANAGER, TargetRef},
    machine::facts::{ScaledObject, ScaledObjectSeen},
};

const GROUP_VERSION: &str = "keda.sh/v1alpha1";

/// KEDA stops scaling, and leaves the replicas as they are.
const PAUSED: &str = "autoscaling.keda.sh/paused";

/// KEDA stops scaling, and scales to this count whenever it looks: it would fight the restore.
const PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";

/// Whose the pause is: the name of the `OffsetReset`. Without it the pause is somebody else's.
const PAUSED_BY: &str = "offsetreset.dev/paused-by";

/// What stood in [`PAUSED`] before, when something did, such as "false".
const PAUSED_BEFORE: &str = "offsetreset.dev/paused-before";

/// Reads, pauses and lets go ScaledObjects.
#[derive(Clone)]
pub struct Autoscalers {
    client: Client,
}

/// How a change ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It stands.
    Done,
    /// It has changed since it was read, or is gone. Nothing was done.
    Stale,
    /// The API server refuses it, and will again; its words.
    Refused(String),
}

impl Autoscalers {
    /// With a client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// What scales a workload, live. Of several, one that is not paused: KEDA allows no two, where its webhook runs.
    pub async fn find(&self, namespace: &str, target: &TargetRef) -> ScaledObjectSeen {
        match limited(self.client.list_api_group_resources(GROUP_VERSION)).await {
            Ok(served) if served.resources.iter().any(|resource| resource.name == "scaledobjects") => {}
            Ok(_) => return ScaledObjectSeen::Absent,
            // By its code: of a group that it does not know the API server says so in plain text, without a reason.
            Err(kube::Error::Api(status)) if status.code == 404 => return ScaledObjectSeen::Absent,
            Err(error) => return ScaledObjectSeen::Unknown(words(&error)),
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

    /// The ScaledObject of this name, live.
    pub async fn look(&self, namespace: &str, name: &str) -> ScaledObjectSeen {
        match limited(self.api(namespace).get_opt(name)).await {
            Ok(Some(object)) => ScaledObjectSeen::Found(read(&object)),
            Ok(None) => ScaledObjectSeen::Absent,
            Err(error) => not_seen(&error),
        }
    }

    /// Why pausing it would be refused, found out by a dry run through the whole API server, admission included.
    pub async fn try_pause(&self, namespace: &str, found: &ScaledObject) -> Option<String> {
        let patch = annotations(&found.resource_version, &json!({PAUSED: "true", PAUSED_BY: "a-dry-run"}));
        match self.patch(namespace, &found.name, &patch, true).await {
            Ok(Changed::Done | Changed::Stale) => None,
            Ok(Changed::Refused(why)) => Some(why),
            Err(error) => Some(words(&error)),
        }
    }

    /// Pauses it for an `OffsetReset`, if it is still at `version`.
    ///
    /// # Errors
    /// When nobody can tell whether it was done.
    pub async fn pause(&self, namespace: &str, name: &str, version: &str, by: &str) -> Result<Changed, kube::Error> {
        let Some(object) = self.at(namespace, name, version).await? else { return Ok(Changed::Stale) };
        let before = object.annotations().get(PAUSED);
        let patch = annotations(version, &json!({PAUSED: "true", PAUSED_BY: by, PAUSED_BEFORE: before}));
        self.patch(namespace, name, &patch, false).await
    }

    /// Takes our pause off, if it is still at `version`: what stood there before comes back. What somebody else has written there meanwhile
    /// stays.
    ///
    /// # Errors
    /// When nobody can tell whether it was done.
    pub async fn resume(&self, namespace: &str, name: &str, version: &str) -> Result<Changed, kube::Error> {
        let Some(object) = self.at(namespace, name, version).await? else { return Ok(Changed::Stale) };
        let patch = annotations(version, &without_ours(&object));
        self.patch(namespace, name, &patch, false).await
    }

    /// The object, if it is at that version.
    async fn at(&self, namespace: &str, name: &str, version: &str) -> Result<Option<DynamicObject>, kube::Error> {
        let found = limited(self.api(namespace).get_opt(name)).await?;
        Ok(found.filter(|object| object.resource_version().as_deref() == Some(version)))
    }

    async fn patch(&self, namespace: &str, name: &str, patch: &Value, dry_run: bool) -> Result<Changed, kube::Error> {
        let params = PatchParams { dry_run, field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        match limited(self.api(namespace).patch(name, &params, &Patch::Merge(patch))).await {
            Ok(_) => Ok(Changed::Done),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(Changed::Stale),
            Err(kube::Error::Api(status)) if (400..429).contains(&status.code) => {
                Ok(Changed::Refused(words(&kube::Error::Api(status))))
            }
            Err(error) => Err(error),
        }
    }

    fn api(&self, namespace: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject");
        Api::namespaced_with(self.client.clone(), namespace, &ApiResource::from_gvk_with_plural(&kind, "scaledobjects"))
    }
}

fn not_seen(error: &kube::Error) -> ScaledObjectSeen {
    match error {
        kube::Error::Api(status) if status.is_forbidden() => ScaledObjectSeen::Hidden(words(error)),
        kube::Error::Api(status) if status.is_not_found() => ScaledObjectSeen::Absent,
        _ => ScaledObjectSeen::Unknown(words(error)),
    }
}

fn annotations(version: &str, annotations: &Value) -> Value {
    json!({"metadata": {"resourceVersion": version, "annotations": annotations}})
}

/// The annotations as they were before we came; a null takes one away.
fn without_ours(object: &DynamicObject) -> Value {
    let mut patch = json!({PAUSED_BY: null, PAUSED_BEFORE: null});
    if object.annotations().get(PAUSED).is_some_and(|value| value == "true") {
        patch[PAUSED] = json!(object.annotations().get(PAUSED_BEFORE));
    }
    patch
}

/// Whether a ScaledObject scales a workload. KEDA's default is a Deployment; of the API version only the group says what it is.
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

/// As KEDA reads it: what Go does not take for false is true, whatever it says.
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
    #[case::kind_and_version_said(json!({"name": "consumer", "kind": "Deployment", "apiVersion": "apps/v1beta1"}), true)]
    #[case::empty_is_the_default(json!({"name": "consumer", "kind": "", "apiVersion": ""}), true)]
    #[case::another_kind(json!({"name": "consumer", "kind": "StatefulSet"}), false)]
    #[case::another_group(json!({"name": "consumer", "apiVersion": "example.com/v1"}), false)]
    fn it_is_found_by_what_it_scales(#[case] reference: Value, #[case] expected: bool) {
        let target = TargetRef::new("apps/v1", "Deployment", "consumer");
        assert_eq!(scales(&json!({"spec": {"scaleTargetRef": reference}}), &target), expected);
    }

    #[rstest]
    #[case::nothing(json!({}), false, false)]
    #[case::paused_by_somebody(json!({PAUSED: "true"}), true, false)]
    #[case::what_is_no_boolean_is_true(json!({PAUSED: "yes"}), true, false)]
    #[case::not_paused(json!({PAUSED: "false"}), false, false)]
    #[case::as_go_reads_it(json!({PAUSED: "F"}), false, false)]
    #[case::to_a_count(json!({PAUSED_REPLICAS: "0"}), true, false)]
    #[case::ours(json!({PAUSED: "true", PAUSED_BY: "replay"}), true, true)]
    #[case::ours_and_taken_off(json!({PAUSED_BY: "replay"}), false, true)]
    fn whose_a_pause_is_stands_beside_it(#[case] annotations: Value, #[case] paused: bool, #[case] ours: bool) {
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
    #[case::somebody_has_changed_it_since(json!({PAUSED: "false", PAUSED_BY: "replay"}), json!({PAUSED_BY: null, PAUSED_BEFORE: null}))]
    fn what_stood_before_comes_back(#[case] annotations: Value, #[case] expected: Value) {
        let found = object(&json!({"metadata": {"name": "s", "annotations": annotations}}));
        assert_eq!(without_ours(&found), expected);
    }
}
