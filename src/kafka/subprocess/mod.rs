//! A client in a process of its own: what a broker's answers do to librdkafka ends that process, and not the operator, which holds everybody's
//! Secrets and may have consumers at zero. (2.12.1 asserts that a group is described by its own name, and some bytes at random lose it its
//! memory.)
//!
//! The process is the operator's own program, started with another word; it is told on its standard input how the cluster is reached, and
//! then what is asked, and answers on its standard output. It ends with its input, so that none outlives the operator.

mod admin;
mod launcher;
mod preflight;
mod process;
mod protocol;
mod serve;

pub(super) use admin::SubprocessAdmin;
pub(super) use launcher::Launcher;
pub use serve::serve;
