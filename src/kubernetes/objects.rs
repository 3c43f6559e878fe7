//! The label of the operator's own objects beside the resets.

use std::collections::BTreeMap;

use kube::core::ObjectMeta;

use crate::api::FIELD_MANAGER;

/// The label of what the operator has written.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// What is written into objects beside the resets, so that it is found, and reserved: deploy/policies.yaml lets only those write what has
/// this label who may write the status of a reset.
pub(super) fn labels(own: Option<(&str, &str)>) -> BTreeMap<String, String> {
    let managed = (MANAGED_BY, FIELD_MANAGER);
    [Some(managed), own].into_iter().flatten().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Whether an object has that label. What has not may be anybody's, whatever its name is, and is never acted upon.
pub(super) fn is_ours(metadata: &ObjectMeta) -> Result<(), String> {
    match metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY)) {
        Some(manager) if manager == FIELD_MANAGER => Ok(()),
        _ => Err(format!("it has no label {MANAGED_BY}: {FIELD_MANAGER}, so anybody may have written it")),
    }
}
