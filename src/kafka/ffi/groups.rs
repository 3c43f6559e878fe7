//! Groups: their state and members, and the operations that are allowed on them.

use std::{collections::BTreeSet, time::Duration};

use rdkafka_sys as sys;

use super::{
    handle::{Call, Handle, Operations, c_string, include_operations, operations, options, options_without_limit, result_in},
    offsets, plain,
    raw_error::{RawError, check, text},
};
use crate::machine::facts::{GroupDescription, GroupMember, GroupState, GroupType};

/// How many assigned topics are read at most: far more than a message names.
const MAX_TOPICS: usize = 5_000;

type Description = sys::rd_kafka_ConsumerGroupDescription_t;

/// Describes one group as librdkafka does: by `ConsumerGroupDescribe`, and by the classic
/// `DescribeGroups` (version 4 at most) where the broker answers that with 69 or 35.
/// `DescribeGroups` reports Dead for every group that is not classic.
pub(in crate::kafka) fn describe_group(handle: Handle, group: &str, limit: Duration) -> Result<GroupDescription, RawError> {
    // SAFETY: a valid description, by the contract of `described`.
    described(handle, group, limit, false, |group| unsafe {
        let mut topics = BTreeSet::new();
        let members = (0..sys::rd_kafka_ConsumerGroupDescription_member_count(group))
            .map(|index| member(sys::rd_kafka_ConsumerGroupDescription_member(group, index), &mut topics))
            .collect();
        GroupDescription {
            group_type: group_type(plain::rd_kafka_ConsumerGroupDescription_type(group.cast())),
            state: group_state(plain::rd_kafka_ConsumerGroupDescription_state(group.cast())),
            assignor: text(sys::rd_kafka_ConsumerGroupDescription_partition_assignor(group)),
            members,
            assigned_topics: (topics.len() <= MAX_TOPICS).then_some(topics),
        }
    })
}

/// The operations that are allowed on a group.
pub(in crate::kafka) fn group_operations(handle: Handle, group: &str, limit: Duration) -> Result<Operations, RawError> {
    let mut count = 0;
    // SAFETY: a valid description, by the contract of `described`; its list and the list's length
    // belong together.
    described(handle, group, limit, true, |group| unsafe {
        let first = plain::rd_kafka_ConsumerGroupDescription_authorized_operations(group.cast(), &raw mut count);
        operations(first, count)
    })
}

/// Describes one group, and passes its description to `read`: valid, and alive only during that
/// call.
fn described<T>(
    handle: Handle,
    group: &str,
    limit: Duration,
    with_operations: bool,
    read: impl FnOnce(*const Description) -> T,
) -> Result<T, RawError> {
    let call = Call::new(handle, limit)?;
    let options = options_without_limit(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS)?;
    if with_operations {
        include_operations(&options)?;
    }
    let name = c_string(group)?;
    let mut names = [name.as_ptr()];
    // SAFETY: every pointer is valid during the call, which copies what it needs.
    unsafe { sys::rd_kafka_DescribeConsumerGroups(handle.get(), names.as_mut_ptr(), 1, options.get(), call.queue()) };
    let event = call.answer()?;
    let mut count = 0;
    // SAFETY: what is borrowed from the event lives as long as the event does, to the end of this
    // function.
    unsafe {
        let result = result_in(&event, sys::rd_kafka_event_DescribeConsumerGroups_result)?;
        let groups = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        if groups.is_null() || count != 1 {
            return Err(RawError::invalid("the answer does not describe the group"));
        }
        let group = *groups;
        check(sys::rd_kafka_ConsumerGroupDescription_error(group))?;
        Ok(read(group))
    }
}

/// A copy of a member's description; the topics that it has been assigned are added to `topics`, and no more once there are too many.
///
/// # Safety
/// `member` is a valid description that lives during the call.
unsafe fn member(member: *const sys::rd_kafka_MemberDescription_t, topics: &mut BTreeSet<String>) -> GroupMember {
    // SAFETY: by the contract of this function.
    unsafe {
        let instance = sys::rd_kafka_MemberDescription_group_instance_id(member);
        let assignment = sys::rd_kafka_MemberDescription_assignment(member);
        let mut assigned = 0;
        if !assignment.is_null() {
            for partition in offsets::entries(sys::rd_kafka_MemberAssignment_partitions(assignment)) {
                assigned += 1;
                if topics.len() <= MAX_TOPICS {
                    topics.insert(text((*partition).topic));
                }
            }
        }
        GroupMember {
            member_id: text(sys::rd_kafka_MemberDescription_consumer_id(member)),
            client_id: text(sys::rd_kafka_MemberDescription_client_id(member)),
            instance_id: (!instance.is_null()).then(|| text(instance)).filter(|id| !id.is_empty()),
            host: text(sys::rd_kafka_MemberDescription_host(member)).trim_start_matches('/').to_owned(),
            assigned,
        }
    }
}

/// Whether the brokers list a group as a consumer group: of the classic or the consumer protocol,
/// or without a protocol. Asks every broker for all its groups, so only for a group that its
/// description leaves open.
pub(in crate::kafka) fn lists_as_consumer_group(handle: Handle, group: &str, limit: Duration) -> Result<bool, RawError> {
    let call = Call::new(handle, limit)?;
    let options = options(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS, limit)?;
    // SAFETY: every pointer is valid during the call, which copies what it needs.
    unsafe { sys::rd_kafka_ListConsumerGroups(handle.get(), options.get(), call.queue()) };
    let event = call.answer()?;
    let (mut count, mut errors) = (0, 0);
    // SAFETY: what is borrowed from the event lives as long as the event does, to the end of this
    // function.
    unsafe {
        let result = result_in(&event, sys::rd_kafka_event_ListConsumerGroups_result)?;
        let listed = sys::rd_kafka_ListConsumerGroups_result_valid(result, &raw mut count);
        for index in 0..count {
            if text(sys::rd_kafka_ConsumerGroupListing_group_id(*listed.add(index))) == group {
                return Ok(true);
            }
        }
        // A group is missing only when every broker has answered.
        let failed = sys::rd_kafka_ListConsumerGroups_result_errors(result, &raw mut errors);
        for index in 0..errors {
            check(*failed.add(index))?;
        }
    }
    Ok(false)
}

/// The state behind librdkafka's number.
fn group_state(state: i32) -> GroupState {
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
        // Among them Assigning and Reconciling of KIP-848: the group has members.
        _ => GroupState::Unknown,
    }
}

/// The type behind librdkafka's number.
fn group_type(kind: i32) -> GroupType {
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
    fn an_unknown_state_is_never_empty() {
        assert_eq!(group_state(5), GroupState::Empty);
        assert_eq!(group_state(4), GroupState::Dead);
        for newer in [0, 6, 7, 99, -1] {
            assert_eq!(group_state(newer), GroupState::Unknown);
        }
    }
}
