//! PURE: objects as text, for people. Nothing in here reads a clock, a cluster or a terminal.

mod batch;
mod end;
mod explain;
mod line;
mod options;
mod plan;
mod progress;
mod screen;
mod table;
mod trouble;
pub mod words;

pub use batch::{batch, sums, workloads};
pub use end::{ended, hint};
pub use explain::{explained, reason};
pub use line::{BAD, BOLD, DIM, GOOD, Line, WARN};
pub use options::options;
pub use plan::{plan, undo};
pub use progress::{Look, PodState, idle, is_at_zero_before};
pub use screen::{fitted, screen};
pub use table::Table;
pub use trouble::trouble;
