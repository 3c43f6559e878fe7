//! Groups: how they are, and what may be done with them.

use std::time::Duration;

use rdkafka_sys as sys;

use super::{
    Call, Fault, Handle, INVALID_ARGUMENT, Operations, c_string, check, fault, include_operations, offsets, operations, options,
    options_of_question, plain, text,
};
use crate::{
    kafka::groups,
    machine::facts::{GroupDescription, GroupMember},
};

type Description = sys::rd_kafka_ConsumerGroupDescription_t;

/// Describes one group as librdkafka does: by `ConsumerGroupDescribe`, and by the classic `DescribeGroups` (version 4 at most)
/// where the broker answers 69 or 35 to that. The classic question has the answer Dead for every group that is not classic.
pub(in crate::kafka) fn describe_group(handle: Handle, group: &str, limit: Duration) -> Result<GroupDescription, Fault> {
    // SAFETY: a valid description, by the contract of `described`.
    described(handle, group, limit, false, |group| unsafe {
        let members = (0..sys::rd_kafka_ConsumerGroupDescription_member_count(group))
            .map(|index| member(sys::rd_kafka_ConsumerGroupDescription_member(group, index)))
            .collect();
        GroupDescription {
            group_type: groups::group_type(plain::rd_kafka_ConsumerGroupDescription_type(group.cast())),
            state: groups::group_state(plain::rd_kafka_ConsumerGroupDescription_state(group.cast())),
            assignor: text(sys::rd_kafka_ConsumerGroupDescription_partition_assignor(group)),
            members,
        }
    })
}

/// What we may do with a group.
pub(in crate::kafka) fn group_operations(handle: Handle, group: &str, limit: Duration) -> Result<Operations, Fault> {
    let mut count = 0;
    // SAFETY: a valid description, by the contract of `described`; its list and the list's length belong together.
    described(handle, group, limit, true, |group| unsafe {
        let first = plain::rd_kafka_ConsumerGroupDescription_authorized_operations(group.cast(), &raw mut count);
        operations(first, count)
    })
}

/// Asks about one group, and gives its description to `read`: a valid one, which lives during that call only.
fn described<T>(
    handle: Handle,
    group: &str,
    limit: Duration,
    with_operations: bool,
    read: impl FnOnce(*const Description) -> T,
) -> Result<T, Fault> {
    let call = Call::new(handle, limit)?;
    let options = options_of_question(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS)?;
    if with_operations {
        include_operations(&options)?;
    }
    let name = c_string(group)?;
    let mut names = [name.as_ptr()];
    // SAFETY: every pointer is valid during the call, which copies what it needs.
    unsafe { sys::rd_kafka_DescribeConsumerGroups(handle.0, names.as_mut_ptr(), 1, options.get(), call.queue.get()) };
    let event = call.answer()?;
    let mut count = 0;
    // SAFETY: what is borrowed from the event lives as long as the event does, to the end of this function.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event.get());
        if result.is_null() {
            return Err(fault(INVALID_ARGUMENT, "the answer was to another question"));
        }
        let groups = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        if groups.is_null() || count != 1 {
            return Err(fault(INVALID_ARGUMENT, "the group was not described"));
        }
        let group = *groups;
        check(sys::rd_kafka_ConsumerGroupDescription_error(group))?;
        Ok(read(group))
    }
}

/// # Safety
/// `member` is a valid description that lives during the call.
unsafe fn member(member: *const sys::rd_kafka_MemberDescription_t) -> GroupMember {
    // SAFETY: by the contract of this function.
    unsafe {
        let instance = sys::rd_kafka_MemberDescription_group_instance_id(member);
        let assignment = sys::rd_kafka_MemberDescription_assignment(member);
        let assigned = if assignment.is_null() {
            0
        } else {
            offsets::entries(sys::rd_kafka_MemberAssignment_partitions(assignment)).count()
        };
        GroupMember {
            member_id: text(sys::rd_kafka_MemberDescription_consumer_id(member)),
            client_id: text(sys::rd_kafka_MemberDescription_client_id(member)),
            instance_id: (!instance.is_null()).then(|| text(instance)).filter(|id| !id.is_empty()),
            host: text(sys::rd_kafka_MemberDescription_host(member)).trim_start_matches('/').to_owned(),
            assigned,
        }
    }
}

/// Whether the brokers list a group as one of consumers: classic or of the consumer protocol, or without any protocol.
/// Every broker is asked for all its groups, so this is for the case that describing does not settle.
pub(in crate::kafka) fn lists_as_consumer_group(handle: Handle, group: &str, limit: Duration) -> Result<bool, Fault> {
    let call = Call::new(handle, limit)?;
    let options = options(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS, limit)?;
    // SAFETY: every pointer is valid during the call, which copies what it needs.
    unsafe { sys::rd_kafka_ListConsumerGroups(handle.0, options.get(), call.queue.get()) };
    let event = call.answer()?;
    let (mut count, mut errors) = (0, 0);
    // SAFETY: what is borrowed from the event lives as long as the event does, to the end of this function.
    unsafe {
        let result = sys::rd_kafka_event_ListConsumerGroups_result(event.get());
        if result.is_null() {
            return Err(fault(INVALID_ARGUMENT, "the answer was to another question"));
        }
        let listed = sys::rd_kafka_ListConsumerGroups_result_valid(result, &raw mut count);
        for index in 0..count {
            if text(sys::rd_kafka_ConsumerGroupListing_group_id(*listed.add(index))) == group {
                return Ok(true);
            }
        }
        // Not seen is only an answer when every broker has answered.
        let failed = sys::rd_kafka_ListConsumerGroups_result_errors(result, &raw mut errors);
        for index in 0..errors {
            check(*failed.add(index))?;
        }
    }
    Ok(false)
}
