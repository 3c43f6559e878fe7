//! The label of the objects that the operator writes beside the resets.

use std::collections::BTreeMap;

use kube::core::ObjectMeta;

use crate::api::FIELD_MANAGER;

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The labels of an object beside the resets: the operator's, and one of the object's kind. The operator's label is
/// reserved: with deploy/rights/policies.yaml, only users who may update the status of resets may write objects that have it.
pub(super) fn labels(own: Option<(&str, &str)>) -> BTreeMap<String, String> {
    let managed = (MANAGED_BY, FIELD_MANAGER);
    [Some(managed), own].into_iter().flatten().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Whether an object has the operator's label. Any user may have written an object without it, whatever its name is, so the
/// operator never acts on one.
pub(super) fn is_ours(metadata: &ObjectMeta) -> Result<(), String> {
    match metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY)) {
        Some(manager) if manager == FIELD_MANAGER => Ok(()),
        _ => Err(format!("it lacks the label {MANAGED_BY}: {FIELD_MANAGER}, so any user may have written it")),
    }
}
