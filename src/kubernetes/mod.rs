//! The Kubernetes side: the `OffsetReset`s, the workloads they stop, the objects the operator keeps beside them, Events and
//! leader election.

mod config_maps;
mod errors;
mod events;
pub mod leader;
mod limit;
mod objects;
mod outbox;
mod policies;
mod resets;
mod secrets;
mod state;
mod watched;
mod workloads;
mod write;

pub use config_maps::ConfigMaps;
pub use errors::{chain, is_not_found};
pub use events::Announcer;
pub use policies::{IN_USE_POLICY, POLICIES, Policies, Policy, PolicyState};
pub use resets::Resets;
pub use secrets::{SecretData, Secrets};
pub use state::{
    Claims, Files, InUse, Receipts, Recorded, Report, ReportRead, Reports, RunEnd, hold_in, lease_name, may_be_claimed_by,
    report_name,
};
pub use watched::Watched;
pub use workloads::{ScaledObjects, Targets};
pub use write::WriteOutcome;
