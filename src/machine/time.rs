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

/// A duration as a spec has it, in whole seconds: 1h50m.
pub(in crate::machine) fn as_in_spec(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let parts = [(seconds / 3_600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let some: Vec<String> = parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if some.is_empty() { "0s".to_owned() } else { some.concat() }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, "0s")]
    #[case(59, "59s")]
    #[case(60, "1m")]
    #[case(6_600, "1h50m")]
    #[case(360_001, "100h1s")]
    #[case(-5, "0s")]
    fn a_duration_is_written_as_a_spec_has_it(#[case] seconds: i64, #[case] expected: &str) {
        assert_eq!(as_in_spec(SignedDuration::from_secs(seconds)), expected);
    }
}
