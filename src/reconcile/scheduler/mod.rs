//! Which passes run at the same time, and in which order.

mod commits_in_flight;
mod locks;
mod queue;
mod slots;

pub use commits_in_flight::Commits;
pub use locks::Turns;
pub use slots::Places;

pub(super) use locks::Turn;
pub(super) use queue::Rank;
pub(super) use slots::Place;
