//! The admission policy that keeps the install from being deleted while something is held.

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use kube::{Api, Client};

use super::limit::limited;

/// The name of the policy and of its binding, as in `deploy/rights/in-use.yaml`.
const NAME: &str = "offset-reset-in-use";

/// Reads whether the policy is bound.
pub struct PolicyBinding {
    bindings: Api<ValidatingAdmissionPolicyBinding>,
}

impl PolicyBinding {
    /// Reads through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { bindings: Api::all(client) }
    }

    /// Whether the policy is bound; `None` when that is unknown.
    pub async fn is_there(&self) -> Option<bool> {
        match limited(self.bindings.get_metadata_opt(NAME)).await {
            Ok(found) => Some(found.is_some_and(|binding| binding.metadata.deletion_timestamp.is_none())),
            Err(error) => {
                tracing::debug!(%error, "cannot read the binding of the policy {NAME}");
                None
            }
        }
    }
}
