//! Durations of the spec, such as 1m30s.

use kube::core::Duration;
use serde::{Deserialize, Deserializer, de::Error as _};

/// How many digits a number in a duration may have before its point: at least as many as a duration
/// has that the CRD accepts in hours and that a client writes back in seconds.
const DIGITS_OF_A_DURATION: usize = 13;

/// Parses a duration only when kube can: kube 5.0 panics on one that is too long, or negative in
/// its middle. The CRD's rules refuse those, but the installed CRD may be of another version.
pub(super) fn a_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let positive = text.strip_prefix('-').unwrap_or(&text);
    let only_numbers_and_units = positive.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    let whole_numbers = positive.split(|of: char| of.is_ascii_alphabetic()).map(|number| number.split('.').next().unwrap_or(""));
    if !only_numbers_and_units || whole_numbers.map(str::len).any(|digits| digits > DIGITS_OF_A_DURATION) || text.len() > 100 {
        return Err(D::Error::custom(format!("'{text:.100}' is not a duration such as 10s or 1m30s")));
    }
    text.parse().map_err(D::Error::custom)
}

/// Parses a duration that may be absent.
pub(super) fn perhaps_a_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    #[derive(Deserialize)]
    struct Given(#[serde(deserialize_with = "a_duration")] Duration);
    Ok(Option::<Given>::deserialize(deserializer)?.map(|given| given.0))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde::Serialize;

    use super::*;

    #[rstest]
    #[case("1m30s", Some(90_000))]
    #[case("1.5h", Some(5_400_000))]
    #[case("999999999h", Some(3_599_999_996_400_000))]
    #[case("9999999999999h", Some(35_999_999_999_996_400_000))]
    #[case("-5s", Some(5_000))]
    #[case("99999999999999999999999h", None)]
    #[case("1h-5m", None)]
    #[case("1h+5m", None)]
    #[case("infs", None)]
    #[case("1e30s", None)]
    #[case("ten", None)]
    fn a_duration_is_parsed_or_refused_without_a_panic(#[case] text: &str, #[case] millis: Option<u128>) {
        #[derive(Deserialize)]
        struct Read(#[serde(deserialize_with = "a_duration")] Duration);
        let read: Result<Read, _> = serde_json::from_value(serde_json::json!(text));
        assert_eq!(read.ok().map(|read| std::time::Duration::from(read.0).as_millis()), millis);
    }

    #[test]
    fn the_longest_duration_that_the_crd_accepts_is_written_as_it_is_read() {
        #[derive(Serialize, Deserialize)]
        struct Read(#[serde(deserialize_with = "a_duration")] Duration);
        for (longest, in_seconds) in [("499999h", "1799996400s"), ("2562047h", "9223369200s")] {
            let read: Read = serde_json::from_value(serde_json::json!(longest)).unwrap();
            let written = serde_json::to_value(&read).unwrap();
            assert_eq!(written, in_seconds);
            assert_eq!(serde_json::from_value::<Read>(written).unwrap().0, read.0);
        }
    }
}
