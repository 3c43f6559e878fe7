//! The offset-reset operator.

pub mod api;
pub mod kafka;
pub mod machine;
