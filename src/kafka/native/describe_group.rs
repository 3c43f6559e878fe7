//! What a group is and how it is, from all that the brokers say about it.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::{other_group_types::Others, properties::Context};
use crate::{
    kafka::{
        diagnostics::error_codes,
        ffi::{self, Fault, Handle},
    },
    machine::facts::{Group, GroupDescription, GroupState, KafkaErrorKind},
};

/// How long the brokers may take to list their groups.
const LIST_LIMIT: Duration = Duration::from_secs(5);

/// What the brokers say about a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Described {
    /// It is one of consumers, or there is none.
    Consumers(Group),
    /// It is one of something else.
    Others(Others),
}

/// Describes a group.
///
/// librdkafka asks `ConsumerGroupDescribe`, and where the broker answers that with 69 (`GROUP_ID_NOT_FOUND`) or 35 it asks the
/// classic `DescribeGroups` in version 4, which has no "not found". What comes back of that, measured on Kafka 4.3.1 with
/// librdkafka 2.12.1 (Kafka Connect, and Assigning and Reconciling, as its source says):
///
/// | group | librdkafka's answer | answer here |
/// |---|---|---|
/// | live, classic | Classic, Stable, `PreparingRebalance` or `CompletingRebalance`, members | the same |
/// | live, KIP-848 | Consumer, Stable, members; Assigning and Reconciling come as Unknown | the same |
/// | empty, classic, or only committed to | Classic, Empty | the same |
/// | empty, KIP-848 | Consumer, Empty | the same |
/// | share, live or empty | **Classic, Dead, no members** | [`Others::ShareOrStreams`] |
/// | Streams (KIP-1071), live or empty | **Classic, Dead, no members** | [`Others::Streams`], or the same without commits |
/// | of Kafka Connect, live or empty | an error, "not a consumer group (connect)" | [`Others::Connect`] |
/// | unknown | Classic, Dead, no members | [`Group::NotFound`] |
///
/// So Dead alone says nothing: it is also the classic answer about a group that became a KIP-848 group between the two
/// questions. It is believed only when no broker lists the group (every live group is listed by its coordinator), or when it is
/// listed as a group of consumers and is still Dead when asked again (some brokers keep such groups).
///
/// The brokers' lists name the type of each group, but librdkafka drops every name that is not a consumer's before anybody can
/// read it (`rd_kafka_ListConsumerGroupsResponse_parse`, `rd_kafka_ListGroups_resp_cb`). So Streams is told from share by what
/// only Streams has: committed offsets.
pub(super) fn describe(consumer: &BaseConsumer<Context>, group: &str, limit: Duration) -> Result<Described, Fault> {
    let handle = Handle::new(consumer.client().native_ptr());
    let described = || match ffi::describe_group(handle, group, limit) {
        Ok(found) => Ok(Described::Consumers(Group::Found(found))),
        Err(fault) if error_codes::kind(fault.code) == KafkaErrorKind::GroupNotFound => Ok(Described::Consumers(Group::NotFound)),
        Err(fault) => Others::named_in(&fault).map(Described::Others).ok_or(fault),
    };
    let first = described()?;
    if !is_forgotten(&first) {
        return Ok(first);
    }
    let listed = consumer.fetch_group_list(Some(group), LIST_LIMIT).map_err(|error| error_codes::of_rdkafka(&error))?;
    if !listed.groups().iter().any(|listed| listed.name() == group) {
        return Ok(Described::Consumers(Group::NotFound));
    }
    let second = described()?;
    if !is_forgotten(&second) || ffi::lists_as_consumer_group(handle, group, LIST_LIMIT)? {
        return Ok(second);
    }
    let committed = ffi::list_committed(handle, group, &[None], limit)?;
    let has_committed = committed.iter().any(|(_, answer)| matches!(answer, Ok(Some(_))));
    Ok(Described::Others(if has_committed { Others::Streams } else { Others::ShareOrStreams }))
}

fn is_forgotten(described: &Described) -> bool {
    match described {
        Described::Consumers(Group::NotFound) => true,
        Described::Consumers(Group::Found(GroupDescription { state, members, .. })) => {
            *state == GroupState::Dead && members.is_empty()
        }
        Described::Others(_) => false,
    }
}
