//! What was measured, and how it is shown.

pub mod page;
mod plots;
pub mod report;
mod samples;

pub use samples::{Curve, Line, Results, Step, Table, load, quantile};
