//! Many OffsetResets at once, which have the label of a batch.

mod cancel;
mod course;
mod find;
mod follow;
mod names;
mod plan;
mod run;
mod tell;
mod undo;

pub use cancel::cancel;
pub use plan::plan;
pub use run::{run, watch};
pub use undo::undo;
