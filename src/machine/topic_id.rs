//! The ids of topics, which tell a topic from another one that was created under its name.

use std::collections::BTreeMap;

use crate::api::PartitionStatus;

/// Whether a partition's topic was deleted and created again since its id was recorded; `ids` has the ids of now. A topic whose id
/// is not known, then or now, counts as the same.
pub(in crate::machine) fn is_of_another_topic(partition: &PartitionStatus, ids: &BTreeMap<String, String>) -> bool {
    partition.topic_id.as_ref().zip(ids.get(&partition.topic)).is_some_and(|(then, now)| then != now)
}
