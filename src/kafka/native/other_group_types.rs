//! Groups that are none of consumers: what they are, and what resets their offsets instead.

use crate::kafka::ffi::{self, Fault};

/// How librdkafka ends its refusal to describe a classic group, before the group's protocol type in parentheses
/// (2.12.1, `rd_kafka_DescribeConsumerGroupsResponse_parse`).
const REFUSAL: &str = " is not a consumer group (";

/// A group that is none of consumers, as far as its kind can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// Kafka Streams on its own protocol (KIP-1071).
    Streams,
    /// A share group (KIP-932), or one of Kafka Streams that has not committed anything.
    ShareOrStreams,
    /// The workers of a Kafka Connect cluster.
    Connect,
    /// A classic group with a protocol type of its own, such as Schema Registry's `sr`.
    Classic(String),
}

impl Others {
    /// The kind that a fault of librdkafka names.
    pub fn named_in(fault: &Fault) -> Option<Self> {
        let (_, protocol) = fault.text.rsplit_once(REFUSAL).filter(|_| fault.code == ffi::INVALID_ARGUMENT)?;
        Some(match protocol.trim_end_matches('.').trim_end_matches(')') {
            "connect" => Self::Connect,
            protocol => Self::Classic(protocol.to_owned()),
        })
    }

    /// What it is and what resets it, for a message that begins with the group's name.
    pub fn explain(&self) -> String {
        match self {
            Self::Streams => format!("it is no consumer group but a Streams group (KIP-1071); {STREAMS}"),
            Self::ShareOrStreams => format!(
                "it is no consumer group but a share group (KIP-932), or a Streams group (KIP-1071) that has committed nothing yet; \
                 the offsets of a share group are reset with kafka-share-groups.sh --reset-offsets; {STREAMS}"
            ),
            Self::Connect => {
                "it is no consumer group but the workers of a Kafka Connect cluster, which commit nothing under this \
                              name; the offsets of a connector are reset through Connect's REST API, /connectors/NAME/offsets, \
                              while the connector is stopped"
                    .to_owned()
            }
            Self::Classic(protocol) => format!(
                "it is no consumer group: its members speak the protocol {protocol:?}, and what they keep is reset by their own tools"
            ),
        }
    }
}

const STREAMS: &str = "a Streams application is reset with kafka-streams-groups.sh --reset-offsets, or \
                       kafka-streams-application-reset.sh in older versions, because its internal topics and state stores have to \
                       be cleaned too";

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::connect(-186, "GroupId workers is not a consumer group (connect).", Some(Others::Connect))]
    #[case::schema_registry(-186, "GroupId registry is not a consumer group (sr).", Some(Others::Classic("sr".into())))]
    #[case::with_an_odd_name(-186, "GroupId a is not a consumer group (b). is not a consumer group (connect).", Some(Others::Connect))]
    #[case::another_argument(-186, "No groups to describe", None)]
    #[case::another_error(30, "GroupId workers is not a consumer group (connect).", None)]
    fn the_protocol_is_read_from_librdkafkas_refusal(#[case] code: i32, #[case] text: &str, #[case] expected: Option<Others>) {
        assert_eq!(Others::named_in(&Fault { code, text: text.into() }), expected);
    }

    #[rstest]
    #[case(Others::Streams, &["Streams group", "kafka-streams-groups.sh --reset-offsets", "state stores"])]
    #[case(Others::ShareOrStreams, &["share group", "kafka-share-groups.sh --reset-offsets", "kafka-streams-groups.sh"])]
    #[case(Others::Connect, &["Kafka Connect", "/connectors/NAME/offsets"])]
    #[case(Others::Classic("sr".into()), &["\"sr\""])]
    fn a_refusal_names_the_type_and_the_right_tool(#[case] others: Others, #[case] expected: &[&str]) {
        for words in expected {
            assert!(others.explain().contains(words), "{}", others.explain());
        }
    }
}
