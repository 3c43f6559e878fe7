//! What an error means: error codes, librdkafka's log lines, and probes of the broker itself.

pub(super) mod error_codes;
pub(super) mod log_causes;
pub(super) mod tls_probe;
pub(super) mod unreachable;
