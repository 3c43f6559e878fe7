//! The workloads that a reset stops, and what scales them.

mod kinds;
mod owners;
mod scaled_objects;
mod targets;

pub use scaled_objects::{Autoscalers, Changed};
pub use targets::{Scaled, Targets};
