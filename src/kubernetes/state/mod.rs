//! What the operator remembers beside the status: Leases of held workloads, reports and receipts.

mod claims;
mod receipts;
mod reports;

pub use claims::{Claimed, Claims, hold_in, lease_name};
pub use receipts::{End, Receipts};
pub use reports::{Files, Report, ReportRead, ReportWrite, Reports, report_name};
