//! Times and durations.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

/// A time after another, or the end of time where that overflows.
pub(in crate::machine) fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// A duration of a spec, whose type allows more than a reset can use.
///
/// # Errors
/// The problem, as a clause after the field's name.
pub(in crate::machine) fn spec_duration(value: kube::core::Duration) -> Result<SignedDuration, &'static str> {
    if value.is_negative() {
        return Err("must not be negative");
    }
    SignedDuration::try_from(std::time::Duration::from(value)).map_err(|_| "is too long")
}

/// A duration in words, rounded down: minutes from two minutes on.
pub(in crate::machine) fn roughly(duration: SignedDuration) -> String {
    match duration.as_secs() {
        1 => "1 second".to_owned(),
        seconds if seconds < 120 => format!("{seconds} seconds"),
        seconds => format!("{} minutes", seconds / 60),
    }
}

/// A time as in messages: to the second, in UTC.
pub(in crate::machine) fn clock(at: &MicroTime) -> String {
    jiff::fmt::strtime::format("%Y-%m-%dT%H:%M:%SZ", at.0).unwrap_or_else(|_| at.0.to_string())
}
