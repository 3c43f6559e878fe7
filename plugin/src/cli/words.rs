//! PURE: the words of options: topics, workloads, times, durations.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

/// A topic, and which of its partitions; none is all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPartitions {
    /// The topic.
    pub topic: String,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

/// A workload: its kind as it was written, and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The kind; none is a Deployment.
    pub kind: Option<String>,
    /// The name.
    pub name: String,
}

/// `orders`, `orders:0,1` or `orders:0-3,7`.
pub fn topic(text: &str) -> Result<TopicPartitions, String> {
    let (topic, rest) = text.split_once(':').map_or((text, None), |(topic, rest)| (topic, Some(rest)));
    let is_topic = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if topic.is_empty() || !topic.chars().all(is_topic) {
        return Err(format!("{topic:?} is not the name of a topic; it has letters, digits, '.', '_' and '-'"));
    }
    let mut all = vec![];
    for numbers in rest.into_iter().flat_map(|rest| rest.split(',')) {
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let number = |text: &str| text.parse::<i32>().ok().filter(|number| *number >= 0);
        let wrong = || format!("{numbers:?} is not a partition; write numbers from 0, such as {topic}:0,1 or {topic}:0-3");
        let (first, last) = number(first).zip(number(last)).filter(|(first, last)| first <= last).ok_or_else(wrong)?;
        if last - first >= 500 {
            return Err(format!("{numbers:?} are more than 500 partitions; name the topic alone, or use --from-file"));
        }
        all.extend(first..=last);
    }
    let mut seen = std::collections::BTreeSet::new();
    match all.iter().find(|one| !seen.insert(**one)) {
        Some(twice) => Err(format!("partition {twice} is there twice")),
        None => Ok(TopicPartitions { topic: topic.to_owned(), partitions: all }),
    }
}

/// An offset, which is never negative.
pub fn offset(text: &str) -> Result<i64, String> {
    match text.parse::<i64>() {
        Ok(offset) if offset < 0 => {
            Err(format!("no offset is negative; to go back by {} records: --shift-by {offset}", offset.unsigned_abs()))
        }
        Ok(offset) => Ok(offset),
        Err(_) if text.starts_with('+') || text.contains(['.', ',', '_']) => {
            Err("an offset has digits only; to go forward by a number of records: --shift-by N".to_owned())
        }
        Err(_) => Err("an offset is a number from 0, such as 1204881".to_owned()),
    }
}

/// `orders` or `KIND/orders`.
pub fn target(text: &str) -> Result<Target, String> {
    let (kind, name) = text.split_once('/').map_or((None, text), |(kind, name)| (Some(kind.to_owned()), name));
    if name.is_empty() || name.contains('/') || kind.as_deref() == Some("") {
        return Err("write NAME or KIND/NAME, such as orders or statefulset/orders".to_owned());
    }
    Ok(Target { kind, name: name.to_owned() })
}

/// ISO 8601, such as `PT1H30M`, or with units, such as `90m`, `36h`, `2d 3h`. A day has 24 hours.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write such as 90s, 15m, 36h, 2d or PT1H30M");
    let span: Span = text.parse().map_err(|_| wrong())?;
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err("months and years have no fixed length; write days, such as 30d".to_owned());
    }
    let duration: SignedDuration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| format!("{text:?} is negative; write it without the sign"))
}

/// RFC 3339, Unix time in seconds or milliseconds, or a time without a zone, which is UTC.
pub fn timestamp(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    let wrong = || format!("{text:?} is not a time; write such as 2026-11-24T18:00:00Z, 2026-11-24T19:00:00+01:00 or Unix time");
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: i64 = text.parse().map_err(|_| wrong())?;
        return match text.len() {
            10 => Timestamp::from_second(number).map_err(|_| wrong()),
            13 => Timestamp::from_millisecond(number).map_err(|_| wrong()),
            _ => Err(format!("{text:?} has {} digits; Unix time has 10 in seconds and 13 in milliseconds", text.len())),
        };
    }
    text.parse::<Timestamp>()
        .or_else(|_| {
            text.parse::<jiff::civil::DateTime>()
                .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC))
                .map(|time| time.timestamp())
        })
        .map_err(|_| wrong())
}

/// A time, or how long from now.
pub fn deadline(text: &str) -> Result<Timestamp, String> {
    timestamp(text).or_else(|why| {
        let length = duration(text).map_err(|_| format!("{why}; or how long from now, such as 2h"))?;
        Timestamp::now().checked_add(length).map_err(|_| format!("{text:?} is too long"))
    })
}

/// A duration as the spec has it: hours, minutes, seconds and milliseconds.
pub fn go_duration(length: Duration) -> String {
    let (seconds, millis) = (length.as_secs(), length.subsec_millis());
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s"), (millis.into(), "ms")];
    let some: Vec<String> = parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if some.is_empty() { "0s".to_owned() } else { some.concat() }
}

/// The name of an OffsetReset, by Kubernetes' rule for names (RFC 1123): another one would become a part of the request's path.
pub fn reset_name(text: &str) -> Result<String, String> {
    let allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
    if text.is_empty() || text.len() > 253 || !text.chars().all(allowed) {
        return Err("the name of an OffsetReset has only lowercase letters, digits, - and .".to_owned());
    }
    Ok(text.to_owned())
}

/// How long the name of a batch may be, so that it fits a label and the names of its objects.
pub const MAX_BATCH: usize = 40;

/// The name of a batch: part of names (RFC 1123) and the value of a label.
pub fn batch_name(text: &str) -> Result<String, String> {
    let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let are_allowed = text.chars().all(|letter| is_plain(letter) || letter == '-');
    if !are_allowed || text.len() > MAX_BATCH || !text.starts_with(is_plain) || !text.ends_with(is_plain) {
        return Err(format!(
            "the name of a batch has 1 to {MAX_BATCH} lowercase letters, digits and -, and begins and ends with a letter or digit"
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("orders", Ok(("orders", vec![])))]
    #[case("orders:0,1", Ok(("orders", vec![0, 1])))]
    #[case("orders:0-2,7", Ok(("orders", vec![0, 1, 2, 7])))]
    #[case("orders:", Err("\"\" is not a partition"))]
    #[case("orders:a", Err("\"a\" is not a partition"))]
    #[case("orders:-1", Err("\"-1\" is not a partition"))]
    #[case("orders:3-1", Err("\"3-1\" is not a partition"))]
    #[case("orders:0,0", Err("partition 0 is there twice"))]
    #[case("orders:0-2000000000", Err("more than 500"))]
    #[case("or ders", Err("is not the name of a topic"))]
    fn a_topic_may_have_partitions(#[case] text: &str, #[case] expected: Result<(&str, Vec<i32>), &str>) {
        match (topic(text), expected) {
            (Ok(found), Ok((topic, partitions))) => assert_eq!((found.topic.as_str(), found.partitions), (topic, partitions)),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[rstest]
    #[case("0", Ok(0))]
    #[case("1204881", Ok(1_204_881))]
    #[case("-3", Err("--shift-by -3"))]
    #[case("1,204", Err("digits only"))]
    #[case("latest", Err("is a number from 0"))]
    fn an_offset_is_not_negative(#[case] text: &str, #[case] expected: Result<i64, &str>) {
        match (offset(text), expected) {
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, expected) => assert_eq!(found.ok(), expected.ok()),
        }
    }

    #[rstest]
    #[case("failover-1", true)]
    #[case("undo-failover-1", true)]
    #[case("", false)]
    #[case("Failover", false)]
    #[case("a.b", false)]
    #[case("-a", false)]
    #[case("a-", false)]
    #[case("a,b=c", false)]
    #[case("a23456789-123456789-123456789-123456789-1", false)]
    fn a_batch_has_a_name_that_a_label_may_have(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(batch_name(text).is_ok(), expected);
    }

    #[rstest]
    #[case("orders", None, "orders")]
    #[case("sts/orders", Some("sts"), "orders")]
    #[case("rollouts.argoproj.io/orders", Some("rollouts.argoproj.io"), "orders")]
    fn a_target_may_have_a_kind(#[case] text: &str, #[case] kind: Option<&str>, #[case] name: &str) {
        assert_eq!(target(text), Ok(Target { kind: kind.map(str::to_owned), name: name.to_owned() }));
    }

    #[rstest]
    #[case("PT1H30M", Some(5_400))]
    #[case("P2DT3H", Some(183_600))]
    #[case("36h", Some(129_600))]
    #[case("2d", Some(172_800))]
    #[case("1h30m", Some(5_400))]
    #[case("90 minutes", Some(5_400))]
    #[case("1w", Some(604_800))]
    #[case("P1M", None)]
    #[case("-5m", None)]
    #[case("10", None)]
    #[case("soon", None)]
    fn durations_are_iso_or_human(#[case] text: &str, #[case] seconds: Option<u64>) {
        assert_eq!(duration(text).ok().map(|length| length.as_secs()), seconds);
    }

    #[rstest]
    #[case("2026-11-24T18:00:00Z", Some("2026-11-24T18:00:00Z"))]
    #[case("2026-11-24T19:00:00+01:00", Some("2026-11-24T18:00:00Z"))]
    #[case::as_kafkas_tool_has_it("2026-11-24T18:00:00.000", Some("2026-11-24T18:00:00Z"))]
    #[case::without_seconds("2026-11-24T18:00", Some("2026-11-24T18:00:00Z"))]
    #[case("1571812144", Some("2019-10-23T06:29:04Z"))]
    #[case("1571812144005", Some("2019-10-23T06:29:04.005Z"))]
    #[case("15718121440", None)]
    #[case("yesterday", None)]
    #[case("", None)]
    fn times_have_a_zone_or_are_utc(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(timestamp(text).ok().map(|time| time.to_string()).as_deref(), expected);
    }

    #[rstest]
    #[case(5_400, 0, "1h30m")]
    #[case(172_800, 0, "48h")]
    #[case(45, 0, "45s")]
    #[case(1, 500, "1s500ms")]
    #[case(0, 0, "0s")]
    fn durations_of_the_spec_are_gos(#[case] seconds: u64, #[case] millis: u64, #[case] expected: &str) {
        assert_eq!(go_duration(Duration::from_secs(seconds) + Duration::from_millis(millis)), expected);
    }
}
