//! Kubernetes' side: the objects, the targets, what people are told, and who of several operators works.

mod autoscalers;
mod claims;
mod events;
mod kinds;
pub mod leader;
mod limit;
mod owners;
mod receipts;
mod records;
mod resets;
mod targets;

pub use autoscalers::{Autoscalers, Changed};
pub use claims::{Claimed, Claims, hold_in, lease_name};
pub use events::Announcer;
pub use receipts::{End, Receipts};
pub use records::{Files, Record, RecordRead, Recorded, Records, record_name};
pub use resets::{Resets, Stored};
pub use targets::{Scaled, Targets};

/// An API error in words for people: the API server's own message where there is one.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.reason),
        other => other.to_string(),
    }
}
