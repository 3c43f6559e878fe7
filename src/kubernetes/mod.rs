//! The Kubernetes side: the `OffsetReset`s, the workloads they stop, the objects the operator keeps beside them, Events and
//! leader election.

mod errors;
mod events;
pub mod leader;
mod limit;
mod objects;
mod resets;
mod secrets;
mod state;
mod watched;
mod workloads;
mod write;

pub use events::Announcer;
pub use resets::Resets;
pub use secrets::{SecretData, Secrets};
pub use state::{Claims, Files, Receipts, Report, ReportRead, Reports, RunEnd, hold_in, lease_name, report_name};
pub use workloads::{ScaledObjects, Targets};
pub use write::WriteOutcome;
