//! Commands that change something.

mod confirm;
mod make;
mod steps;
mod undo;

pub use make::{create, plan, run};
pub use undo::undo;
