//! Names and lists as they stand in messages.

use jiff::SignedDuration;

use super::facts::TopicPartition;
use crate::api::TargetStatus;

/// A workload's kind and name, as in messages.
pub(in crate::machine) fn name(target: &TargetStatus) -> String {
    format!("{}/{}", target.kind, target.name)
}

/// A duration in seconds with one decimal.
pub(in crate::machine) fn seconds(duration: SignedDuration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

/// How many partitions a message names.
const NAMED_PARTITIONS: usize = 5;

/// Some partitions in words: the first ones and how many more.
#[must_use]
pub fn name_some(partitions: &[TopicPartition]) -> String {
    let mut names: Vec<String> = partitions.iter().take(NAMED_PARTITIONS).map(ToString::to_string).collect();
    if partitions.len() > NAMED_PARTITIONS {
        names.push(format!("{} more", partitions.len() - NAMED_PARTITIONS));
    }
    names.join(", ")
}
