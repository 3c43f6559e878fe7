//! Numbers, times and durations as people read them.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// With a comma for each thousand.
pub fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

/// The same; a dash for zero.
pub fn or_dash(number: i64) -> String {
    if number == 0 { "-".to_owned() } else { count(number) }
}

/// What a workload has when it is not stopped: its replicas, or the state of a connector.
pub fn size(replicas: i32, state: Option<&str>) -> String {
    state.map_or_else(|| replicas.to_string(), str::to_owned)
}

/// "1 record", "2,880 records".
pub fn many(number: i64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{} {what}s", count(number)) }
}

/// The time of the day in a zone; with the date and the zone's offset when it is another day than `now`.
pub fn clock(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let (at, now) = (at.to_zoned(zone.clone()), now.to_zoned(zone.clone()));
    let format = if at.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S%:z" };
    at.strftime(format).to_string()
}

/// The date and the time of the day, with the zone's offset.
pub fn full(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
}

/// As `full`, with milliseconds: the time of a record.
pub fn record_time(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S.%3f%:z").to_string()
}

/// A duration with its two largest units, such as 7s, 9m53s, 2h5m, 3d4h.
pub fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().unsigned_abs();
    let units = [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let largest = units[first..].iter().take(2).filter(|(count, _)| *count > 0);
    let parts: Vec<String> = largest.map(|(count, unit)| format!("{count}{unit}")).collect();
    if parts.is_empty() { "0s".to_owned() } else { parts.concat() }
}

/// A duration with tenths of a second where it is short, such as 13.9 s.
pub fn precise(duration: SignedDuration) -> String {
    if duration.as_secs() < 120 { format!("{:.1} s", duration.as_secs_f64()) } else { span(duration) }
}

/// How long ago, such as "5m ago".
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", span(now.duration_since(at)))
}

/// In how long, such as "in 9s"; "now" when it has passed.
pub fn until(at: Timestamp, now: Timestamp) -> String {
    let left = at.duration_since(now);
    if left.is_positive() { format!("in {}", span(left)) } else { "now".to_owned() }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, "0")]
    #[case(999, "999")]
    #[case(1_000, "1,000")]
    #[case(-1_234_567, "-1,234,567")]
    #[case(i64::MIN, "-9,223,372,036,854,775,808")]
    fn numbers_have_commas(#[case] number: i64, #[case] expected: &str) {
        assert_eq!(count(number), expected);
    }

    #[rstest]
    #[case(0, "0s")]
    #[case(7, "7s")]
    #[case(60, "1m")]
    #[case(593, "9m53s")]
    #[case(3_605, "1h")]
    #[case(7_500, "2h5m")]
    #[case(273_600, "3d4h")]
    fn durations_have_two_units(#[case] seconds: i64, #[case] expected: &str) {
        assert_eq!(span(SignedDuration::from_secs(seconds)), expected);
    }

    #[test]
    fn times_are_in_the_readers_zone_and_say_so_on_another_day() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let now: Timestamp = "2026-11-24T20:00:00Z".parse().unwrap();
        assert_eq!(clock("2026-11-24T18:30:05Z".parse().unwrap(), now, &zone), "20:30:05");
        assert_eq!(clock("2026-11-23T18:30:05Z".parse().unwrap(), now, &zone), "2026-11-23 20:30:05+02:00");
        assert_eq!(record_time("2026-11-24T18:30:05.041Z".parse().unwrap(), &zone), "2026-11-24 20:30:05.041+02:00");
    }
}
