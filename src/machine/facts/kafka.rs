//! Kafka as the adapter in `kafka` describes it. Plain data, without a client behind it.

use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::machine::metadata::Metadata;

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

/// As Kafka's tools write it: `topic-partition`.
impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// The first and the next offset of a partition's log, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// The log start offset: the smallest that can be consumed. Includes tiered storage.
    pub start: i64,
    /// The high watermark: one past the last record. Equal to `start` when the partition is empty.
    pub end: i64,
}

/// The first record at or after a time: what `ListOffsets` by timestamp answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimestampMatch {
    /// The record's offset.
    pub offset: i64,
    /// The record's own timestamp, in milliseconds since the epoch.
    pub timestamp: i64,
}

/// A committed offset of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The offset that a consumer would start from.
    pub offset: i64,
    /// The string that was stored beside it, empty when there was none.
    pub metadata: Metadata,
}

/// Which protocol a group speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupType {
    /// The classic protocol: the consumers assign the partitions.
    Classic,
    /// KIP-848: the broker assigns the partitions.
    Consumer,
    /// The broker did not report it, or reported a type that this operator does not know.
    Unknown,
}

/// A group's state, in the words of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupState {
    /// No members; committed offsets may exist.
    Empty,
    /// The broker (3.x) does not know the group, or is about to forget it.
    Dead,
    /// Members consume.
    Stable,
    /// Classic: members are being called together again.
    PreparingRebalance,
    /// Classic: the leader's assignment is awaited.
    CompletingRebalance,
    /// The broker did not report it, or reported a state newer than this operator; never taken for
    /// empty.
    Unknown,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMember {
    /// The member id that the coordinator gave.
    pub member_id: String,
    /// The consumer's `client.id`.
    pub client_id: String,
    /// The consumer's `group.instance.id`, when it is a static member.
    pub instance_id: Option<String>,
    /// The address from which it speaks to the broker, without Kafka's leading slash.
    pub host: String,
    /// How many partitions it has been assigned.
    pub assigned: usize,
}

/// A group that the broker knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDescription {
    /// The protocol it speaks.
    pub group_type: GroupType,
    /// Its state.
    pub state: GroupState,
    /// The partition assignor that the members agreed on, as the broker names it; empty when there
    /// is none, as in a classic group without members. Kafka Streams applications on the classic
    /// protocol have `stream` here.
    pub assignor: String,
    /// Its members, in the order of the broker's answer.
    pub members: Vec<GroupMember>,
    /// The topics of which its members have been assigned partitions. Empty while the members wait
    /// for their assignment; `None` when there are too many topics to tell.
    pub assigned_topics: Option<BTreeSet<String>>,
}

/// The broker's answer about a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Group {
    /// `GROUP_ID_NOT_FOUND`: the broker (4.x) does not know it (KIP-1043).
    NotFound,
    /// The broker described it.
    Found(GroupDescription),
}

/// The kind of an error of Kafka, from a closed set: the status' reason follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KafkaErrorKind {
    /// No broker answered: name not resolved, connection refused, or silence until the limit.
    Unreachable,
    /// A Secret of the connection cannot be read, or lacks a key.
    SecretUnavailable,
    /// Such a Secret holds something unusable.
    SecretInvalid,
    /// The ConfigMap of `spec.resetsFrom` cannot be read, or lacks the key.
    FileUnavailable,
    /// TLS failed: the certificate of the broker or of the token endpoint is not accepted, or they
    /// share no protocol with the operator.
    Tls,
    /// The token endpoint returns no token: it cannot be reached, or is not a token endpoint.
    TokenEndpoint,
    /// The operator's administrator has not allowed this.
    NotAllowed,
    /// The broker, or the token endpoint, did not accept the credentials.
    Authentication,
    /// The broker does not allow this to the operator's principal (29, 30, 31).
    Authorization,
    /// The group's coordinator is loading, missing or elsewhere (14, 15, 16).
    Coordinator,
    /// The group has members, and the operator is not one of them (25): wait again.
    UnknownMember,
    /// The topic or the partition does not exist (3).
    UnknownTopicOrPartition,
    /// The partition has no leader, or it is moving (5, 6, 78).
    Leader,
    /// The group does not exist (69).
    GroupNotFound,
    /// The group is not a consumer group: share, Kafka Streams (KIP-1071), Kafka Connect. The
    /// message names the tool for those.
    UnsupportedGroupType,
    /// The brokers are those of another cluster than the one that the plan is for.
    OtherCluster,
    /// The broker's log format has no times (43).
    UnsupportedForMessageFormat,
    /// A transactional commit is still pending on the partition (88).
    UnstableOffset,
    /// The metadata string of a commit is longer than the broker allows (12).
    MetadataTooLarge,
    /// A call had no answer: whether it was carried out is not known.
    Timeout,
    /// The broker failed while it worked on the request (-1): whether it was carried out is not
    /// known.
    Server,
    /// Anything else; the message says what.
    Other,
}

impl KafkaErrorKind {
    /// Whether the same call may succeed later without a change by a user.
    #[must_use]
    pub fn is_transient(self) -> bool {
        match self {
            Self::Unreachable
            | Self::SecretUnavailable
            | Self::FileUnavailable
            | Self::TokenEndpoint
            | Self::Coordinator
            | Self::UnknownMember
            | Self::Leader
            | Self::UnstableOffset
            | Self::Server
            | Self::Timeout => true,
            Self::SecretInvalid
            | Self::Tls
            | Self::NotAllowed
            | Self::Authentication
            | Self::Authorization
            | Self::UnknownTopicOrPartition
            | Self::GroupNotFound
            | Self::UnsupportedGroupType
            | Self::OtherCluster
            | Self::UnsupportedForMessageFormat
            | Self::MetadataTooLarge
            | Self::Other => false,
        }
    }
}

/// An error of Kafka: of a whole call, or of one partition in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct KafkaError {
    /// Its kind.
    pub kind: KafkaErrorKind,
    /// Kafka's own message with its subject, in lower case, without secrets.
    pub message: String,
}

impl KafkaError {
    /// An error of `kind` with a message.
    pub fn new(kind: KafkaErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// An answer per partition: every partition that was asked about is a key.
pub type PerPartition<T> = BTreeMap<TopicPartition, Result<T, KafkaError>>;

/// Whether the operator may read a group and topics, as a commit needs, and delete from the group (KIP-430). `None` where the
/// broker does not report it. With the topics' ids, which the same answer has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The group. Kafka (measured: 4.3.1) reports it even for a group that does not exist yet.
    pub group_read: Option<bool>,
    /// Whether committed offsets of the group may be removed.
    #[serde(default)]
    pub group_delete: Option<bool>,
    /// Each topic that was asked about. `None` even for a topic that does not exist.
    pub topics_read: BTreeMap<String, Option<bool>>,
    /// The id of each topic, where the brokers have ids.
    pub topic_ids: BTreeMap<String, String>,
}
