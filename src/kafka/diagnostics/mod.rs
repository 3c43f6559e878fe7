//! What an error means: codes, librdkafka's log lines, and what a look at the broker itself tells.

pub(super) mod error_codes;
pub(super) mod log_causes;
pub(super) mod tls_probe;
pub(super) mod unreachable;
