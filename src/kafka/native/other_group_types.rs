//! Groups that are not consumer groups: their type, and the tool that resets their offsets.

use crate::kafka::ffi::{self, RawError};

/// The end of librdkafka's refusal to describe a classic group, before the group's protocol type in
/// parentheses (2.12.1, `rd_kafka_DescribeConsumerGroupsResponse_parse`).
const REFUSAL: &str = " is not a consumer group (";

/// The type of a group that is not a consumer group, as far as it can be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OtherType {
    /// Kafka Streams on its own protocol (KIP-1071).
    Streams,
    /// A share group (KIP-932), or a Streams group without commits.
    ShareOrStreams,
    /// The workers of a Kafka Connect cluster.
    Connect,
    /// A classic group with a protocol type of its own, such as Schema Registry's `sr`.
    Classic(String),
}

impl OtherType {
    /// The type in an error of librdkafka.
    pub fn named_in(raw: &RawError) -> Option<Self> {
        let (_, protocol) = raw.text.rsplit_once(REFUSAL).filter(|_| raw.code == ffi::INVALID_ARGUMENT)?;
        Some(match protocol.trim_end_matches('.').trim_end_matches(')') {
            "connect" => Self::Connect,
            protocol => Self::Classic(protocol.to_owned()),
        })
    }

    /// The type behind the protocol type with which a coordinator lists a group; `None` for a
    /// consumer group, or one that has only commits.
    pub fn listed_as(protocol: &str) -> Option<Self> {
        Some(match protocol {
            "" | "consumer" => return None,
            "share" => Self::ShareOrStreams,
            "streams" => Self::Streams,
            "connect" => Self::Connect,
            other => Self::Classic(other.to_owned()),
        })
    }

    /// The type, and what resets such a group, for a message that begins with the group's name.
    pub fn explain(&self) -> String {
        match self {
            Self::Streams => format!("it is not a consumer group but a Streams group (KIP-1071); {STREAMS}"),
            Self::ShareOrStreams => format!(
                "it is not a consumer group but a share group (KIP-932), or a Streams group (KIP-1071) that has committed nothing yet; \
                 reset a share group's offsets with kafka-share-groups.sh --reset-offsets; {STREAMS}"
            ),
            Self::Connect => {
                "it is not a consumer group but the group of a Kafka Connect cluster's workers, which commit nothing under this name; \
                 reset a connector's offsets through Connect's REST API, /connectors/NAME/offsets, while the connector is stopped"
                    .to_owned()
            }
            Self::Classic(protocol) => format!(
                "it is not a consumer group: its members use the protocol {protocol:?}; reset it with that application's own tool"
            ),
        }
    }
}

const STREAMS: &str = "reset a Streams application with kafka-streams-groups.sh --reset-offsets, or with \
                       kafka-streams-application-reset.sh in older versions, because its internal topics and state stores must be \
                       cleaned too";

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::connect(-186, "GroupId workers is not a consumer group (connect).", Some(OtherType::Connect))]
    #[case::schema_registry(-186, "GroupId registry is not a consumer group (sr).", Some(OtherType::Classic("sr".into())))]
    #[case::with_an_odd_name(-186, "GroupId a is not a consumer group (b). is not a consumer group (connect).", Some(OtherType::Connect))]
    #[case::another_argument(-186, "No groups to describe", None)]
    #[case::another_error(30, "GroupId workers is not a consumer group (connect).", None)]
    fn the_protocol_is_read_from_librdkafkas_refusal(#[case] code: i32, #[case] text: &str, #[case] expected: Option<OtherType>) {
        assert_eq!(OtherType::named_in(&RawError { code, text: text.into() }), expected);
    }

    #[rstest]
    #[case(OtherType::Streams, &["Streams group", "kafka-streams-groups.sh --reset-offsets", "state stores"])]
    #[case(OtherType::ShareOrStreams, &["share group", "kafka-share-groups.sh --reset-offsets", "kafka-streams-groups.sh"])]
    #[case(OtherType::Connect, &["Kafka Connect", "/connectors/NAME/offsets"])]
    #[case(OtherType::Classic("sr".into()), &["\"sr\""])]
    fn a_refusal_names_the_type_and_the_right_tool(#[case] other: OtherType, #[case] expected: &[&str]) {
        for text in expected {
            assert!(other.explain().contains(text), "{}", other.explain());
        }
    }
}
