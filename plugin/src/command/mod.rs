//! The commands.

pub mod act;
pub mod batch;
pub mod check;
pub mod complete;
pub mod look;
mod pods;
pub mod report;
pub mod watch;
