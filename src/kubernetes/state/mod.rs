//! What the operator keeps beside the status: Leases of held workloads, reports and receipts; and that the install is in use.

mod claims;
mod in_use;
mod receipts;
mod reports;

pub use claims::{Claims, hold_in, lease_name, may_be_claimed_by};
pub use in_use::{InUse, Recorded};
pub use receipts::{Receipts, RunEnd};
pub use reports::{Files, Report, ReportRead, Reports, report_name};
