//! Topics: their partitions, and the operations that are allowed on them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::CString,
    ptr,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rdkafka_sys as sys;

use super::{
    handle::{Call, Handle, Operations, Owned, c_string, include_operations, operations, options, result_in},
    plain,
    raw_error::{RawError, UNKNOWN_TOPIC, check, text},
};

type Description = sys::rd_kafka_TopicDescription_t;

/// A topic, and the operations that are allowed on it.
type Answer<T> = (String, Result<T, RawError>);

/// A topic's partitions, and for each whether it has a leader that the client can ask.
pub(in crate::kafka) type Leaders = BTreeMap<i32, bool>;

/// A topic's id as Kafka's tools write it, `None` where the broker has none; and the operations that are allowed on it.
pub(in crate::kafka) struct TopicAccess {
    pub id: Option<String>,
    pub operations: Operations,
}

/// The operations that are allowed on topics, and their ids, per topic. `topics` holds no name twice.
pub(in crate::kafka) fn topic_access(
    handle: Handle,
    topics: &[&str],
    limit: Duration,
) -> Result<Vec<Answer<TopicAccess>>, RawError> {
    let mut count = 0;
    // SAFETY: a valid description, by the contract of `described`; its list and the list's length
    // belong together.
    described(handle, topics, limit, true, |topic| unsafe {
        let first = plain::rd_kafka_TopicDescription_authorized_operations(topic.cast(), &raw mut count);
        TopicAccess { id: id(topic), operations: operations(first, count) }
    })
}

/// The id of each topic as Kafka's tools write it; `None` where the broker has none. `topics` holds
/// no name twice.
pub(in crate::kafka) fn topic_ids(
    handle: Handle,
    topics: &[&str],
    limit: Duration,
) -> Result<Vec<Answer<Option<String>>>, RawError> {
    // SAFETY: a valid description, by the contract of `described`.
    described(handle, topics, limit, false, |topic| unsafe { id(topic) })
}

/// # Safety
/// `topic` is a valid description that lives during the call.
unsafe fn id(topic: *const Description) -> Option<String> {
    // SAFETY: by the contract of this function; the id lives as long as the description.
    unsafe {
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        if id.is_null() {
            return None;
        }
        id_text(sys::rd_kafka_Uuid_most_significant_bits(id), sys::rd_kafka_Uuid_least_significant_bits(id))
    }
}

/// A topic's id as Kafka's tools write it. Zero is none: the broker's metadata has no ids.
fn id_text(most: i64, least: i64) -> Option<String> {
    let bits = (u128::from(most.cast_unsigned()) << 64) | u128::from(least.cast_unsigned());
    (bits != 0).then(|| BASE64_URL_SAFE_NO_PAD.encode(bits.to_be_bytes()))
}

/// Describes topics, and passes each description to `read`: valid, and alive only during that call.
fn described<T>(
    handle: Handle,
    topics: &[&str],
    limit: Duration,
    with_operations: bool,
    mut read: impl FnMut(*const Description) -> T,
) -> Result<Vec<Answer<T>>, RawError> {
    let call = Call::new(handle, limit)?;
    let options = options(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, limit)?;
    if with_operations {
        include_operations(&options)?;
    }
    let names = topics.iter().map(|topic| c_string(topic)).collect::<Result<Vec<CString>, RawError>>()?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: pointer and length belong together; the strings are valid during the call, which
    // copies them.
    let topics = unsafe { sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()) };
    let topics = Owned::new(topics, sys::rd_kafka_TopicCollection_destroy)?;
    // SAFETY: every pointer is valid during the call, which copies what it needs.
    unsafe { sys::rd_kafka_DescribeTopics(handle.get(), topics.get(), options.get(), call.queue()) };
    let event = call.answer()?;
    let mut count = 0;
    // SAFETY: what is borrowed from the event lives as long as the event does, to the end of this
    // function.
    unsafe {
        let result = result_in(&event, sys::rd_kafka_event_DescribeTopics_result)?;
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

/// The partitions of topics, by one request for all; no broker creates a topic because of it. librdkafka caches the answer, so
/// right afterwards it has the topics' leaders. `topics` has each name once.
///
/// Uses `rd_kafka_metadata`, which any broker answers, for the topics that the client has handles of: those of the call, and
/// those that it keeps from earlier calls. Not rdkafka's wrapper (0.39, `Client::fetch_metadata`), which takes one topic and
/// destroys its handle before the call reads it; and not `DescribeTopics`, which fills no cache.
pub(in crate::kafka) fn topic_leaders(
    handle: Handle,
    topics: &[&str],
    limit: Duration,
) -> Result<Vec<Answer<Leaders>>, RawError> {
    let names = topics.iter().map(|topic| c_string(topic)).collect::<Result<Vec<CString>, RawError>>()?;
    // SAFETY: the handle's client lives, and the names during the calls; without a configuration the client's own is taken.
    let known = names.iter().map(|name| unsafe {
        Owned::new(sys::rd_kafka_topic_new(handle.get(), name.as_ptr(), ptr::null_mut()), sys::rd_kafka_topic_destroy)
    });
    let known = known.collect::<Result<Vec<_>, RawError>>()?;
    let only = if let [one] = &known[..] { one.get().cast() } else { ptr::null_mut() };
    let millis = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    let mut metadata: *const sys::rd_kafka_metadata = ptr::null();
    // SAFETY: the topics' handles live during the call, which writes the pointer only when it answers 0.
    let code = unsafe { plain::rd_kafka_metadata(handle.get().cast(), 0, only, &raw mut metadata, millis) };
    if code != 0 {
        return Err(RawError::of_code(code));
    }
    let metadata = Owned::new(metadata.cast_mut(), destroy_metadata)?;
    // SAFETY: what is borrowed from the metadata lives as long as it does, to the end of this
    // function. Counts and pointers belong together, and errors are read as the integers that they
    // are in C.
    unsafe {
        let all = metadata.get();
        let brokers: BTreeSet<i32> = items((*all).brokers, (*all).broker_cnt).map(|broker| (*broker).id).collect();
        let found = items((*all).topics, (*all).topic_cnt).map(|found| (text((*found).topic), found));
        let found: HashMap<String, _> = found.collect();
        let answer = |topic: &str| {
            let found = *found.get(topic).ok_or_else(|| RawError::of_code(UNKNOWN_TOPIC))?;
            check_code(ptr::addr_of!((*found).err).cast::<i32>().read())?;
            let partitions = items((*found).partitions, (*found).partition_cnt);
            Ok(partitions.map(|partition| ((*partition).id, brokers.contains(&(*partition).leader))).collect())
        };
        Ok(topics.iter().map(|topic| ((*topic).to_owned(), answer(topic))).collect())
    }
}

fn check_code(code: i32) -> Result<(), RawError> {
    if code == 0 { Ok(()) } else { Err(RawError::of_code(code)) }
}

/// The id of the cluster; `None` when no broker has reported one within the limit. Not through
/// rdkafka's wrapper (0.39, `Client::fetch_cluster_id`), which never frees the string.
pub(in crate::kafka) fn cluster_id(handle: Handle, limit: Duration) -> Option<String> {
    let millis = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the handle's client lives during the call; the string is ours, and freed with
    // librdkafka's own function.
    unsafe {
        let found = sys::rd_kafka_clusterid(handle.get(), millis);
        if found.is_null() {
            return None;
        }
        let id = text(found);
        sys::rd_kafka_mem_free(handle.get(), found.cast());
        Some(id).filter(|id| !id.is_empty())
    }
}

/// # Safety
/// `metadata` came from `rd_kafka_metadata`, and is not used afterwards.
unsafe extern "C" fn destroy_metadata(metadata: *mut sys::rd_kafka_metadata) {
    // SAFETY: by the contract of this function.
    unsafe { sys::rd_kafka_metadata_destroy(metadata) }
}

/// Pointers to the items of a list.
///
/// # Safety
/// `first` is null or the first of `count` items that live as long as the iterator and what it
/// yields.
unsafe fn items<T>(first: *mut T, count: i32) -> impl Iterator<Item = *const T> {
    let count = if first.is_null() { 0 } else { usize::try_from(count).unwrap_or(0) };
    // SAFETY: by the contract of this function.
    (0..count).map(move |index| unsafe { first.add(index) }.cast_const())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_as_kafkas_tools_do_and_zero_is_none() {
        assert_eq!(id_text(0, 0), None);
        // `Uuid.toString` of Kafka's clients.
        assert_eq!(id_text(0, 1).as_deref(), Some("AAAAAAAAAAAAAAAAAAAAAQ"));
        assert_eq!(id_text(-1, -1).as_deref(), Some("_____________________w"));
        assert_eq!(id_text(i64::MIN, 0).as_deref(), Some("gAAAAAAAAAAAAAAAAAAAAA"));
    }
}
