//! The commands.

pub mod act;
pub mod complete;
pub mod look;
pub mod watch;
