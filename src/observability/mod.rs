//! Logs, metrics and health.

mod health;
mod metrics;
mod telemetry;

pub use health::{Readiness, serve};
pub use metrics::{Metrics, PassGuard};
pub use telemetry::{LogFormat, LogTo, init};
