//! Messages, and the names and lists in them.

use std::{collections::HashMap, fmt};

use jiff::SignedDuration;

use super::{
    facts::{Exit, TopicPartition, UNSET, state_to_set},
    request::validate::breaks_the_line,
};
use crate::api::{TargetRef, TargetStatus};

/// How many characters a summary has at most: what a column of `kubectl get` shows of it.
pub(in crate::machine) const LONGEST_SUMMARY: usize = 100;

/// How few characters of a name are kept when a summary is too long.
const SHORTEST_NAME: usize = 12;

/// How many characters the details of a message have at most: a condition's message has its bounds.
const LONGEST_DETAILS: usize = 4_000;

/// The command that restores a workload by hand; `namespace` where the reader may not know it.
#[must_use]
pub fn restore_command(workload: &TargetRef, replicas: i32, state: Option<&str>, namespace: Option<&str>) -> String {
    let group = workload.api_version.split_once('/').map(|(group, version)| format!(".{version}.{group}")).unwrap_or_default();
    let what = format!("{}{group}/{}", workload.kind.to_lowercase(), workload.name);
    let kubectl = namespace.map_or_else(|| "kubectl".to_owned(), |namespace| format!("kubectl --namespace {namespace}"));
    if !workload.is_connector() {
        return format!("{kubectl} scale {what} --replicas={replicas}");
    }
    let state = match state_to_set(replicas, state) {
        UNSET => "null".to_owned(),
        state => format!("\"{state}\""),
    };
    format!(r#"{kubectl} patch {what} --type=merge -p '{{"spec":{{"state":{state}}}}}'"#)
}

/// What people are told: what happened, what it means for the consumers, and what to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Message {
    summary: String,
    details: Vec<String>,
    advice: Vec<String>,
}

impl Message {
    /// One sentence that stands alone, without a full stop and within [`LONGEST_SUMMARY`]
    /// characters. For names that can be long there is [`Message::naming`].
    #[must_use]
    pub fn new(summary: impl Into<String>) -> Self {
        let summary = summary.into();
        debug_assert!(summary.chars().count() <= LONGEST_SUMMARY, "too long for a summary: {summary}");
        if summary.chars().count() <= LONGEST_SUMMARY {
            return Self { summary, ..Self::default() };
        }
        let kept = cut_after_word(&summary, LONGEST_SUMMARY - 1);
        Self { summary: format!("{kept}…"), ..Self::default() }.detail(summary)
    }

    /// A sentence with names of any length: where it gets too long, names lose their middle, and
    /// the details have them in full.
    #[must_use]
    pub fn naming<const N: usize>(names: [&str; N], say: impl Fn([&str; N]) -> String) -> Self {
        let mut short = names.map(str::to_owned);
        let summary = loop {
            let summary = say(short.each_ref().map(String::as_str));
            let over = summary.chars().count().saturating_sub(LONGEST_SUMMARY);
            let longest = short.iter_mut().max_by_key(|name| name.chars().count());
            match longest.filter(|name| over > 0 && name.chars().count() > SHORTEST_NAME) {
                Some(name) => *name = without_middle(name, name.chars().count().saturating_sub(over).max(SHORTEST_NAME)),
                None => break summary,
            }
        };
        let cut = names.iter().zip(&short).filter(|(name, short)| *name != *short).map(|(name, _)| *name);
        let full: Vec<&str> = cut.collect();
        let message = Self::new(summary);
        if full.is_empty() { message } else { message.detail(format!("In full: {}", full.join(", "))) }
    }

    /// Adds sentences about what it means, or lists.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.details.extend(Some(detail.into()).filter(|detail| !detail.is_empty()));
        self
    }

    /// Adds what a person has to do.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice.extend(Some(advice.into()).filter(|advice| !advice.is_empty()));
        self
    }

    /// Adds what another message says.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        let both = self.detail(other.happened());
        other
            .advice
            .iter()
            .fold(both, |both, advice| if both.advice.contains(advice) { both } else { both.advice(advice.clone()) })
    }

    /// The first sentence.
    #[must_use]
    pub fn summary(&self) -> &str {
        &self.summary
    }

    /// What it means, when anything is to be said about that.
    #[must_use]
    pub fn details(&self) -> Option<String> {
        let details = shorten(sentences(&self.details));
        (!details.is_empty()).then_some(details)
    }

    /// What a person has to do, when anything.
    #[must_use]
    pub fn what_to_do(&self) -> Option<String> {
        (!self.advice.is_empty()).then(|| sentences(&self.advice))
    }

    /// What happened and what it means, without what to do.
    #[must_use]
    pub fn happened(&self) -> String {
        sentences(&[Some(self.summary.clone()), self.details()].into_iter().flatten().collect::<Vec<_>>())
    }

    /// All of it: commands come last.
    #[must_use]
    pub fn full(&self) -> String {
        sentences(&[Some(self.happened()), self.what_to_do()].into_iter().flatten().collect::<Vec<_>>())
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full())
    }
}

impl From<&str> for Message {
    fn from(summary: &str) -> Self {
        Self::new(summary)
    }
}

/// Sentences one after the other, the last one without a full stop: it may be a command.
pub(in crate::machine) fn sentences(sentences: &[String]) -> String {
    let mut text = String::new();
    for sentence in sentences {
        if !text.is_empty() {
            text.push_str(if text.ends_with(['.', '!', '?']) { " " } else { ". " });
        }
        text.push_str(sentence);
    }
    text
}

fn shorten(mut text: String) -> String {
    if text.len() > LONGEST_DETAILS {
        text.truncate(text.floor_char_boundary(LONGEST_DETAILS));
        text.push('…');
    }
    text
}

fn cut_after_word(text: &str, most: usize) -> &str {
    let end = text.char_indices().nth(most).map_or(text.len(), |(end, _)| end);
    let kept = &text[..end];
    kept.rfind(' ').map_or(kept, |space| &kept[..space])
}

/// A name with an ellipsis for its middle: beginnings and ends are what tells names apart.
fn without_middle(name: &str, most: usize) -> String {
    let letters: Vec<char> = name.chars().filter(|letter| *letter != '…').collect();
    let kept = most.saturating_sub(1);
    let tail = kept / 3;
    let head: String = letters.iter().take(kept - tail).collect();
    let tail: String = letters.iter().skip(letters.len().saturating_sub(tail)).collect();
    format!("{head}…{tail}")
}

/// A workload's kind and name, as in messages.
pub(in crate::machine) fn name(target: &TargetStatus) -> String {
    format!("{}/{}", target.kind, target.name)
}

/// The kind and name of a workload that is named in the spec.
pub(in crate::machine) fn name_ref(target: &TargetRef) -> String {
    format!("{}/{}", target.kind, target.name)
}

/// How many characters of the reason of an exit and of a termination message are told.
const LONGEST_REASON: usize = 60;
const LONGEST_TERMINATION_MESSAGE: usize = 300;

/// How a container exited, in words. The termination message is the container's own, and so of any length and content.
pub(in crate::machine) fn exited(exit: &Exit) -> String {
    let Exit { container, code, .. } = exit;
    let reason = exit.reason.as_ref().map(|reason| format!(" ({})", one_line(reason, LONGEST_REASON))).unwrap_or_default();
    let message = exit.message.as_ref().map(|message| one_line(message, LONGEST_TERMINATION_MESSAGE)).unwrap_or_default();
    let message = if message.is_empty() { message } else { format!(", and its termination message is: {message}") };
    format!("container {container} exited with code {code}{reason}{message}")
}

/// A text in one line, cut after so many characters.
fn one_line(text: &str, most: usize) -> String {
    let words = text.split(|character: char| character.is_whitespace() || breaks_the_line(character));
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// A duration in seconds with one decimal.
pub(in crate::machine) fn seconds(duration: SignedDuration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

/// A count with its noun.
pub(in crate::machine) fn count(number: impl TryInto<i64>, one: &str, many: &str) -> String {
    let number = number.try_into().unwrap_or(i64::MAX);
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The summary of a dry run, with the number of its warnings where that fits.
pub(in crate::machine) fn dry_run(warnings: usize, summary: &str) -> String {
    let planned = format!("Dry run: {summary}");
    let counted = format!("{planned}; {}", count(warnings, "warning", "warnings"));
    if warnings > 0 && counted.chars().count() <= LONGEST_SUMMARY { counted } else { planned }
}

/// How many ranges of a topic's partitions a message names.
const NAMED_RANGES: usize = 3;

/// How many topics a message names.
const NAMED_TOPICS: usize = 3;

/// Partitions in words, as ranges for each topic: "partitions 2-5, 10 and 41 more of topic orders".
#[must_use]
pub fn name_partitions(partitions: &[TopicPartition]) -> String {
    let mut topics: Vec<(&str, Vec<i32>)> = vec![];
    let mut places: HashMap<&str, usize> = HashMap::new();
    for at in partitions {
        let place = *places.entry(&at.topic).or_insert_with(|| {
            topics.push((&at.topic, vec![]));
            topics.len() - 1
        });
        topics[place].1.push(at.partition);
    }
    let mut parts: Vec<String> =
        topics.iter().take(NAMED_TOPICS).map(|(topic, numbers)| format!("{} of topic {topic}", name_ranges(numbers))).collect();
    let more = topics.len().saturating_sub(NAMED_TOPICS);
    parts.extend((more > 0).then(|| count(more, "more topic", "more topics")));
    list(&parts)
}

/// The verb that goes with [`name_partitions`].
pub(in crate::machine) fn verb<'a>(partitions: &[TopicPartition], one: &'a str, many: &'a str) -> &'a str {
    if partitions.len() == 1 { one } else { many }
}

fn name_ranges(numbers: &[i32]) -> String {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    if let [only] = numbers[..] {
        return format!("partition {only}");
    }
    let mut ranges: Vec<(i32, i32)> = vec![];
    for number in numbers {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == number => *end = number,
            Some(_) | None => ranges.push((number, number)),
        }
    }
    let name = |(start, end): &(i32, i32)| if start == end { start.to_string() } else { format!("{start}-{end}") };
    let mut parts: Vec<String> = ranges.iter().take(NAMED_RANGES).map(name).collect();
    let more: i32 = ranges.iter().skip(NAMED_RANGES).map(|(start, end)| end - start + 1).sum();
    parts.extend((more > 0).then(|| format!("{more} more")));
    format!("partitions {}", list(&parts))
}

/// "a, b and c".
pub(in crate::machine) fn list(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Some of the names, and how many more there are: "a, b and 3 more".
pub(in crate::machine) fn some(names: &[impl AsRef<str>], most: usize) -> String {
    let mut parts: Vec<String> = names.iter().take(most).map(|name| name.as_ref().to_owned()).collect();
    parts.extend((names.len() > most).then(|| format!("{} more", names.len() - most)));
    list(&parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::none(&[], "")]
    #[case::one(&[("orders", 3, 3)], "partition 3 of topic orders")]
    #[case::one_range(&[("orders", 2, 5)], "partitions 2-5 of topic orders")]
    #[case::single_ones(&[("orders", 1, 1), ("orders", 4, 4)], "partitions 1 and 4 of topic orders")]
    #[case::ranges_and_more(
        &[("orders", 2, 5), ("orders", 10, 34), ("orders", 40, 40), ("orders", 50, 90)],
        "partitions 2-5, 10-34, 40 and 41 more of topic orders"
    )]
    #[case::in_any_order(&[("orders", 5, 6), ("orders", 4, 4), ("orders", 4, 4)], "partitions 4-6 of topic orders")]
    #[case::two_topics(&[("a", 0, 2), ("b", 1, 1)], "partitions 0-2 of topic a and partition 1 of topic b")]
    #[case::one_topic_more(
        &[("a", 0, 0), ("b", 0, 0), ("c", 0, 0), ("d", 0, 9)],
        "partition 0 of topic a, partition 0 of topic b, partition 0 of topic c and 1 more topic"
    )]
    #[case::several_topics_more(
        &[("a", 0, 1), ("b", 0, 0), ("c", 0, 0), ("d", 0, 9), ("e", 0, 0)],
        "partitions 0-1 of topic a, partition 0 of topic b, partition 0 of topic c and 2 more topics"
    )]
    fn partitions_are_named_as_ranges_for_each_topic(#[case] ranges: &[(&str, i32, i32)], #[case] expected: &str) {
        let all = |(topic, start, end): &(&str, i32, i32)| {
            let topic = (*topic).to_owned();
            (*start..=*end).map(move |partition| TopicPartition::new(topic.clone(), partition))
        };
        let partitions: Vec<TopicPartition> = ranges.iter().flat_map(all).collect();
        assert_eq!(name_partitions(&partitions), expected);
    }

    #[rstest]
    #[case::all(&["a", "b"], "a and b")]
    #[case::one_more(&["a", "b", "c"], "a, b and 1 more")]
    fn some_names_stand_for_many(#[case] names: &[&str], #[case] expected: &str) {
        assert_eq!(some(names, 2), expected);
    }

    #[rstest]
    #[case::none(0, "1 partition: 300 records to replay", "Dry run: 1 partition: 300 records to replay")]
    #[case::one(1, "1 partition: 300 records to replay", "Dry run: 1 partition: 300 records to replay; 1 warning")]
    #[case::two(2, "1 partition", "Dry run: 1 partition; 2 warnings")]
    #[case::where_they_fit(2, &"x".repeat(79), &format!("Dry run: {}; 2 warnings", "x".repeat(79)))]
    #[case::where_they_do_not(2, &"x".repeat(80), &format!("Dry run: {}", "x".repeat(80)))]
    fn a_dry_run_counts_its_warnings_in_the_first_sentence(
        #[case] warnings: usize,
        #[case] summary: &str,
        #[case] expected: &str,
    ) {
        assert_eq!(dry_run(warnings, summary), expected);
    }

    #[rstest]
    #[case::a_code_alone(1, None, None, "container app exited with code 1")]
    #[case::a_reason(137, Some("OOMKilled"), None, "container app exited with code 137 (OOMKilled)")]
    #[case::an_empty_message(1, Some("Error"), Some("\n"), "container app exited with code 1 (Error)")]
    #[case::a_message(
        3,
        Some("Error"),
        Some("poison\n\trecord\u{1b}[31m at 17\n"),
        "container app exited with code 3 (Error), and its termination message is: poison record [31m at 17"
    )]
    #[case::another_direction(
        1,
        None,
        Some("a\u{202e}b"),
        "container app exited with code 1, and its termination message is: a b"
    )]
    fn an_exit_is_told_in_one_line(
        #[case] code: i32,
        #[case] reason: Option<&str>,
        #[case] message: Option<&str>,
        #[case] expected: &str,
    ) {
        let (reason, message) = (reason.map(str::to_owned), message.map(str::to_owned));
        assert_eq!(exited(&Exit { container: "app".into(), code, reason, message }), expected);
    }

    #[test]
    fn a_termination_message_of_any_length_is_cut() {
        let told = |message: String| exited(&Exit { container: "c".into(), code: 1, reason: None, message: Some(message) });
        let before = told("x".into()).chars().count() - 1;
        assert_eq!(told("é".repeat(300)).chars().count(), before + 300);
        let cut = told("é".repeat(4096));
        assert_eq!(cut.chars().count(), before + 301);
        assert!(cut.ends_with("é…"), "{cut}");
    }

    proptest! {
        #[test]
        fn a_summary_with_names_of_any_length_fits_and_the_details_have_them_in_full(
            topic in "[a-z.é]{1,249}",
            group in "[a-z-]{1,249}",
        ) {
            let message = Message::naming([&topic, &group], |[topic, group]| format!("Topic {topic} is not read by group {group}"));
            prop_assert!(message.summary().chars().count() <= LONGEST_SUMMARY, "{:?}", message);
            prop_assert!(message.full().contains(&topic) && message.full().contains(&group), "{:?}", message);
            prop_assert!(message.summary().starts_with("Topic ") && message.summary().contains(" is not read by group "));
        }
    }

    #[test]
    fn a_message_says_what_happened_then_what_it_means_then_what_to_do() {
        let message = Message::new("It happened").detail("It means this.").advice("kubectl do this").detail("And that");
        assert_eq!(message.full(), "It happened. It means this. And that. kubectl do this");
        assert_eq!(message.happened(), "It happened. It means this. And that");
        assert_eq!(Message::from("Only this").full(), "Only this");
    }

    #[test]
    #[should_panic(expected = "too long for a summary")]
    fn a_summary_without_names_is_short_as_it_is_written() {
        let _ = Message::new("word ".repeat(21));
    }
}
