//! Points in time as users write them.

use jiff::Timestamp;

use crate::api::TimestampSpec;

/// Milliseconds since the epoch. Digits decide the unit of a number, because both are in use for
/// the same field.
pub(in crate::machine) fn parse(timestamp: &TimestampSpec) -> Result<i64, String> {
    match timestamp {
        TimestampSpec::Unix(seconds @ 1_000_000_000..=9_999_999_999) => Ok(seconds * 1000),
        TimestampSpec::Unix(millis @ 1_000_000_000_000..=9_999_999_999_999) => Ok(*millis),
        TimestampSpec::Unix(other) => Err(format!(
            "{other} has neither 10 digits (Unix time in seconds) nor 13 (milliseconds); write one of those, or RFC 3339 with a zone"
        )),
        TimestampSpec::Rfc3339(text) => {
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
    #[case::a_sentinel_of_the_protocol(TimestampSpec::Unix(-1), Err("neither 10 digits"))]
    #[case::rfc3339(TimestampSpec::Rfc3339("2019-10-23T06:29:04Z".into()), Ok(1_571_812_144_000))]
    #[case::rfc3339_with_an_offset(TimestampSpec::Rfc3339("2019-10-23T14:29:04.250+08:00".into()), Ok(1_571_812_144_250))]
    #[case::fractions_of_a_millisecond_round_up(TimestampSpec::Rfc3339("2019-10-23T06:29:04.0000001Z".into()), Ok(1_571_812_144_001))]
    #[case::without_a_zone(TimestampSpec::Rfc3339("2019-10-23T06:29:04".into()), Err("with a zone"))]
    #[case::no_such_day(TimestampSpec::Rfc3339("2019-02-30T06:29:04Z".into()), Err("not RFC 3339"))]
    #[case::before_the_epoch(TimestampSpec::Rfc3339("1969-12-31T23:59:59Z".into()), Err("before 1970"))]
    fn a_timestamp_is_seconds_milliseconds_or_rfc3339(#[case] spec: TimestampSpec, #[case] expected: Result<i64, &str>) {
        match (parse(&spec), expected) {
            (Ok(millis), Ok(expected)) => assert_eq!(millis, expected),
            (Err(problem), Err(expected)) => assert!(problem.contains(expected), "{problem}"),
            (got, expected) => panic!("{got:?} instead of {expected:?}"),
        }
    }
}
