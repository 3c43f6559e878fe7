//! Commands that change something.

pub(super) mod confirm;
pub(super) mod end;
mod make;
pub(super) mod others;
pub(super) mod owners;
pub(super) mod steps;
mod undo;

pub use end::{cancel, prune, suspend};
pub use make::{create, plan, run};
pub use undo::undo;
