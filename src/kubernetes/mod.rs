//! Kubernetes' side: the objects, the targets, what people are told, and who of several operators works.

mod errors;
mod events;
mod known;
pub mod leader;
mod limit;
mod objects;
mod resets;
mod secrets;
mod state;
mod workloads;

pub use events::Announcer;
pub use resets::{Resets, Stored};
pub use secrets::{Material, Secrets};
pub use state::{
    Claimed, Claims, End, Files, Receipts, Report, ReportRead, ReportWrite, Reports, hold_in, lease_name, report_name,
};
pub use workloads::{Autoscalers, Changed, Scaled, Targets};
