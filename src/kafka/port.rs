//! The port to Kafka: what the operator needs of a cluster, in the operator's own types.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::connection::Connection;
use crate::machine::facts::{
    Access, Bounds, Committed, Group, GroupMember, KafkaError, PerPartition, TimestampMatch, TopicPartition,
};

/// What one reset needs of a Kafka cluster. One implementation serves every group of the cluster.
#[async_trait]
pub trait GroupAdmin: Send + Sync {
    /// The cluster's own id, by which two ways to one cluster are told to be the same; `None` where the brokers have none (before 0.10.1).
    ///
    /// # Errors
    /// When no broker answers.
    async fn cluster_id(&self) -> Result<Option<String>, KafkaError>;

    /// Describes a group of the classic or of the consumer protocol (KIP-848), with its members.
    ///
    /// # Errors
    /// The call's own error. A group that the broker does not know is not an error but [`Group::NotFound`]; a group of another
    /// kind (share, Streams, Kafka Connect) is one, `UnsupportedGroupType`, and the message says what it is and what resets it. A live
    /// group is never described as Empty or Dead, and never not found.
    async fn describe_group(&self, group: &str) -> Result<Group, KafkaError>;

    /// The partitions of a topic, ascending.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition` when there is no such topic (it is never created by asking), or the call's own error.
    async fn partitions(&self, topic: &str) -> Result<Vec<i32>, KafkaError>;

    /// The log start and the high watermark of each partition.
    ///
    /// # Errors
    /// The whole call's error; a partition's own error stands with the partition.
    async fn bounds(&self, partitions: &[TopicPartition]) -> Result<PerPartition<Bounds>, KafkaError>;

    /// The last stable offset of each partition: one past the last record whose transaction, if it is in one, is over. Never
    /// above the high watermark, and below it while a transaction is open; that is as far as `read_committed` consumers read.
    ///
    /// # Errors
    /// The whole call's error; a partition's own error stands with the partition.
    async fn stable_ends(&self, partitions: &[TopicPartition]) -> Result<PerPartition<i64>, KafkaError>;

    /// For each partition the first record at or after a time in milliseconds since the epoch;
    /// `None` when no record is that young. Times must not be negative: the protocol has other meanings for those.
    ///
    /// # Errors
    /// The whole call's error; a partition's own error stands with the partition.
    async fn offsets_for_times(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<PerPartition<Option<TimestampMatch>>, KafkaError>;

    /// What the group has committed for each of these partitions, `None` where it has not committed.
    /// Pending transactional commits are waited out by the broker's rule (require stable): `UnstableOffset` says that one is pending.
    ///
    /// # Errors
    /// The whole call's error; a partition's own error stands with the partition.
    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<PerPartition<Option<Committed>>, KafkaError>;

    /// Everything that the group has committed, over all topics. A partition with a commit has the error `UnstableOffset` while
    /// another one is pending in a transaction; where only a pending one exists, the broker leaves the partition out. So for
    /// partitions that are known by name, ask [`GroupAdmin::committed`].
    ///
    /// # Errors
    /// The whole call's error; a partition's own error stands with the partition.
    async fn all_committed(&self, group: &str) -> Result<PerPartition<Option<Committed>>, KafkaError>;

    /// Commits offsets for a group that has no members, each with its metadata string. Each partition has its own answer,
    /// and only that answer counts: a call that succeeded may have committed nothing.
    ///
    /// # Errors
    /// The whole call's error: nothing was committed, except that `Timeout` and `Unreachable`, of the call or of a partition,
    /// leave open whether it was: read back. A negative offset is an error of its partition and is never sent.
    async fn commit(&self, group: &str, offsets: &[(TopicPartition, Committed)]) -> Result<PerPartition<()>, KafkaError>;

    /// Takes members out of a classic group, as if they had left. Each by its member id, so that a later incarnation of a static member is
    /// never meant; one that is not in it any more is no error. Needs Read on the group, Kafka 2.4 or newer.
    ///
    /// # Errors
    /// When one of them could not be taken out, or nobody knows.
    async fn remove_members(&self, group: &str, members: &[GroupMember]) -> Result<(), KafkaError>;

    /// Whether we may read the group and the topics, which is what a commit needs, from the operations that the broker lists
    /// when it describes them (KIP-430, Kafka 2.3). Changes nothing: neither is created by asking. Where the broker refuses the
    /// question itself, reading is refused too, for whoever may read may describe.
    ///
    /// # Errors
    /// When nobody answered; a refusal is an answer.
    async fn access(&self, group: &str, topics: &[String]) -> Result<Access, KafkaError>;
}

/// For how long from now commits may be under way; zero when none may be sent. Asked right before each request that commits,
/// which then has no more time than that.
pub type Allowance = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Hands out clients.
#[async_trait]
pub trait Connector: Send + Sync {
    /// The client for a connection: a pooled one when there is one. No network call is made here.
    ///
    /// # Errors
    /// When the client cannot be made at all, for example from a bootstrap list that cannot be parsed.
    async fn connect(&self, connection: &Connection) -> Result<Arc<dyn GroupAdmin>, KafkaError>;
}
