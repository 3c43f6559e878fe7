//! Topics: what may be done with them.

use std::{ffi::CString, time::Duration};

use rdkafka_sys as sys;

use super::{
    Call, Fault, Handle, INVALID_ARGUMENT, Operations, Owned, c_string, check, fault, include_operations, operations, options,
    plain, text,
};

type Answer = (String, Result<Operations, Fault>);

/// What we may do with topics. Each topic has its own answer; none is named twice.
pub(in crate::kafka) fn topic_operations(handle: Handle, topics: &[&str], limit: Duration) -> Result<Vec<Answer>, Fault> {
    let call = Call::new(handle, limit)?;
    let options = options(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, limit)?;
    include_operations(&options)?;
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
            let answer = check(sys::rd_kafka_TopicDescription_error(topic)).map(|()| {
                let mut count = 0;
                let first = plain::rd_kafka_TopicDescription_authorized_operations(topic.cast(), &raw mut count);
                operations(first, count)
            });
            (text(sys::rd_kafka_TopicDescription_name(topic)), answer)
        });
        Ok(answers.collect())
    }
}
