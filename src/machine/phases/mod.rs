//! One file for each phase: what a pass in that phase decides.

pub(in crate::machine) mod canary;
mod canary_undo;
mod catch_up;
pub(in crate::machine) mod comeback;
pub mod consumption;
pub mod draining;
pub mod finished;
pub mod pending;
pub mod planning;
pub mod read_back;
pub mod resetting;
pub mod restoring;
pub mod stopping;
