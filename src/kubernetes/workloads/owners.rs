//! The field managers that own a workload's replicas, and the workload's controller, from its metadata.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};

use crate::{
    api::FIELD_MANAGER,
    machine::facts::{Controller, FieldOwner},
};

/// The field managers that own the replicas, the latest first, without this operator.
pub(in crate::kubernetes) fn scalers(metadata: &ObjectMeta) -> Vec<FieldOwner> {
    owners(metadata, owns_replicas)
}

/// The field managers that own a field, by its pointer in `fieldsV1`, the latest first, without this operator.
pub(in crate::kubernetes) fn of_field(metadata: &ObjectMeta, pointer: &str) -> Vec<FieldOwner> {
    owners(metadata, |entry| owns(entry, pointer))
}

fn owners(metadata: &ObjectMeta, is_owner: impl Fn(&ManagedFieldsEntry) -> bool) -> Vec<FieldOwner> {
    let entries = metadata.managed_fields.iter().flatten();
    let mut owners: Vec<FieldOwner> = entries.filter(|entry| is_owner(entry)).map(owner).collect();
    owners.retain(|owner| owner.manager != FIELD_MANAGER);
    owners.sort_by_key(|owner| std::cmp::Reverse(owner.time));
    owners
}

/// A write through `scale` sets the replicas and nothing else, in whichever field the kind keeps them.
fn owns_replicas(entry: &ManagedFieldsEntry) -> bool {
    entry.subresource.as_deref() == Some("scale") || owns(entry, "/f:spec/f:replicas")
}

fn owns(entry: &ManagedFieldsEntry, pointer: &str) -> bool {
    entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(pointer).is_some())
}

fn owner(entry: &ManagedFieldsEntry) -> FieldOwner {
    FieldOwner {
        manager: entry.manager.clone().unwrap_or_default(),
        operation: entry.operation.clone().unwrap_or_default(),
        subresource: entry.subresource.clone().filter(|subresource| !subresource.is_empty()),
        time: entry.time.as_ref().map(|time| time.0),
    }
}

/// The controller of an object, of which there is at most one.
pub(in crate::kubernetes) fn controller(metadata: &ObjectMeta) -> Option<Controller> {
    let owners = metadata.owner_references.iter().flatten();
    let controller = owners.into_iter().find(|owner| owner.controller == Some(true))?;
    Some(Controller { api_version: controller.api_version.clone(), kind: controller.kind.clone(), name: controller.name.clone() })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn metadata(value: Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    fn entry(manager: &str, operation: &str, subresource: Option<&str>, time: &str, fields: &Value) -> Value {
        let mut entry = json!({
            "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": fields, "manager": manager, "operation": operation,
            "time": time,
        });
        if let Some(subresource) = subresource {
            entry["subresource"] = json!(subresource);
        }
        entry
    }

    /// The fields that an apply of a whole Deployment owns.
    fn applied() -> Value {
        json!({
            "f:metadata": {"f:labels": {"f:app": {}}},
            "f:spec": {
                "f:replicas": {}, "f:selector": {},
                "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}}}}},
            },
        })
    }

    fn without_replicas() -> Value {
        json!({"f:spec": {"f:selector": {}, "f:template": {"f:spec": {"f:replicas": {}}}}})
    }

    const EARLY: &str = "2026-11-24T18:00:00Z";
    const LATE: &str = "2026-11-24T18:00:01Z";

    #[rstest]
    #[case::argo_cd_by_server_side_apply(
        json!([entry("argocd-controller", "Apply", None, EARLY, &applied())]),
        &["argocd-controller Apply"]
    )]
    #[case::flux(
        json!([entry("kustomize-controller", "Apply", None, EARLY, &applied())]),
        &["kustomize-controller Apply"]
    )]
    #[case::helm_that_left_them_out(json!([entry("helm", "Update", None, EARLY, &without_replicas())]), &[])]
    #[case::an_hpa(
        json!([
            entry("kubectl-client-side-apply", "Update", None, EARLY, &without_replicas()),
            entry("kube-controller-manager", "Update", Some("scale"), LATE, &json!({"f:spec": {"f:replicas": {}}})),
            entry("kube-controller-manager", "Update", Some("status"), LATE, &json!({"f:status": {"f:replicas": {}}})),
        ]),
        &["kube-controller-manager Update scale"]
    )]
    #[case::only_ourselves(
        json!([entry("offset-reset-operator", "Update", Some("scale"), LATE, &json!({"f:spec": {"f:replicas": {}}}))]),
        &[]
    )]
    #[case::the_latest_first(
        json!([
            entry("argocd-controller", "Apply", None, EARLY, &applied()),
            entry("offset-reset-operator", "Update", Some("scale"), EARLY, &json!({"f:spec": {"f:replicas": {}}})),
            entry("kubectl-edit", "Update", None, LATE, &json!({"f:spec": {"f:replicas": {}}})),
        ]),
        &["kubectl-edit Update", "argocd-controller Apply"]
    )]
    #[case::a_kind_that_keeps_them_elsewhere(
        json!([entry("keda", "Update", Some("scale"), LATE, &json!({"f:spec": {"f:workers": {}}}))]),
        &["keda Update scale"]
    )]
    #[case::nothing_is_managed(json!([]), &[])]
    #[case::fields_of_another_type(
        json!([{"manager": "x", "operation": "Update", "fieldsType": "FieldsV1"}]),
        &[]
    )]
    fn the_managers_that_own_the_replicas_are_found(#[case] managed_fields: Value, #[case] expected: &[&str]) {
        let found = scalers(&metadata(json!({"name": "w", "managedFields": managed_fields})));
        let words: Vec<String> = found
            .iter()
            .map(|owner| {
                let subresource = owner.subresource.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
                format!("{} {}{subresource}", owner.manager, owner.operation)
            })
            .collect();
        assert_eq!(words, expected);
    }

    #[test]
    fn the_owners_of_the_state_of_a_connector_are_those_of_that_field() {
        let state = |manager: &str, time: &str| entry(manager, "Apply", None, time, &json!({"f:spec": {"f:state": {}}}));
        let scale = entry("keda", "Update", Some("scale"), LATE, &json!({"f:spec": {"f:tasksMax": {}}}));
        let fields = json!([state("argocd-controller", EARLY), state("offset-reset-operator", LATE), scale]);
        let found = of_field(&metadata(json!({"name": "w", "managedFields": fields})), "/f:spec/f:state");
        assert_eq!(found.iter().map(|owner| owner.manager.as_str()).collect::<Vec<_>>(), ["argocd-controller"]);
    }

    #[test]
    fn only_an_owner_that_controls_it_counts() {
        let owner = |kind: &str, controller: Option<bool>| {
            let mut owner = json!({"apiVersion": "apps/v1", "kind": kind, "name": "n", "uid": "u"});
            if let Some(controller) = controller {
                owner["controller"] = json!(controller);
            }
            owner
        };
        let owners =
            json!({"ownerReferences": [owner("Backup", None), owner("Group", Some(false)), owner("Deployment", Some(true))]});
        assert_eq!(controller(&metadata(owners)).unwrap().kind, "Deployment");
        assert_eq!(controller(&metadata(json!({"ownerReferences": [owner("Backup", None)]}))), None);
        assert_eq!(controller(&metadata(json!({}))), None);
    }
}
