//! The workloads that a reset stops, and KEDA's ScaledObjects that scale them.

mod connectors;
mod exits;
mod hpas;
mod kinds;
mod owners;
mod pods;
mod rollouts;
mod scale;
mod scaled_objects;
mod selectors;
mod targets;

pub use scaled_objects::ScaledObjects;
pub use targets::Targets;
