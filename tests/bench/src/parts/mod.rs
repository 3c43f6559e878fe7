//! What is measured: a file for each part, and what two of them need.

mod consumers;
mod distance;
pub mod downtime;
pub mod finished;
pub mod growth;
pub mod idle;
pub mod large;
pub mod many;
pub mod topics;
