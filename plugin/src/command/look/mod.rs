//! Commands that only look.

mod explain;
mod export;
mod holds;
mod list;
mod status;

pub use explain::explain;
pub use export::export;
pub use holds::{holds, leases};
pub use list::{labelled, list, listed};
pub use status::status;
