//! Offsets: those of a log, and those that a group has committed.

use std::{
    ptr,
    time::{Duration, Instant},
};

use rdkafka_sys as sys;

use super::{
    handle::{Answers, Call, Handle, Owned, c_string, options, options_without_limit, result_in},
    raw_error::{RawError, check, check_and_free, text},
};
use crate::machine::facts::{Committed, Metadata, TopicPartition};

/// librdkafka's offset for "not given".
const NO_OFFSET: i64 = sys::RD_KAFKA_OFFSET_INVALID as i64;

/// The mark of a missing answer: we send it, and the broker's answer overwrites it.
const NOT_ANSWERED: sys::rd_kafka_resp_err_t = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__IN_PROGRESS;

type Entry = sys::rd_kafka_topic_partition_t;

/// Which records count for the end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka) enum Isolation {
    /// All: the high watermark.
    Uncommitted,
    /// Those whose transaction is complete: the last stable offset.
    Committed,
}

/// A native list of partitions.
struct Partitions(Owned<sys::rd_kafka_topic_partition_list_t>);

impl Partitions {
    /// Builds a list; `fill` may set an entry's offset and metadata.
    fn build<'a, T: 'a>(
        items: impl ExactSizeIterator<Item = (&'a TopicPartition, T)>,
        fill: impl Fn(&mut Entry, T) -> Result<(), RawError>,
    ) -> Result<Self, RawError> {
        let size = i32::try_from(items.len()).map_err(|_| RawError::invalid("too many partitions"))?;
        // SAFETY: only allocates.
        let list =
            Owned::new(unsafe { sys::rd_kafka_topic_partition_list_new(size) }, sys::rd_kafka_topic_partition_list_destroy)?;
        for (at, item) in items {
            let topic = c_string(&at.topic)?;
            // SAFETY: a valid list; librdkafka copies the name. The entry lives until the next one
            // is added.
            let entry = unsafe { sys::rd_kafka_topic_partition_list_add(list.get(), topic.as_ptr(), at.partition).as_mut() };
            fill(entry.ok_or_else(|| RawError::invalid("librdkafka added no partition"))?, item)?;
        }
        Ok(Self(list))
    }

    fn plain(partitions: &[TopicPartition]) -> Result<Self, RawError> {
        Self::build(partitions.iter().map(|at| (at, ())), |_, ()| Ok(()))
    }
}

/// Pointers to a list's entries. Pointers, because a reference to an entry whose error is a value
/// that the generated enum does not have would be undefined behaviour.
///
/// # Safety
/// `list` is null or a valid list that lives as long as the iterator and what it yields.
pub(super) unsafe fn entries(list: *const sys::rd_kafka_topic_partition_list_t) -> impl Iterator<Item = *const Entry> {
    let (first, count) = if list.is_null() {
        (ptr::null_mut(), 0)
    } else {
        // SAFETY: a valid list, by the contract of this function.
        unsafe { ((*list).elems, usize::try_from((*list).cnt).unwrap_or(0)) }
    };
    let count = if first.is_null() { 0 } else { count };
    // SAFETY: librdkafka's list has `cnt` elements, one after the other.
    (0..count).map(move |index| unsafe { first.add(index) }.cast_const())
}

/// An entry's partition, and its error if it has one. Takes a pointer, because the error may be a
/// value that the enum lacks.
///
/// # Safety
/// `entry` is a valid entry.
unsafe fn outcome(entry: *const Entry) -> (TopicPartition, Result<(), RawError>) {
    // SAFETY: a valid entry; the error is read as the integer that it is in C.
    let (topic, partition, code) =
        unsafe { (text((*entry).topic), (*entry).partition, ptr::addr_of!((*entry).err).cast::<i32>().read()) };
    let outcome = match code {
        0 => Ok(()),
        code if code == NOT_ANSWERED as i32 => Err(RawError::no_answer()),
        code => Err(RawError::of_code(code)),
    };
    (TopicPartition { topic, partition }, outcome)
}

/// The offset of each partition by specification (or time), with the record's time; all chunks are
/// in flight together.
///
/// Only for partitions whose leaders librdkafka knows, see `list_offsets` in `client.rs`. The
/// answers lack a chunk in which no partition has a leader any more, because librdkafka does not
/// report why. A partition whose leader did not answer has an error here: librdkafka itself reports
/// none, and an offset that reads as "no such record".
pub(in crate::kafka) fn list_offsets(
    handle: Handle,
    chunks: &[&[(TopicPartition, i64)]],
    isolation: Isolation,
    limit: Duration,
) -> Result<Answers<(i64, i64)>, RawError> {
    let call = Call::new(handle, limit)?;
    let options = options(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, limit)?;
    let level = match isolation {
        Isolation::Uncommitted => sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
        Isolation::Committed => sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
    };
    // SAFETY: valid options; the error is ours to free.
    unsafe { check_and_free(sys::rd_kafka_AdminOptions_set_isolation_level(options.get(), level)) }?;
    for chunk in chunks {
        let list = Partitions::build(chunk.iter().map(|(at, spec)| (at, *spec)), |entry, spec| {
            entry.offset = spec;
            Ok(())
        })?;
        // SAFETY: every pointer is valid during the call, which copies what it needs.
        unsafe { sys::rd_kafka_ListOffsets(handle.get(), list.0.get(), options.get(), call.queue()) };
    }
    let mut answers = vec![];
    let mut failed = None;
    // Every request is awaited, even when one of them has failed.
    for _ in chunks {
        let event = match call.answer() {
            Ok(event) => event,
            Err(raw) if raw.code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__NOENT as i32 => continue,
            Err(raw) => {
                failed = Some(raw);
                continue;
            }
        };
        let mut count = 0;
        // SAFETY: what is borrowed from the event lives as long as the event does, to the end of
        // this block.
        unsafe {
            let result = sys::rd_kafka_event_ListOffsets_result(event.get());
            let infos =
                if result.is_null() { ptr::null_mut() } else { sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count) };
            if infos.is_null() {
                count = 0;
            }
            for index in 0..count {
                let info = *infos.add(index);
                let entry = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
                let (at, outcome) = outcome(entry);
                let timestamp = sys::rd_kafka_ListOffsetsResultInfo_timestamp(info);
                let offset = (*entry).offset;
                let outcome = if offset == NO_OFFSET { outcome.and(Err(RawError::no_answer())) } else { outcome };
                answers.push((at, outcome.map(|()| (offset, timestamp))));
            }
        }
    }
    failed.map_or(Ok(answers), Err)
}

/// What a group has committed: for each portion of partitions, or for all that it has where `None`
/// stands instead of one. All portions are in flight together. Stable offsets only.
pub(in crate::kafka) fn list_committed(
    handle: Handle,
    group: &str,
    portions: &[Option<&[TopicPartition]>],
    limit: Duration,
) -> Result<Answers<Option<Committed>>, RawError> {
    let call = Call::new(handle, limit)?;
    let options = options_without_limit(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS)?;
    // SAFETY: valid options; the error is ours to free.
    unsafe { check_and_free(sys::rd_kafka_AdminOptions_set_require_stable_offsets(options.get(), 1)) }?;
    let name = c_string(group)?;
    let requests = portions.iter().map(|portion| {
        let list = portion.map(Partitions::plain).transpose()?;
        let pointer = list.as_ref().map_or(ptr::null(), |list| list.0.get().cast_const());
        // SAFETY: both are valid during the call, which copies them.
        let request = unsafe { sys::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), pointer) };
        Owned::new(request, sys::rd_kafka_ListConsumerGroupOffsets_destroy)
    });
    // All requests are built before the first one is sent.
    for request in requests.collect::<Result<Vec<_>, RawError>>()? {
        let mut requests = [request.get()];
        // SAFETY: every pointer is valid during the call, which copies what it needs.
        unsafe { sys::rd_kafka_ListConsumerGroupOffsets(handle.get(), requests.as_mut_ptr(), 1, options.get(), call.queue()) };
    }
    let mut answers = vec![];
    let mut failed = None;
    // Every request is awaited, even when one of them has failed.
    for _ in portions {
        match call.answer().and_then(|event| committed_answers(&event)) {
            Ok(found) => answers.extend(found),
            Err(raw) => failed = Some(raw),
        }
    }
    failed.map_or(Ok(answers), Err)
}

fn committed_answers(event: &Owned<sys::rd_kafka_event_t>) -> Result<Answers<Option<Committed>>, RawError> {
    // SAFETY: the functions belong to one type of result; the entries live during the call.
    unsafe {
        let committed = |entry: *const Entry| {
            // Negative means "nothing committed".
            let offset = (*entry).offset;
            (offset >= 0).then(|| Committed { offset, metadata: metadata(entry) })
        };
        let (result, groups) =
            (sys::rd_kafka_event_ListConsumerGroupOffsets_result, sys::rd_kafka_ListConsumerGroupOffsets_result_groups);
        group_answers(event, result, groups, committed)
    }
}

/// The outcome of one part of a change: an answer per partition, or why the request as a whole has failed.
pub(in crate::kafka) type PartOutcome = Result<Answers<()>, RawError>;

/// Commits offsets for a group without members: each part by a request of its own, all in flight together. The time limit counts from
/// the call on.
pub(in crate::kafka) fn alter(
    handle: Handle,
    group: &str,
    parts: &[&[(TopicPartition, Committed)]],
    limit: Duration,
) -> Vec<PartOutcome> {
    let until = Instant::now() + limit;
    let request = |offsets: &&[(TopicPartition, Committed)]| {
        let list = Partitions::build(offsets.iter().map(|(at, committed)| (at, committed)), |entry, committed| {
            entry.offset = committed.offset;
            // librdkafka returns the entries that were sent, with the broker's codes over them: without
            // this mark, a partition that the broker left out would look committed.
            entry.err = NOT_ANSWERED;
            set_metadata(entry, &committed.metadata)
        })?;
        let name = c_string(group)?;
        // SAFETY: both are valid during the call, which copies them.
        let request = unsafe { sys::rd_kafka_AlterConsumerGroupOffsets_new(name.as_ptr(), list.0.get()) };
        Owned::new(request, sys::rd_kafka_AlterConsumerGroupOffsets_destroy)
    };
    let api = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS;
    let requests = parts.iter().map(request).collect();
    // SAFETY: every pointer is valid during the call, which copies what it needs.
    let send = |request, options, queue| unsafe {
        sys::rd_kafka_AlterConsumerGroupOffsets(handle.get(), [request].as_mut_ptr(), 1, options, queue);
    };
    all_at_once(handle, api, requests, until, send, |event| {
        let (result, groups) =
            (sys::rd_kafka_event_AlterConsumerGroupOffsets_result, sys::rd_kafka_AlterConsumerGroupOffsets_result_groups);
        // SAFETY: the functions belong to one type of result.
        unsafe { group_answers(event, result, groups, |_| ()) }
    })
}

/// Removes committed offsets of a group, as [`alter`] commits them.
pub(in crate::kafka) fn delete(handle: Handle, group: &str, parts: &[&[TopicPartition]], limit: Duration) -> Vec<PartOutcome> {
    let until = Instant::now() + limit;
    let request = |partitions: &&[TopicPartition]| {
        let list = Partitions::plain(partitions)?;
        let name = c_string(group)?;
        // SAFETY: both are valid during the call, which copies them.
        let request = unsafe { sys::rd_kafka_DeleteConsumerGroupOffsets_new(name.as_ptr(), list.0.get()) };
        Owned::new(request, sys::rd_kafka_DeleteConsumerGroupOffsets_destroy)
    };
    let api = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETECONSUMERGROUPOFFSETS;
    let requests = parts.iter().map(request).collect();
    // SAFETY: every pointer is valid during the call, which copies what it needs.
    let send = |request, options, queue| unsafe {
        sys::rd_kafka_DeleteConsumerGroupOffsets(handle.get(), [request].as_mut_ptr(), 1, options, queue);
    };
    all_at_once(handle, api, requests, until, send, |event| {
        let (result, groups) =
            (sys::rd_kafka_event_DeleteConsumerGroupOffsets_result, sys::rd_kafka_DeleteConsumerGroupOffsets_result_groups);
        // librdkafka returns only the partitions of the broker's answer.
        // SAFETY: the functions belong to one type of result.
        unsafe { group_answers(event, result, groups, |_| ()) }
    })
}

/// Sends requests, and then awaits them all. Each has a queue of its own: an error names no partitions, and the queue identifies the
/// request.
///
/// librdkafka gives each up at `until`: the time that remains is read right before each is sent, so neither the building of the requests
/// nor the sending of the others adds to it.
fn all_at_once<R>(
    handle: Handle,
    api: sys::rd_kafka_admin_op_t,
    requests: Vec<Result<Owned<R>, RawError>>,
    until: Instant,
    send: impl Fn(*mut R, *const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
    read: impl Fn(&Owned<sys::rd_kafka_event_t>) -> PartOutcome,
) -> Vec<PartOutcome> {
    let calls = requests.into_iter().map(|request| {
        let request = request?;
        let left = until.saturating_duration_since(Instant::now());
        let call = Call::new(handle, left)?;
        let options = options(handle, api, left)?;
        send(request.get(), options.get(), call.queue());
        Ok(call)
    });
    // All are sent before the first one is awaited.
    let calls: Vec<Result<Call, RawError>> = calls.collect();
    calls.into_iter().map(|call| read(&call?.answer()?)).collect()
}

/// The answers in an event for the one group of the request.
///
/// # Safety
/// `result` and `groups` are librdkafka's functions for one type of result, and `value` reads an entry that lives during the call.
unsafe fn group_answers<R, T>(
    event: &Owned<sys::rd_kafka_event_t>,
    result: unsafe extern "C" fn(*mut sys::rd_kafka_event_t) -> *const R,
    groups: unsafe extern "C" fn(*const R, *mut usize) -> *mut *const sys::rd_kafka_group_result_t,
    value: impl Fn(*const Entry) -> T,
) -> Result<Answers<T>, RawError> {
    let mut count = 0;
    // SAFETY: by the contract of this function; what is borrowed from the event lives as long as it does, beyond the end of this
    // function.
    let groups = unsafe { groups(result_in(event, result)?, &raw mut count) };
    if groups.is_null() || count != 1 {
        return Err(RawError::invalid("the answer is not about the group"));
    }
    // SAFETY: by the contract of this function.
    unsafe {
        let group = *groups;
        check(sys::rd_kafka_group_result_error(group))?;
        let answers = entries(sys::rd_kafka_group_result_partitions(group)).map(|entry| {
            let (at, outcome) = outcome(entry);
            (at, outcome.map(|()| value(entry)))
        });
        Ok(answers.collect())
    }
}

/// A copy of an entry's metadata.
///
/// # Safety
/// `entry` is a valid entry that lives during the call.
unsafe fn metadata(entry: *const Entry) -> Metadata {
    // SAFETY: by the contract of this function; librdkafka's pointer and length belong together.
    let bytes = unsafe {
        if (*entry).metadata.is_null() {
            return Metadata::default();
        }
        std::slice::from_raw_parts((*entry).metadata.cast::<u8>(), (*entry).metadata_size)
    };
    bytes.to_vec().into()
}

/// Gives an entry its metadata, in memory that librdkafka frees with the list.
fn set_metadata(entry: &mut Entry, metadata: &Metadata) -> Result<(), RawError> {
    if metadata.is_empty() {
        return Ok(());
    }
    // SAFETY: allocated with librdkafka's own allocator, filled to its length, owned by the entry
    // from here on.
    unsafe {
        let copy = sys::rd_kafka_mem_malloc(ptr::null_mut(), metadata.len());
        if copy.is_null() {
            return Err(RawError::invalid("no memory"));
        }
        ptr::copy_nonoverlapping(metadata.as_bytes().as_ptr(), copy.cast::<u8>(), metadata.len());
        entry.metadata = copy;
        entry.metadata_size = metadata.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{super::raw_error::INVALID_ARGUMENT, *};

    #[test]
    fn a_name_with_a_nul_is_refused_and_does_not_panic() {
        assert_eq!(c_string("a\0b").unwrap_err().code, INVALID_ARGUMENT);
        assert!(Partitions::plain(&[TopicPartition::new("a\0b", 0)]).is_err());
    }

    #[rstest]
    #[case::text("offset-reset/shop/replay/uid".into())]
    #[case::none(Metadata::default())]
    #[case::with_a_nul_and_not_utf_8(vec![b'a', 0, 0xff, 0xfe].into())]
    #[case::as_long_as_a_broker_takes(vec![0xc3; 4_096].into())]
    fn metadata_survives_a_native_list_byte_for_byte(#[case] given: Metadata) {
        let at = TopicPartition::new("orders", 3);
        let list = Partitions::build([(&at, &given)].into_iter(), set_metadata).unwrap();
        // SAFETY: the list lives to the end of the test.
        let entry = unsafe { entries(list.0.get()) }.next().unwrap();
        // SAFETY: a valid entry.
        assert_eq!(unsafe { (metadata(entry), outcome(entry)) }, (given, (at, Ok(()))));
    }

    #[test]
    fn an_entry_that_comes_back_unanswered_is_not_a_success() {
        let at = TopicPartition::new("orders", 3);
        let list = Partitions::build([(&at, ())].into_iter(), |entry, ()| {
            entry.err = NOT_ANSWERED;
            Ok(())
        });
        // SAFETY: the list lives to the end of the test.
        let (_, answer) = unsafe { outcome(entries(list.unwrap().0.get()).next().unwrap()) };
        assert_eq!(answer, Err(RawError::no_answer()));
    }
}
