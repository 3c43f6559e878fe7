//! The meaning of Kafka's and librdkafka's error codes.

use crate::{
    kafka::ffi::RawError,
    machine::facts::{KafkaError, KafkaErrorKind},
};

/// librdkafka's codes for "no broker answers", "the connection broke", "authentication failed" and TLS.
pub(in crate::kafka) const ALL_BROKERS_DOWN: i32 = -187;
pub(in crate::kafka) const TRANSPORT: i32 = -195;
pub(in crate::kafka) const NOT_AUTHENTICATED: i32 = -169;
pub(in crate::kafka) const TLS: i32 = -181;

/// The errors of a connection, as opposed to those of a request.
const CONNECTION: [i32; 3] = [ALL_BROKERS_DOWN, TLS, NOT_AUTHENTICATED];

/// A code of our own, which neither Kafka nor librdkafka has: the token endpoint does not work,
/// whoever the client is.
pub(in crate::kafka) const TOKEN_ENDPOINT: i32 = -10_000;

/// The kind of a code; librdkafka's own codes are negative. An unknown code is
/// [`KafkaErrorKind::Other`].
pub(in crate::kafka) fn kind(code: i32) -> KafkaErrorKind {
    match code {
        // UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID; librdkafka's own, from its metadata.
        3 | 100 | -188 | -190 => KafkaErrorKind::UnknownTopicOrPartition,
        // No leader, not the leader, no replica or a broken disk on the leader, outdated epochs,
        // OFFSET_NOT_AVAILABLE.
        5 | 6 | 9 | 56 | 72 | 74 | 75 | 78 => KafkaErrorKind::Leader,
        12 => KafkaErrorKind::MetadataTooLarge,
        // Loading, not available, on another broker; librdkafka waits for one.
        14..=16 | -180 => KafkaErrorKind::Coordinator,
        // ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS, FENCED_INSTANCE_ID, FENCED
        // and STALE_MEMBER_EPOCH; and for the removal of offsets NON_EMPTY_GROUP and
        // GROUP_SUBSCRIBED_TO_TOPIC: they all mean that the group has members.
        22 | 25 | 27 | 68 | 82 | 86 | 110 | 113 => KafkaErrorKind::UnknownMember,
        29..=31 => KafkaErrorKind::Authorization,
        33 | 34 | 58 | NOT_AUTHENTICATED => KafkaErrorKind::Authentication,
        43 => KafkaErrorKind::UnsupportedForMessageFormat,
        69 => KafkaErrorKind::GroupNotFound,
        88 => KafkaErrorKind::UnstableOffset,
        // Timed out: at the broker, here, as a message, in a queue; a client that was closed
        // during the call; and a call to several brokers of which not all have answered (-158).
        7 | -185 | -192 | -166 | -197 | -158 => KafkaErrorKind::Timeout,
        unreadable if is_unreadable(unreadable) => KafkaErrorKind::Timeout,
        TLS => KafkaErrorKind::Tls,
        TOKEN_ENDPOINT => KafkaErrorKind::TokenEndpoint,
        // Network exception, transport, resolve, all brokers down.
        13 | TRANSPORT | -193 | ALL_BROKERS_DOWN => KafkaErrorKind::Unreachable,
        // UNKNOWN_SERVER_ERROR: an unexpected exception in the broker.
        -1 => KafkaErrorKind::Server,
        _ => KafkaErrorKind::Other,
    }
}

/// An answer that cannot be read (a bad message, bad compression, too short), or whose broker's
/// handle is gone. It counts as no answer, because the request may have been carried out; but
/// unlike after a timeout, nothing waits for an answer any more.
pub(in crate::kafka) fn is_unreadable(code: i32) -> bool {
    matches!(code, -199 | -198 | -155 | -137)
}

/// Whether an error is about a group's coordinator: nothing was done, and the same request may soon
/// succeed.
pub(in crate::kafka) fn is_coordinator(raw: &RawError) -> bool {
    kind(raw.code) == KafkaErrorKind::Coordinator
}

/// How far a request came that ended with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// No broker has answered anything.
    NoAnswer,
    /// A broker has answered, and refused the authentication.
    Authentication,
    /// A broker has answered the request.
    Answered,
    /// The error does not tell.
    Unknown,
}

fn progress(kind: KafkaErrorKind) -> Progress {
    match kind {
        KafkaErrorKind::Unreachable
        | KafkaErrorKind::Timeout
        | KafkaErrorKind::SecretUnavailable
        | KafkaErrorKind::FileUnavailable
        | KafkaErrorKind::SecretInvalid
        | KafkaErrorKind::Tls
        | KafkaErrorKind::TokenEndpoint
        | KafkaErrorKind::NotAllowed => Progress::NoAnswer,
        KafkaErrorKind::Authentication => Progress::Authentication,
        KafkaErrorKind::Authorization
        | KafkaErrorKind::Coordinator
        | KafkaErrorKind::UnknownMember
        | KafkaErrorKind::UnknownTopicOrPartition
        | KafkaErrorKind::Leader
        | KafkaErrorKind::GroupNotFound
        | KafkaErrorKind::UnsupportedGroupType
        | KafkaErrorKind::OtherCluster
        | KafkaErrorKind::UnsupportedForMessageFormat
        | KafkaErrorKind::UnstableOffset
        | KafkaErrorKind::MetadataTooLarge
        | KafkaErrorKind::Server => Progress::Answered,
        KafkaErrorKind::Other => Progress::Unknown,
    }
}

/// Whether no answer to the request has come, so that it may or may not have been carried out.
pub(in crate::kafka) fn outcome_unknown(kind: KafkaErrorKind) -> bool {
    matches!(progress(kind), Progress::NoAnswer | Progress::Authentication)
}

/// Whether the error may have come about without any broker.
pub(in crate::kafka) fn without_broker(kind: KafkaErrorKind) -> bool {
    matches!(progress(kind), Progress::NoAnswer | Progress::Unknown)
}

/// The raw error in an error of rdkafka.
pub(in crate::kafka) fn of_rdkafka(error: &rdkafka::error::KafkaError) -> RawError {
    match error.rdkafka_error_code() {
        Some(code) => RawError::of_code(code as i32),
        // Without the value, which may be a password or a key.
        None => match error {
            rdkafka::error::KafkaError::ClientConfig(_, _, name, _) => {
                RawError::invalid(format!("librdkafka does not accept the value of {name}"))
            }
            other => RawError::invalid(other.to_string()),
        },
    }
}

/// An error of the port. `about` is what it concerns: a group, a topic, a partition.
pub(in crate::kafka) fn error(raw: &RawError, about: &str) -> KafkaError {
    // An error of the connection concerns nothing else, and its code is librdkafka's own.
    let is_connection = CONNECTION.contains(&raw.code);
    // librdkafka may name its worker before the broker's text; only the latter counts.
    let text = raw.text.rsplit_once(": Broker: ").map_or(raw.text.as_str(), |(_, text)| text);
    let text = text.trim_start_matches("Broker: ").trim_start_matches("Local: ");
    let mut text = if is_connection { raw.text.clone() } else { text.to_owned() };
    // Unless the text begins with a name in capitals.
    let in_capitals = text.chars().nth(1).is_some_and(char::is_uppercase);
    if let Some(first) = text.get_mut(..1).filter(|_| !in_capitals) {
        first.make_ascii_lowercase();
    }
    let message = if is_connection {
        text
    } else if about.is_empty() {
        format!("{text} (code {})", raw.code)
    } else {
        format!("{about}: {text} (code {})", raw.code)
    };
    KafkaError::new(kind(raw.code), message)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::topic_deleted(3, KafkaErrorKind::UnknownTopicOrPartition, false)]
    #[case::leader_not_available(5, KafkaErrorKind::Leader, true)]
    #[case::not_leader(6, KafkaErrorKind::Leader, true)]
    #[case::offset_not_available(78, KafkaErrorKind::Leader, true)]
    #[case::coordinator_loading(14, KafkaErrorKind::Coordinator, true)]
    #[case::coordinator_not_available(15, KafkaErrorKind::Coordinator, true)]
    #[case::not_coordinator(16, KafkaErrorKind::Coordinator, true)]
    #[case::waiting_for_a_coordinator(-180, KafkaErrorKind::Coordinator, true)]
    #[case::rebalancing(27, KafkaErrorKind::UnknownMember, true)]
    #[case::stale_epoch(113, KafkaErrorKind::UnknownMember, true)]
    #[case::non_empty_group(68, KafkaErrorKind::UnknownMember, true)]
    #[case::group_subscribed_to_topic(86, KafkaErrorKind::UnknownMember, true)]
    #[case::illegal_generation(22, KafkaErrorKind::UnknownMember, true)]
    #[case::unknown_member(25, KafkaErrorKind::UnknownMember, true)]
    #[case::topic_not_authorized(29, KafkaErrorKind::Authorization, false)]
    #[case::group_not_authorized(30, KafkaErrorKind::Authorization, false)]
    #[case::cluster_not_authorized(31, KafkaErrorKind::Authorization, false)]
    #[case::sasl(58, KafkaErrorKind::Authentication, false)]
    #[case::local_authentication(-169, KafkaErrorKind::Authentication, false)]
    #[case::no_times(43, KafkaErrorKind::UnsupportedForMessageFormat, false)]
    #[case::no_group(69, KafkaErrorKind::GroupNotFound, false)]
    #[case::pending_transaction(88, KafkaErrorKind::UnstableOffset, true)]
    #[case::timed_out(-185, KafkaErrorKind::Timeout, true)]
    #[case::transport(-195, KafkaErrorKind::Unreachable, true)]
    #[case::resolve(-193, KafkaErrorKind::Unreachable, true)]
    #[case::all_brokers_down(-187, KafkaErrorKind::Unreachable, true)]
    #[case::timed_out_in_a_queue(-166, KafkaErrorKind::Timeout, true)]
    #[case::timed_out_at_the_broker(7, KafkaErrorKind::Timeout, true)]
    #[case::client_closed(-197, KafkaErrorKind::Timeout, true)]
    #[case::broker_closed(-137, KafkaErrorKind::Timeout, true)]
    #[case::not_every_broker_has_answered(-158, KafkaErrorKind::Timeout, true)]
    #[case::unreadable(-199, KafkaErrorKind::Timeout, true)]
    #[case::badly_compressed(-198, KafkaErrorKind::Timeout, true)]
    #[case::too_short(-155, KafkaErrorKind::Timeout, true)]
    #[case::tls(-181, KafkaErrorKind::Tls, false)]
    #[case::unknown_to_the_metadata(-190, KafkaErrorKind::UnknownTopicOrPartition, false)]
    #[case::concurrent_transactions(51, KafkaErrorKind::Other, false)]
    #[case::unknown_server_error(-1, KafkaErrorKind::Server, true)]
    #[case::invalid_commit_size(28, KafkaErrorKind::Other, false)]
    #[case::no_error_is_no_meaning(0, KafkaErrorKind::Other, false)]
    #[case::metadata_too_large(12, KafkaErrorKind::MetadataTooLarge, false)]
    #[case::of_the_future(4711, KafkaErrorKind::Other, false)]
    fn a_code_means(#[case] code: i32, #[case] expected: KafkaErrorKind, #[case] transient: bool) {
        assert_eq!(kind(code), expected);
        assert_eq!(kind(code).is_transient(), transient);
    }

    #[test]
    fn a_message_says_what_it_is_about_in_lower_case() {
        let raw = RawError { code: 3, text: "Broker: Unknown topic or partition".into() };
        assert_eq!(error(&raw, "partition orders-3").message, "partition orders-3: unknown topic or partition (code 3)");
        let raw = RawError { code: -155, text: "LISTOFFSETS worker failed".into() };
        assert_eq!(error(&raw, "").message, "LISTOFFSETS worker failed (code -155)");
        let text =
            "LISTCONSUMERGROUPOFFSETS worker failed to parse response: response failure: Broker: Group authorization failed";
        assert_eq!(
            error(&RawError { code: 30, text: text.into() }, "group g").message,
            "group g: group authorization failed (code 30)"
        );
        let raw = RawError { code: -187, text: "no broker of kafka:9092 answers: why".into() };
        assert_eq!(error(&raw, "the cluster").message, "no broker of kafka:9092 answers: why");
    }
}
