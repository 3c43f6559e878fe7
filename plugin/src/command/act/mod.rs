//! Commands that change something.

mod confirm;
mod end;
mod make;
mod others;
mod owners;
mod steps;
mod undo;

pub use end::{cancel, prune, suspend};
pub use make::{create, plan, run};
pub use undo::undo;
