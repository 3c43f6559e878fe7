//! The port to Kafka: what the operator needs of a cluster, in the operator's own types.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::connection::Connection;
use crate::machine::facts::{
    Access, Bounds, Committed, Group, GroupMember, KafkaError, KafkaErrorKind, PerPartition, TimestampMatch, TopicConfig,
    TopicPartition,
};

/// What a reset needs of a Kafka cluster. One client serves every group of the cluster.
#[async_trait]
pub trait GroupAdmin: Send + Sync {
    /// Tells that a reset that holds consumers is about to use the client: for some minutes it goes
    /// before clients of resets that hold nothing, where something is scarce.
    fn prefer(&self) {}

    /// The cluster's id, by which two connections to one cluster are recognized; `None` where the
    /// brokers have none (before 0.10.1).
    ///
    /// # Errors
    /// When no broker answers.
    async fn cluster_id(&self) -> Result<Option<String>, KafkaError>;

    /// Describes a group of the classic or of the consumer protocol (KIP-848), with its members.
    ///
    /// # Errors
    /// The call's own error. An unknown group is not an error but [`Group::NotFound`]. A group of
    /// another type (share, Streams, Kafka Connect) is the error `UnsupportedGroupType`, and the
    /// message names the type and the tool that resets it. A live group is never described as Empty
    /// or Dead, and never not found.
    async fn describe_group(&self, group: &str) -> Result<Group, KafkaError>;

    /// The partitions of each topic, ascending, by one request for all topics.
    ///
    /// # Errors
    /// The whole call's error; a topic's own error is its entry in the result, and
    /// `UnknownTopicOrPartition` when there is no such topic (the request never creates it).
    async fn topics(&self, names: &[String]) -> Result<BTreeMap<String, Result<Vec<i32>, KafkaError>>, KafkaError>;

    /// The partitions of one topic, as [`GroupAdmin::topics`].
    ///
    /// # Errors
    /// The topic's own error, or the call's.
    async fn partitions(&self, topic: &str) -> Result<Vec<i32>, KafkaError> {
        let found = self.topics(&[topic.to_owned()]).await?.remove(topic);
        found.unwrap_or_else(|| Err(unanswered(topic)))
    }

    /// The log start and the high watermark of each partition.
    ///
    /// # Errors
    /// The whole call's error; a partition's own error is its entry in the result.
    async fn bounds(&self, partitions: &[TopicPartition]) -> Result<PerPartition<Bounds>, KafkaError>;

    /// The last stable offset of each partition, up to which `read_committed` consumers read: the
    /// first offset of the earliest open transaction, or the high watermark when no transaction is
    /// open.
    ///
    /// # Errors
    /// The whole call's error; a partition's own error is its entry in the result.
    async fn stable_ends(&self, partitions: &[TopicPartition]) -> Result<PerPartition<i64>, KafkaError>;

    /// For each partition the first record at or after a time in milliseconds since the epoch;
    /// `None` when no record is that recent. A negative time is an error of its partition: it has
    /// another meaning in the protocol.
    ///
    /// # Errors
    /// The whole call's error; a partition's own error is its entry in the result.
    async fn offsets_for_times(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<PerPartition<Option<TimestampMatch>>, KafkaError>;

    /// The group's committed offset of each partition; `None` without a commit. While a
    /// transactional commit is pending, the partition has the error `UnstableOffset` (Kafka's
    /// "require stable").
    ///
    /// # Errors
    /// The whole call's error; a partition's own error is its entry in the result.
    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<PerPartition<Option<Committed>>, KafkaError>;

    /// All committed offsets of the group, over all topics. A partition with a commit has the error
    /// `UnstableOffset` while another commit is pending in a transaction. The broker leaves out a
    /// partition with only a pending commit, so use [`GroupAdmin::committed`] for partitions that
    /// are known.
    ///
    /// # Errors
    /// The whole call's error; a partition's own error is its entry in the result.
    async fn all_committed(&self, group: &str) -> Result<PerPartition<Option<Committed>>, KafkaError>;

    /// Commits offsets for a group without members, each with its metadata string. Only each
    /// partition's own answer counts: a successful call may have committed nothing.
    ///
    /// # Errors
    /// The whole call's error: nothing was committed. But after `Timeout` and `Unreachable`, of the
    /// call or of a partition, the offset may have been committed: read it back. A negative offset
    /// is an error of its partition, and is not sent.
    async fn commit(&self, group: &str, offsets: &[(TopicPartition, Committed)]) -> Result<PerPartition<()>, KafkaError>;

    /// Removes committed offsets of a group without members (KIP-496, Kafka 2.4). Where there is
    /// none, that is no error. Needs Delete on the group and Read on the topics.
    ///
    /// # Errors
    /// As those of [`GroupAdmin::commit`].
    async fn delete_offsets(&self, group: &str, partitions: &[TopicPartition]) -> Result<PerPartition<()>, KafkaError>;

    /// Removes members from a classic group, as if they had left. Each by its member id, so that a
    /// later incarnation of a static member stays. A member that has left already is not an error.
    /// Needs Read on the group, and Kafka 2.4 or newer.
    ///
    /// # Errors
    /// When a member could not be removed, or when the outcome is unknown.
    async fn remove_members(&self, group: &str, members: &[GroupMember]) -> Result<(), KafkaError>;

    /// Whether the operator may read the group and the topics, which a commit needs, and delete
    /// from the group, which the removal of offsets needs, from the operations that the broker reports with their descriptions (KIP-430, Kafka 2.3). Creates
    /// neither group nor topic. Where the broker refuses the description, reading is refused too,
    /// because the right to read includes the right to describe. The answer has the topics' ids too, as [`GroupAdmin::topic_ids`].
    ///
    /// # Errors
    /// When no broker answered; a refusal is an answer.
    async fn access(&self, group: &str, topics: &[String]) -> Result<Access, KafkaError>;

    /// The id of each topic, by which a topic is told from a later one of the same name. Left out
    /// are topics that do not exist or may not be described, and all topics of brokers that have no
    /// ids (before Kafka 2.8).
    ///
    /// # Errors
    /// When no broker answered; a refusal is an answer.
    async fn topic_ids(&self, topics: &[String]) -> Result<BTreeMap<String, String>, KafkaError>;

    /// How long each topic keeps its records. Needs `DescribeConfigs` on the topics. A topic without
    /// an answer is left out.
    ///
    /// # Errors
    /// When no broker answered; a refusal is the topic's own error.
    async fn topic_configs(&self, topics: &[String]) -> Result<TopicConfigs, KafkaError>;

    /// The `consumer.session.timeout.ms` of a group of the new protocol (KIP-848). `None` where the broker does not say it. Needs
    /// `DescribeConfigs` on the group, and Kafka 4.0.
    ///
    /// # Errors
    /// When no broker answered, or when the broker refuses the request.
    async fn session_timeout(&self, group: &str) -> Result<Option<Duration>, KafkaError>;
}

/// An answer for each topic.
pub type TopicConfigs = BTreeMap<String, Result<TopicConfig, KafkaError>>;

/// The error of a topic without an answer.
pub(super) fn unanswered(topic: &str) -> KafkaError {
    KafkaError::new(KafkaErrorKind::Timeout, format!("topic {topic}: there was no answer"))
}

/// For how long from now a commit may be under way; zero when none may be sent. Called right before commit requests are sent, whose
/// time limit it is.
pub type Allowance = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Provides clients.
#[async_trait]
pub trait Connector: Send + Sync {
    /// The client for a connection, from a pool when it has one. Makes no network call.
    ///
    /// # Errors
    /// When the client cannot be created, for example without a bootstrap server.
    async fn connect(&self, connection: &Connection) -> Result<Arc<dyn GroupAdmin>, KafkaError>;
}
