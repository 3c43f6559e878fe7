//! The offset-reset operator.

pub mod kafka;
pub mod machine;
