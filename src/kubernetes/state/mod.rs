//! What the operator keeps beside the status: Leases of held workloads, reports and receipts.

mod claims;
mod receipts;
mod reports;

pub use claims::{Claims, hold_in, lease_name};
pub use receipts::{Receipts, RunEnd};
pub use reports::{Files, Report, ReportRead, Reports, report_name};
