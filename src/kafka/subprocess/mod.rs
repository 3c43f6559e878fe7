//! A client in a process of its own. A broker's answer can crash librdkafka (2.12.1 asserts that a
//! group is described by its own name, and some random bytes corrupt its memory). Then only that
//! process crashes, and not the operator, which holds the Secrets of all namespaces and may hold
//! consumers at zero.
//!
//! The process runs the operator's own program with another argument. It receives on its standard
//! input how the cluster is reached, and then the calls, and answers on its standard output. It
//! exits when its input ends, so it never outlives the operator.

mod admin;
mod launcher;
mod memory;
mod preflight;
mod process;
mod protocol;
mod serve;
mod slot;

pub(super) use admin::SubprocessAdmin;
pub(super) use launcher::Launcher;
pub use serve::{limit_stacks, serve};
