//! Why there is no plan.

use jiff::SignedDuration;

use super::facts::{KafkaError, KafkaErrorKind};
use crate::api::Reason;

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason that the status gives.
    pub reason: Reason,
    /// In words.
    pub message: String,
    /// Whether the same attempt may go well a little later.
    pub transient: bool,
    /// How long it may take until it is gone, when that is longer than planning waits otherwise.
    pub patience: Option<SignedDuration>,
}

impl Refusal {
    /// One that will not heal by itself.
    #[must_use]
    pub fn lasting(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), transient: false, patience: None }
    }

    /// One that may be gone a little later.
    #[must_use]
    pub fn passing(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), transient: true, patience: None }
    }

    /// The refusal that follows from an error of Kafka about something, such as "topic orders".
    #[must_use]
    pub fn from_kafka(error: &KafkaError, about: &str) -> Self {
        // What an error is about it may have said itself, with or without the word that says what that is.
        let name = about.rsplit_once(' ').map_or(about, |(_, name)| name);
        let message = match error.message.strip_prefix(name) {
            _ if about.is_empty() || error.message.starts_with(about) => error.message.clone(),
            Some(rest) if rest.starts_with(": ") => format!("{about}{rest}"),
            Some(_) | None => format!("{about}: {}", error.message),
        };
        Self { reason: kafka_reason(error.kind), message, transient: error.kind.is_transient(), patience: None }
    }
}

/// The reason for a kind of error.
#[must_use]
pub fn kafka_reason(kind: KafkaErrorKind) -> Reason {
    match kind {
        KafkaErrorKind::Unreachable | KafkaErrorKind::Timeout => Reason::BrokerUnreachable,
        KafkaErrorKind::SecretUnavailable | KafkaErrorKind::SecretInvalid => Reason::SecretUnavailable,
        KafkaErrorKind::Tls => Reason::TlsFailed,
        KafkaErrorKind::TokenEndpoint => Reason::TokenEndpointFailed,
        KafkaErrorKind::NotAllowed => Reason::TokenEndpointNotAllowed,
        KafkaErrorKind::Authentication => Reason::AuthenticationFailed,
        KafkaErrorKind::Authorization => Reason::AuthorizationFailed,
        KafkaErrorKind::UnknownTopicOrPartition => Reason::TopicNotFound,
        KafkaErrorKind::Leader => Reason::NoLeader,
        KafkaErrorKind::GroupNotFound => Reason::GroupNotFound,
        KafkaErrorKind::UnsupportedGroupType => Reason::UnsupportedGroupType,
        KafkaErrorKind::OtherCluster => Reason::ClusterChanged,
        KafkaErrorKind::UnsupportedForMessageFormat => Reason::TimestampsUnsupported,
        KafkaErrorKind::UnknownMember => Reason::GroupNotEmpty,
        KafkaErrorKind::Coordinator | KafkaErrorKind::UnstableOffset | KafkaErrorKind::Server | KafkaErrorKind::Other => {
            Reason::KafkaError
        }
    }
}
