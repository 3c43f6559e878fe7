//! A group's type and state, from all that the brokers report about it.

use std::{collections::BTreeSet, time::Duration};

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::{other_group_types::OtherType, properties::Context};
use crate::{
    kafka::{
        diagnostics::error_codes,
        ffi::{self, Handle, RawError},
    },
    machine::facts::{Group, GroupDescription, GroupState, GroupType, KafkaErrorKind},
};

/// The time limit for listing the brokers' groups. A broker that needs longer leaves it to the
/// group's coordinator alone.
const LIST_LIMIT: Duration = Duration::from_secs(2);

/// A group as the brokers describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Described {
    /// A consumer group, or none by that name.
    Consumers(Group),
    /// A group of another type.
    Other(OtherType),
    /// A group that its coordinator describes as one that it does not know, while not every broker
    /// has listed its groups: the coordinator's own list decides.
    Unlisted(GroupDescription),
}

/// Describes a group.
///
/// librdkafka sends `ConsumerGroupDescribe`, and where the broker answers that with 69
/// (`GROUP_ID_NOT_FOUND`) or 35, the classic `DescribeGroups` in version 4, which has no "not
/// found". The results, measured on Kafka 4.3.1 with librdkafka 2.12.1 (for Kafka Connect,
/// Assigning and Reconciling: read in its source):
///
/// | group | librdkafka's answer | answer here |
/// |---|---|---|
/// | live, classic | Classic, Stable, `PreparingRebalance` or `CompletingRebalance`, members | the same |
/// | live, KIP-848 | Consumer, Stable, members; Assigning and Reconciling come as Unknown | the same |
/// | empty, classic, or only committed to | Classic, Empty | the same |
/// | empty, KIP-848 | Consumer, Empty | the same |
/// | share, live or empty | **Classic, Dead, no members** | [`OtherType::ShareOrStreams`] |
/// | Streams (KIP-1071), live or empty | **Classic, Dead, no members** | [`OtherType::Streams`], or the same without commits |
/// | of Kafka Connect, live or empty | an error, "not a consumer group (connect)" | [`OtherType::Connect`] |
/// | unknown | Classic, Dead, no members | [`Group::NotFound`] |
///
/// So Dead alone means nothing: it is also the classic answer about a group that became a KIP-848
/// group between the two requests. It is believed only when no broker lists the group (the
/// coordinator lists every live group), or when the group is listed as a consumer group and is
/// still Dead when described again (some brokers keep such groups).
///
/// The brokers' lists contain the type of each group, but librdkafka drops every type other than a
/// consumer group's (`rd_kafka_ListConsumerGroupsResponse_parse`, `rd_kafka_ListGroups_resp_cb`).
/// So a Streams group is told from a share group by what only Streams groups have: committed
/// offsets.
pub(super) fn describe(consumer: &BaseConsumer<Context>, group: &str, limit: Duration) -> Result<Described, RawError> {
    let handle = Handle::new(consumer.client().native_ptr());
    let described = || match ffi::describe_group(handle, group, limit) {
        Ok(found) => Ok(Described::Consumers(Group::Found(found))),
        Err(raw) if error_codes::kind(raw.code) == KafkaErrorKind::GroupNotFound => Ok(Described::Consumers(Group::NotFound)),
        Err(raw) => OtherType::named_in(&raw).map(Described::Other).ok_or(raw),
    };
    let first = described()?;
    if !is_forgotten(&first) {
        return Ok(first);
    }
    let listed = match consumer.fetch_group_list(Some(group), LIST_LIMIT).map_err(|error| error_codes::of_rdkafka(&error)) {
        Ok(listed) => listed,
        Err(raw) if error_codes::kind(raw.code).is_transient() => return Ok(Described::Unlisted(unknown())),
        Err(raw) => return Err(raw),
    };
    if !listed.groups().iter().any(|listed| listed.name() == group) {
        return Ok(Described::Consumers(Group::NotFound));
    }
    let second = described()?;
    if !is_forgotten(&second) {
        return Ok(second);
    }
    match ffi::lists_as_consumer_group(handle, group, LIST_LIMIT) {
        Ok(true) => return Ok(second),
        Ok(false) => {}
        Err(raw) if error_codes::kind(raw.code).is_transient() => return Ok(Described::Unlisted(unknown())),
        Err(raw) => return Err(raw),
    }
    let committed = ffi::list_committed(handle, group, &[None], limit)?;
    let has_committed = committed.iter().any(|(_, answer)| matches!(answer, Ok(Some(_))));
    Ok(Described::Other(if has_committed { OtherType::Streams } else { OtherType::ShareOrStreams }))
}

/// What brokers answer about a group that they do not know.
fn unknown() -> GroupDescription {
    GroupDescription {
        group_type: GroupType::Classic,
        state: GroupState::Dead,
        assignor: String::new(),
        members: vec![],
        assigned_topics: Some(BTreeSet::new()),
    }
}

fn is_forgotten(described: &Described) -> bool {
    match described {
        Described::Consumers(Group::NotFound) => true,
        Described::Consumers(Group::Found(GroupDescription { state, members, .. })) => {
            *state == GroupState::Dead && members.is_empty()
        }
        Described::Other(_) | Described::Unlisted(_) => false,
    }
}
