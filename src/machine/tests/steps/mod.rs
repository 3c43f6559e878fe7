//! The steps of a reset, each by itself: what it does, what it waits for, and what it says.

mod carried;
mod commits;
mod denied;
mod draining;
mod expiry;
mod large;
mod refusals;
mod transitions;
mod versions;
