//! Topics: their partitions, and what may be done with them.
//!
//! Every question about topics goes this way, and not through `rd_kafka_metadata`: rdkafka's wrapper of that (0.39,
//! `Client::fetch_metadata` of one topic) lets go of the topic's handle before the call reads it.

use std::{collections::BTreeMap, ffi::CString, time::Duration};

use rdkafka_sys as sys;

use super::{
    Call, Fault, Handle, INVALID_ARGUMENT, Operations, Owned, c_string, check, fault, include_operations, operations, options,
    plain, text,
};

type Description = sys::rd_kafka_TopicDescription_t;
type Answer<T> = (String, Result<T, Fault>);

/// A topic's partitions, and for each whether it has a leader that the client could ask.
pub(in crate::kafka) type Leaders = BTreeMap<i32, bool>;

/// What we may do with topics. Each topic has its own answer; none is named twice.
pub(in crate::kafka) fn topic_operations(
    handle: Handle,
    topics: &[&str],
    limit: Duration,
) -> Result<Vec<Answer<Operations>>, Fault> {
    described(handle, topics, limit, true, |topic| {
        let mut count = 0;
        // SAFETY: a valid description, by the contract of `described`; its list and the list's length belong together.
        unsafe {
            let first = plain::rd_kafka_TopicDescription_authorized_operations(topic.cast(), &raw mut count);
            operations(first, count)
        }
    })
}

/// The partitions of topics. Each topic has its own answer; none is named twice. No broker creates a topic because of this.
///
/// librdkafka keeps what it hears here, so that right after it knows the leaders of all these topics.
pub(in crate::kafka) fn topic_leaders(handle: Handle, topics: &[&str], limit: Duration) -> Result<Vec<Answer<Leaders>>, Fault> {
    described(handle, topics, limit, false, |topic| {
        let mut count = 0;
        // SAFETY: a valid description, by the contract of `described`; what is borrowed from it lives as long as it does.
        unsafe {
            let found = sys::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
            let count = if found.is_null() { 0 } else { count };
            let partition = |index| {
                let partition = *found.add(index);
                let leader = sys::rd_kafka_TopicPartitionInfo_leader(partition);
                // A leader that is not among the brokers has no host.
                let known = !leader.is_null() && !sys::rd_kafka_Node_host(leader).is_null();
                (sys::rd_kafka_TopicPartitionInfo_partition(partition), known)
            };
            (0..count).map(partition).collect()
        }
    })
}

/// Asks about topics, and gives the description of each that has one to `read`: a valid one, which lives during that call only.
fn described<T>(
    handle: Handle,
    topics: &[&str],
    limit: Duration,
    with_operations: bool,
    read: impl Fn(*const Description) -> T,
) -> Result<Vec<Answer<T>>, Fault> {
    let call = Call::new(handle, limit)?;
    let options = options(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, limit)?;
    if with_operations {
        include_operations(&options)?;
    }
    let names = topics.iter().map(|topic| c_string(topic)).collect::<Result<Vec<CString>, Fault>>()?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: as many valid strings as are said, during the call, which copies them.
    let topics = unsafe { sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()) };
    let topics = Owned::new(topics, sys::rd_kafka_TopicCollection_destroy)?;
    // SAFETY: every pointer is valid during the call, which copies what it needs.
    unsafe { sys::rd_kafka_DescribeTopics(handle.0, topics.get(), options.get(), call.queue.get()) };
    let event = call.answer()?;
    let mut count = 0;
    // SAFETY: what is borrowed from the event lives as long as the event does, to the end of this function.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event.get());
        if result.is_null() {
            return Err(fault(INVALID_ARGUMENT, "the answer was to another question"));
        }
        let found = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let count = if found.is_null() { 0 } else { count };
        let answers = (0..count).map(|index| {
            let topic = *found.add(index);
            let answer = check(sys::rd_kafka_TopicDescription_error(topic)).map(|()| read(topic));
            (text(sys::rd_kafka_TopicDescription_name(topic)), answer)
        });
        Ok(answers.collect())
    }
}
