//! Logs, traces, metrics and health.

mod health;
mod liveness;
mod metrics;
mod telemetry;
pub mod traces;

pub use health::{Readiness, serve};
pub use liveness::{Liveness, PassUnderWay};
pub use metrics::{CountClients, Current, Metrics, PassGuard, ReadCurrent, metrics_page};
pub use telemetry::{LogFormat, LogTo, init};
