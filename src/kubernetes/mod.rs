//! Kubernetes' side: the objects, the targets, what people are told, and who of several operators works.

mod autoscalers;
mod claims;
mod events;
mod kinds;
mod known;
pub mod leader;
mod limit;
mod owners;
mod pods;
mod receipts;
mod reports;
mod resets;
mod rollouts;
mod secrets;
mod targets;

use std::collections::BTreeMap;

use kube::core::ObjectMeta;

use crate::api::FIELD_MANAGER;

pub use autoscalers::{Autoscalers, Changed};
pub use claims::{Claimed, Claims, hold_in, lease_name};
pub use events::Announcer;
pub use receipts::{End, Receipts};
pub use reports::{Files, Report, ReportRead, ReportWrite, Reports, report_name};
pub use resets::{Resets, Stored};
pub use secrets::{Material, Secrets};
pub use targets::{Scaled, Targets};

/// The label of what the operator has written.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// What is written into objects beside the resets, so that it is found, and reserved: deploy/policies.yaml lets only those write what has
/// this label who may write the status of a reset.
fn labels(own: Option<(&str, &str)>) -> BTreeMap<String, String> {
    let managed = (MANAGED_BY, FIELD_MANAGER);
    [Some(managed), own].into_iter().flatten().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Whether an object has that label. What has not may be anybody's, whatever its name is, and is never acted upon.
fn is_ours(metadata: &ObjectMeta) -> Result<(), String> {
    match metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY)) {
        Some(manager) if manager == FIELD_MANAGER => Ok(()),
        _ => Err(format!("it has no label {MANAGED_BY}: {FIELD_MANAGER}, so anybody may have written it")),
    }
}

/// An API error in words for people: the API server's own message where there is one.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.reason),
        other => other.to_string(),
    }
}
