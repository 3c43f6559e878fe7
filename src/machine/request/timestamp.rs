//! Points in time as users write them.

use jiff::Timestamp;

use crate::api::{TimestampSpec, rules};

/// Milliseconds since the epoch. Digits decide the unit of a number, because both are in use for
/// the same field.
pub(in crate::machine) fn parse(timestamp: &TimestampSpec) -> Result<i64, String> {
    match timestamp {
        TimestampSpec::Unix(0 | -2) => Err(rules::TIMESTAMP_OF_EARLIEST.message.to_owned()),
        TimestampSpec::Unix(-1) => Err(rules::TIMESTAMP_OF_LATEST.message.to_owned()),
        TimestampSpec::Unix(seconds @ 1_000_000_000..=9_999_999_999) => Ok(seconds * 1000),
        TimestampSpec::Unix(millis @ 1_000_000_000_000..=9_999_999_999_999) => Ok(*millis),
        TimestampSpec::Unix(other) => Err(format!(
            "{other} has neither 10 digits (Unix time in seconds) nor 13 (milliseconds); write one of those, or RFC 3339 with a zone"
        )),
        TimestampSpec::Text(text) if is_number(text) => match text.parse() {
            Ok(number) => parse(&TimestampSpec::Unix(number)),
            Err(_) => Err(rules::TIMESTAMP.message.to_owned()),
        },
        TimestampSpec::Text(text) => {
            let at: Timestamp = text
                .parse()
                .map_err(|error| format!("'{text}' is not RFC 3339 with a zone, such as 2019-10-23T13:22:24Z ({error})"))?;
            // Rounded up: "at or after" must not let in a record from before the instant.
            let millis = at.as_nanosecond().div_euclid(1_000_000) + i128::from(at.as_nanosecond().rem_euclid(1_000_000) != 0);
            match i64::try_from(millis) {
                Ok(millis) if millis >= 0 => Ok(millis),
                _ => Err(format!("'{text}' is before 1970; Kafka has no records from then")),
            }
        }
    }
}

/// Digits alone, or with a sign before them.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::seconds_as_the_first_doc_has_them(TimestampSpec::Unix(1_571_812_144), Ok(1_571_812_144_000))]
    #[case::milliseconds_as_the_second_doc_has_them(TimestampSpec::Unix(1_571_812_144_000), Ok(1_571_812_144_000))]
    #[case::the_least_seconds(TimestampSpec::Unix(1_000_000_000), Ok(1_000_000_000_000))]
    #[case::the_most_milliseconds(TimestampSpec::Unix(9_999_999_999_999), Ok(9_999_999_999_999))]
    #[case::nine_digits(TimestampSpec::Unix(999_999_999), Err("neither 10 digits"))]
    #[case::eleven_digits(TimestampSpec::Unix(10_000_000_000), Err("neither 10 digits"))]
    #[case::nanoseconds(TimestampSpec::Unix(1_571_812_144_000_000_000), Err("neither 10 digits"))]
    #[case::a_sentinel_of_the_protocol(TimestampSpec::Unix(-1), Err("write position: Latest instead"))]
    #[case::another_sentinel(TimestampSpec::Unix(-2), Err("write position: Earliest instead"))]
    #[case::earliest_in_another_api(TimestampSpec::Unix(0), Err("write position: Earliest instead"))]
    #[case::earliest_as_terraform_writes_it(TimestampSpec::Text("0".into()), Err("write position: Earliest instead"))]
    #[case::latest_in_quotes(TimestampSpec::Text("-1".into()), Err("write position: Latest instead"))]
    #[case::seconds_in_quotes(TimestampSpec::Text("1571812144".into()), Ok(1_571_812_144_000))]
    #[case::milliseconds_in_quotes(TimestampSpec::Text("1571812144000".into()), Ok(1_571_812_144_000))]
    #[case::nine_digits_in_quotes(TimestampSpec::Text("157181214".into()), Err("neither 10 digits"))]
    #[case::too_many_digits_in_quotes(TimestampSpec::Text("9".repeat(40)), Err("timestamp must be Unix time"))]
    #[case::nothing(TimestampSpec::Text(String::new()), Err("not RFC 3339"))]
    #[case::rfc3339(TimestampSpec::Text("2019-10-23T06:29:04Z".into()), Ok(1_571_812_144_000))]
    #[case::rfc3339_with_an_offset(TimestampSpec::Text("2019-10-23T14:29:04.250+08:00".into()), Ok(1_571_812_144_250))]
    #[case::fractions_of_a_millisecond_round_up(TimestampSpec::Text("2019-10-23T06:29:04.0000001Z".into()), Ok(1_571_812_144_001))]
    #[case::without_a_zone(TimestampSpec::Text("2019-10-23T06:29:04".into()), Err("with a zone"))]
    #[case::no_such_day(TimestampSpec::Text("2019-02-30T06:29:04Z".into()), Err("not RFC 3339"))]
    #[case::before_the_epoch(TimestampSpec::Text("1969-12-31T23:59:59Z".into()), Err("before 1970"))]
    fn a_timestamp_is_seconds_milliseconds_or_rfc3339(#[case] spec: TimestampSpec, #[case] expected: Result<i64, &str>) {
        match (parse(&spec), expected) {
            (Ok(millis), Ok(expected)) => assert_eq!(millis, expected),
            (Err(problem), Err(expected)) => assert!(problem.contains(expected), "{problem}"),
            (got, expected) => panic!("{got:?} instead of {expected:?}"),
        }
    }
}
