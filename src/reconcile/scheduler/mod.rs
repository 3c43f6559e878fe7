//! Which passes run at the same time, in which order, and which of them exclude each other.

mod commits_in_flight;
mod locks;
mod looks;
mod queue;
mod slots;
mod visits;

pub use commits_in_flight::CommitsInFlight;
pub use locks::Locks;
pub use looks::Looks;
pub use slots::Slots;
pub use visits::{Change, Visits};

pub(super) use locks::Lock;
pub(super) use queue::Rank;
pub(super) use slots::Slot;
pub(super) use visits::{FileVersions, Left, Need};
