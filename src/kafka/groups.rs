//! What a group is and how it is, from all that the brokers say about it.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka_sys as sys;

use super::{
    config::Context,
    errors,
    ffi::{self, Fault, Handle},
};
use crate::machine::world::{Group, GroupDescription, GroupState, GroupType, KafkaErrorKind};

/// How long the brokers may take to list their groups.
const LIST_LIMIT: Duration = Duration::from_secs(5);

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
/// | live, share | **Classic, Dead, no members** | an error that says so |
/// | live, of Kafka Connect | an error, "not a consumer group (connect)" | the same |
/// | unknown | Classic, Dead, no members | [`Group::NotFound`] |
///
/// So Dead alone says nothing: it is also the classic answer about a group that became a KIP-848 group between the two
/// questions. It is believed only when no broker lists the group (every live group is listed by its coordinator), or when it is
/// listed as a group of consumers and is still Dead when asked again (some brokers keep such groups).
pub(super) fn describe(consumer: &BaseConsumer<Context>, group: &str, limit: Duration) -> Result<Group, Fault> {
    let handle = Handle::new(consumer.client().native_ptr());
    let described = || match ffi::describe_group(handle, group, limit) {
        Ok(found) => Ok(Group::Found(found)),
        Err(fault) if errors::kind(fault.code) == KafkaErrorKind::GroupNotFound => Ok(Group::NotFound),
        Err(fault) => Err(fault),
    };
    let first = described()?;
    if !is_forgotten(&first) {
        return Ok(first);
    }
    let listed = consumer.fetch_group_list(Some(group), LIST_LIMIT).map_err(|error| errors::of_rdkafka(&error))?;
    if !listed.groups().iter().any(|listed| listed.name() == group) {
        return Ok(Group::NotFound);
    }
    let second = described()?;
    if !is_forgotten(&second) || ffi::lists_as_consumer_group(handle, group, LIST_LIMIT)? {
        return Ok(second);
    }
    let text = "it exists, but it is no consumer group: a share group or a streams group, whose offsets are not reset this way";
    Err(Fault { code: ffi::INVALID_ARGUMENT, text: text.into() })
}

fn is_forgotten(group: &Group) -> bool {
    match group {
        Group::NotFound => true,
        Group::Found(GroupDescription { state, members, .. }) => *state == GroupState::Dead && members.is_empty(),
    }
}

/// What librdkafka's number for a state means.
pub(super) fn group_state(state: i32) -> GroupState {
    use sys::rd_kafka_consumer_group_state_t as State;
    const PREPARING: i32 = State::RD_KAFKA_CONSUMER_GROUP_STATE_PREPARING_REBALANCE as i32;
    const COMPLETING: i32 = State::RD_KAFKA_CONSUMER_GROUP_STATE_COMPLETING_REBALANCE as i32;
    const STABLE: i32 = State::RD_KAFKA_CONSUMER_GROUP_STATE_STABLE as i32;
    const DEAD: i32 = State::RD_KAFKA_CONSUMER_GROUP_STATE_DEAD as i32;
    const EMPTY: i32 = State::RD_KAFKA_CONSUMER_GROUP_STATE_EMPTY as i32;
    match state {
        PREPARING => GroupState::PreparingRebalance,
        COMPLETING => GroupState::CompletingRebalance,
        STABLE => GroupState::Stable,
        DEAD => GroupState::Dead,
        EMPTY => GroupState::Empty,
        // Assigning and Reconciling of KIP-848 are such: members that the broker moves about.
        _ => GroupState::Unknown,
    }
}

/// What librdkafka's number for a type means.
pub(super) fn group_type(kind: i32) -> GroupType {
    use sys::rd_kafka_consumer_group_type_t as Type;
    const CONSUMER: i32 = Type::RD_KAFKA_CONSUMER_GROUP_TYPE_CONSUMER as i32;
    const CLASSIC: i32 = Type::RD_KAFKA_CONSUMER_GROUP_TYPE_CLASSIC as i32;
    match kind {
        CONSUMER => GroupType::Consumer,
        CLASSIC => GroupType::Classic,
        _ => GroupType::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_nobody_knows_is_unknown_and_never_empty() {
        assert_eq!(group_state(5), GroupState::Empty);
        assert_eq!(group_state(4), GroupState::Dead);
        for newer in [0, 6, 7, 99, -1] {
            assert_eq!(group_state(newer), GroupState::Unknown);
        }
    }
}
