//! A KafkaConnector of Strimzi, which is stopped by its `spec.state`.
//!
//! It is a workload with two sizes: stopped, which counts as 0 replicas, and its other states, which
//! count as 1. Its tasks stand for its pod, because the pods in which they run are those of the
//! Connect workers, which also run other connectors, so they are not stopped.

/// The state of a connector without `spec.state`, which runs.
pub const UNSET: &str = "unset";

/// The state in which a connector has no tasks, and Kafka Connect allows its offsets to be changed.
pub const STOPPED: &str = "stopped";

/// The state in which a connector consumes nothing.
pub const PAUSED: &str = "paused";

/// The state to set for this count: `stopped` for 0, else `state`, or `unset`.
#[must_use]
pub fn state_to_set(replicas: i32, state: Option<&str>) -> &str {
    if replicas == 0 { STOPPED } else { state.unwrap_or(UNSET) }
}

/// The facts about a connector, beside its state, on which a plan depends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connector {
    /// The type that Kafka Connect reports, "sink" or "source"; `None` until its status has it.
    pub plugin_type: Option<String>,
    /// The consumer group of its tasks, as long as the workers' own configuration sets no other one.
    pub group: String,
    /// Whether an annotation tells Strimzi not to reconcile the connector.
    pub is_ignored: bool,
}

/// The tasks of a connector, in the place of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tasks {
    /// The client id of their consumers, without the number of the task.
    pub client_id: String,
    /// The state that the connector's status reports, as a sentence without a full stop.
    pub reported: String,
}

impl Tasks {
    /// Whether a client id is that of one of these tasks.
    #[must_use]
    pub fn have_client_id(&self, client_id: &str) -> bool {
        let rest = client_id.strip_prefix(&self.client_id);
        rest.is_some_and(|task| task.is_empty() || task.bytes().all(|digit| digit.is_ascii_digit()))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::its_first_task("connector-consumer-s3-sink-", "connector-consumer-s3-sink-0", true)]
    #[case::its_twelfth("connector-consumer-s3-sink-", "connector-consumer-s3-sink-11", true)]
    #[case::of_a_connector_whose_name_begins_alike("connector-consumer-s3-", "connector-consumer-s3-sink-0", false)]
    #[case::set_by_the_connector("copies", "copies", true)]
    #[case::another_consumer("copies", "orders-consumer", false)]
    fn the_members_of_a_connector_are_told_by_their_client_ids(
        #[case] client_id: &str,
        #[case] member: &str,
        #[case] is_its: bool,
    ) {
        let tasks = Tasks { client_id: client_id.into(), reported: String::new() };
        assert_eq!(tasks.have_client_id(member), is_its);
    }
}
