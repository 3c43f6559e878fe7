//! What to reset: entries of the spec, or a file.

use std::{io::Read, path::Path};

use offset_reset_operator::{
    api::MAX_ENTRIES,
    machine::request::{Entry, Goal, Scope, parse_file},
};
use serde_json::{Value, json};

use crate::{
    cli::{GoalArgs, go_duration},
    exit::{Failure, Outcome},
};

/// The field of the spec, and the file that belongs to it.
pub(super) struct Work {
    pub field: &'static str,
    pub value: Value,
    pub file: Option<String>,
}

/// The name of the ConfigMap with a long file.
pub(super) fn config_map_name(reset: &str) -> String {
    format!("{reset}-offsets")
}

/// Reads a file; `-` is the standard input.
pub(super) fn read(path: &Path) -> Outcome<String> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map(|_| ())
    } else {
        std::fs::read_to_string(path).map(|read| text = read)
    };
    read.map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    Ok(text)
}

/// The entries of the options, or those of a file.
pub(super) fn work(goal: &GoalArgs, group: &str, name: &str, file: Option<&str>) -> Outcome<Work> {
    let entries = match file {
        Some(text) => {
            let wrong = |why: String| Failure::new(format!("the file cannot be used.\n{why}"));
            let entries = parse_file(text, group).map_err(wrong)?;
            if entries.len() > MAX_ENTRIES {
                let from = json!({"configMapKeyRef": {"name": config_map_name(name), "key": "offsets.csv"}});
                return Ok(Work { field: "resetsFrom", value: from, file: Some(text.to_owned()) });
            }
            entries.iter().map(|(_, entry)| from_line(entry)).collect()
        }
        None => from_options(goal),
    };
    if entries.len() > MAX_ENTRIES {
        return Err(Failure::new(format!(
            "{} partitions are more than the {MAX_ENTRIES} entries of one OffsetReset.",
            entries.len()
        ))
        .advice("Name the topic without partitions, or use --from-file."));
    }
    Ok(Work { field: "resets", value: entries.into(), file: None })
}

fn from_line(entry: &Entry) -> Value {
    let (Scope::Topic(topic), Goal::Offset(offset)) = (&entry.scope, &entry.goal) else { return Value::Null };
    let partition = entry.partitions.numbers(1).and_then(|numbers| numbers.first().copied());
    json!({"topic": topic, "partition": partition, "offset": offset})
}

fn from_options(goal: &GoalArgs) -> Vec<Value> {
    let (field, target) = target(goal);
    let entry = |mut entry: Value| {
        entry[field] = target.clone();
        entry
    };
    if goal.all_topics {
        return vec![entry(json!({"topicPattern": ".*"}))];
    }
    goal.topics.iter().map(|topic| entry(named(&topic.topic, &topic.partitions))).collect()
}

/// How many ranges an entry may have.
const MAX_RANGES: usize = 100;

/// A topic with its partitions, those that follow on each other as ranges.
fn named(topic: &str, partitions: &[i32]) -> Value {
    let mut sorted = partitions.to_vec();
    sorted.sort_unstable();
    if let [] | [_] = sorted[..] {
        return sorted.first().map_or(json!({"topic": topic}), |one| json!({"topic": topic, "partition": one}));
    }
    let runs: Vec<&[i32]> = sorted.chunk_by(|one, next| one + 1 == *next).collect();
    let (long, short): (Vec<&[i32]>, Vec<&[i32]>) = runs.into_iter().partition(|run| run.len() > 2);
    let mut named = json!({"topic": topic});
    if long.len() > MAX_RANGES {
        named["partitions"] = json!(sorted);
        return named;
    }
    if !short.is_empty() {
        named["partitions"] = json!(short.concat());
    }
    if !long.is_empty() {
        let ranges = long.iter().filter_map(|run| Some(json!({"from": run.first()?, "to": run.last()?})));
        named["partitionRanges"] = ranges.collect();
    }
    named
}

fn target(goal: &GoalArgs) -> (&'static str, Value) {
    let given = [
        ("offset", goal.to_offset.map(|offset| json!(offset))),
        ("timestamp", goal.to_datetime.map(|at| json!(at.to_string()))),
        ("duration", goal.by_duration.map(|length| json!(go_duration(length)))),
        ("shiftBy", goal.shift_by.map(|by| json!(by))),
        ("fromGroup", goal.from_group.clone().map(Value::String)),
        ("position", goal.to_earliest.then_some(json!("Earliest"))),
        ("position", goal.delete_offsets.then_some(json!("None"))),
        ("position", goal.to_latest.then_some(json!("Latest"))),
    ];
    let found = given.into_iter().find_map(|(field, value)| Some((field, value?)));
    found.unwrap_or(("position", json!("Current")))
}
