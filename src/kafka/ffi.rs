//! The calls of librdkafka's admin API that rdkafka does not wrap: groups and their offsets. The only `unsafe` of the crate.
//!
//! Each native object has one owning type, which frees it. Every call here blocks until the answer is there or its time is
//! over. librdkafka works on copies of what it is given, and throws away an answer whose queue is gone: so nothing of ours has
//! to outlive a call, also when a call of several steps (describing, and asking leaders) takes longer than was waited for.
#![allow(unsafe_code, reason = "librdkafka's C API; everything else of the crate stays safe Rust")]

use std::{
    ffi::{CStr, CString, c_char, c_void},
    ptr::{self, NonNull},
    time::Duration,
};

use rdkafka_sys as sys;

use super::groups;
use crate::machine::world::{Committed, GroupDescription, GroupMember, TopicPartition};

/// An error with its code, before anybody has thought about what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Kafka's code, or librdkafka's own where it is negative.
    pub code: i32,
    /// What librdkafka says about it.
    pub text: String,
}

/// A fault of ours: what was to be sent cannot be expressed.
pub(super) const INVALID_ARGUMENT: i32 = -186;

/// librdkafka's offset for "none was given".
const NO_OFFSET: i64 = sys::RD_KAFKA_OFFSET_INVALID as i64;

/// What an answer that never came looks like; written into what we send, where the broker's answer overwrites it.
const NOT_ANSWERED: sys::rd_kafka_resp_err_t = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__IN_PROGRESS;

type Entry = sys::rd_kafka_topic_partition_t;

pub(super) type Answers<T> = Vec<(TopicPartition, Result<T, Fault>)>;

/// A client's native handle, borrowed for one call.
#[derive(Clone, Copy)]
pub(super) struct Handle(*mut sys::rd_kafka_t);

impl Handle {
    /// Of a client that outlives every use of the handle.
    pub fn new(pointer: *mut sys::rd_kafka_t) -> Self {
        Self(pointer)
    }
}

// Declared here with plain integers: a newer broker may answer with a code that the generated enum does not have,
// and an enum with such a value would be undefined behaviour.
#[allow(clashing_extern_declarations, reason = "same functions, with integers where the bindings have enums")]
mod plain {
    use super::{c_char, c_void};

    unsafe extern "C" {
        pub fn rd_kafka_err2str(code: i32) -> *const c_char;
        pub fn rd_kafka_error_code(error: *const c_void) -> i32;
        pub fn rd_kafka_event_error(event: *mut c_void) -> i32;
        pub fn rd_kafka_ConsumerGroupDescription_state(group: *const c_void) -> i32;
        pub fn rd_kafka_ConsumerGroupDescription_type(group: *const c_void) -> i32;
    }
}

/// Owns a native object.
struct Owned<T> {
    pointer: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Result<Self, Fault> {
        let pointer = NonNull::new(pointer).ok_or_else(|| fault(INVALID_ARGUMENT, "librdkafka made no object"))?;
        Ok(Self { pointer, free })
    }

    fn get(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from librdkafka, is not null, and is freed only here.
        unsafe { (self.free)(self.pointer.as_ptr()) }
    }
}

fn fault(code: i32, text: &str) -> Fault {
    Fault { code, text: text.to_owned() }
}

/// The fault of a partition for which no answer came, in a call that was answered.
fn silence() -> Fault {
    fault(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT as i32, "the broker did not answer for it")
}

/// A code with librdkafka's words for it.
pub(super) fn fault_of(code: i32) -> Fault {
    // SAFETY: takes any integer, and answers with a static string.
    let text = unsafe { text(plain::rd_kafka_err2str(code)) };
    Fault { code, text }
}

/// # Safety
/// `pointer` is null or a C string.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: by the contract of this function.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// # Safety
/// `error` is null or a librdkafka error object.
unsafe fn check(error: *const sys::rd_kafka_error_t) -> Result<(), Fault> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a valid error object, by the contract of this function.
    let (code, text) = unsafe { (plain::rd_kafka_error_code(error.cast()), text(sys::rd_kafka_error_string(error))) };
    if code == 0 { Ok(()) } else { Err(Fault { code, text }) }
}

fn c_string(text: &str) -> Result<CString, Fault> {
    CString::new(text).map_err(|_| fault(INVALID_ARGUMENT, "a name holds a NUL character"))
}

/// The options of one call: how long it may take.
fn options(handle: Handle, api: sys::rd_kafka_admin_op_t, limit: Duration) -> Result<Owned<sys::rd_kafka_AdminOptions_t>, Fault> {
    // SAFETY: the handle's client lives.
    let pointer = unsafe { sys::rd_kafka_AdminOptions_new(handle.0, api) };
    let options = Owned::new(pointer, sys::rd_kafka_AdminOptions_destroy)?;
    let millis = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    let mut why = [0 as c_char; 256];
    // SAFETY: valid options; the buffer and its length belong together.
    let refused = unsafe { sys::rd_kafka_AdminOptions_set_request_timeout(options.get(), millis, why.as_mut_ptr(), why.len()) };
    if refused as i32 != 0 {
        // SAFETY: librdkafka has written a C string into the buffer.
        return Err(Fault { code: INVALID_ARGUMENT, text: unsafe { text(why.as_ptr()) } });
    }
    Ok(options)
}

/// Sends with a queue of the call's own, and waits there for the answers.
struct Call {
    queue: Owned<sys::rd_kafka_queue_t>,
    limit: Duration,
}

impl Call {
    fn new(handle: Handle, limit: Duration) -> Result<Self, Fault> {
        // SAFETY: the handle's client lives.
        let queue = Owned::new(unsafe { sys::rd_kafka_queue_new(handle.0) }, sys::rd_kafka_queue_destroy)?;
        Ok(Self { queue, limit })
    }

    /// The next answer. librdkafka answers every request within its limit; the second on top is for a busy machine.
    fn answer(&self) -> Result<Owned<sys::rd_kafka_event_t>, Fault> {
        let millis = i32::try_from((self.limit + Duration::from_secs(1)).as_millis()).unwrap_or(i32::MAX);
        // SAFETY: a valid queue.
        let pointer = unsafe { sys::rd_kafka_queue_poll(self.queue.get(), millis) };
        if pointer.is_null() {
            return Err(fault_of(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT as i32));
        }
        let event = Owned::new(pointer, sys::rd_kafka_event_destroy)?;
        // SAFETY: a valid event.
        let (code, text) =
            unsafe { (plain::rd_kafka_event_error(event.get().cast()), text(sys::rd_kafka_event_error_string(event.get()))) };
        if code == 0 { Ok(event) } else { Err(Fault { code, text }) }
    }
}

/// A list of partitions.
struct Partitions(Owned<sys::rd_kafka_topic_partition_list_t>);

impl Partitions {
    /// Builds a list; `fill` may set an entry's offset and metadata.
    fn build<'a, T: 'a>(
        items: impl ExactSizeIterator<Item = (&'a TopicPartition, T)>,
        fill: impl Fn(&mut Entry, T) -> Result<(), Fault>,
    ) -> Result<Self, Fault> {
        let size = i32::try_from(items.len()).map_err(|_| fault(INVALID_ARGUMENT, "too many partitions"))?;
        // SAFETY: only allocates.
        let list =
            Owned::new(unsafe { sys::rd_kafka_topic_partition_list_new(size) }, sys::rd_kafka_topic_partition_list_destroy)?;
        for (at, item) in items {
            let topic = c_string(&at.topic)?;
            // SAFETY: a valid list; librdkafka copies the name. The entry lives until the next one is added.
            let entry = unsafe { sys::rd_kafka_topic_partition_list_add(list.get(), topic.as_ptr(), at.partition).as_mut() };
            fill(entry.ok_or_else(|| fault(INVALID_ARGUMENT, "librdkafka added no partition"))?, item)?;
        }
        Ok(Self(list))
    }

    fn plain(partitions: &[TopicPartition]) -> Result<Self, Fault> {
        Self::build(partitions.iter().map(|at| (at, ())), |_, ()| Ok(()))
    }
}

/// Pointers to a list's entries. Pointers, because a reference to an entry whose error is a value that the generated enum does
/// not have would be undefined behaviour.
///
/// # Safety
/// `list` is null or a valid list that lives as long as the iterator and what it yields.
unsafe fn entries(list: *const sys::rd_kafka_topic_partition_list_t) -> impl Iterator<Item = *const Entry> {
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

/// An entry's partition, and its error if it has one. Takes a pointer, because the error may be a value that the enum does not have.
///
/// # Safety
/// `entry` is a valid entry.
unsafe fn outcome(entry: *const Entry) -> (TopicPartition, Result<(), Fault>) {
    // SAFETY: a valid entry; the error is read as the integer that it is in C.
    let (topic, partition, code) =
        unsafe { (text((*entry).topic), (*entry).partition, ptr::addr_of!((*entry).err).cast::<i32>().read()) };
    let outcome = match code {
        0 => Ok(()),
        code if code == NOT_ANSWERED as i32 => Err(silence()),
        code => Err(fault_of(code)),
    };
    (TopicPartition { topic, partition }, outcome)
}

/// Describes one group as librdkafka does: by `ConsumerGroupDescribe`, and by the classic `DescribeGroups` (version 4 at most)
/// where the broker answers 69 or 35 to that. The classic question has the answer Dead for every group that is not classic.
pub(super) fn describe_group(handle: Handle, group: &str, limit: Duration) -> Result<GroupDescription, Fault> {
    let call = Call::new(handle, limit)?;
    let options = options(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, limit)?;
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
        let members = (0..sys::rd_kafka_ConsumerGroupDescription_member_count(group))
            .map(|index| member(sys::rd_kafka_ConsumerGroupDescription_member(group, index)))
            .collect();
        Ok(GroupDescription {
            group_type: groups::group_type(plain::rd_kafka_ConsumerGroupDescription_type(group.cast())),
            state: groups::group_state(plain::rd_kafka_ConsumerGroupDescription_state(group.cast())),
            members,
        })
    }
}

/// # Safety
/// `member` is a valid description that lives during the call.
unsafe fn member(member: *const sys::rd_kafka_MemberDescription_t) -> GroupMember {
    // SAFETY: by the contract of this function.
    unsafe {
        let instance = sys::rd_kafka_MemberDescription_group_instance_id(member);
        let assignment = sys::rd_kafka_MemberDescription_assignment(member);
        let assigned =
            if assignment.is_null() { 0 } else { entries(sys::rd_kafka_MemberAssignment_partitions(assignment)).count() };
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
pub(super) fn lists_as_consumer_group(handle: Handle, group: &str, limit: Duration) -> Result<bool, Fault> {
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

/// One question by offset specification (or time) for each partition; all chunks are in flight together.
///
/// A chunk in which no partition at all has a leader is missing in the answers, because librdkafka does not say why.
/// A partition whose leader was asked and did not answer has a fault: librdkafka itself leaves it without error, and with an
/// offset that reads as "no such record".
pub(super) fn list_offsets(
    handle: Handle,
    chunks: &[&[(TopicPartition, i64)]],
    limit: Duration,
) -> Result<Answers<(i64, i64)>, Fault> {
    let call = Call::new(handle, limit)?;
    let options = options(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, limit)?;
    for chunk in chunks {
        let list = Partitions::build(chunk.iter().map(|(at, spec)| (at, *spec)), |entry, spec| {
            entry.offset = spec;
            Ok(())
        })?;
        // SAFETY: every pointer is valid during the call, which copies what it needs.
        unsafe { sys::rd_kafka_ListOffsets(handle.0, list.0.get(), options.get(), call.queue.get()) };
    }
    let mut answers = vec![];
    let mut failed = None;
    // Every question that was asked is awaited, also when one of them has failed.
    for _ in chunks {
        let event = match call.answer() {
            Ok(event) => event,
            Err(fault) if fault.code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__NOENT as i32 => continue,
            Err(fault) => {
                failed = Some(fault);
                continue;
            }
        };
        let mut count = 0;
        // SAFETY: what is borrowed from the event lives as long as the event does, to the end of this block.
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
                let outcome = if offset == NO_OFFSET { outcome.and(Err(silence())) } else { outcome };
                answers.push((at, outcome.map(|()| (offset, timestamp))));
            }
        }
    }
    failed.map_or(Ok(answers), Err)
}

/// What a group has committed: for these partitions, or for all that it has. Stable offsets only.
pub(super) fn list_committed(
    handle: Handle,
    group: &str,
    partitions: Option<&[TopicPartition]>,
    limit: Duration,
) -> Result<Answers<Option<Committed>>, Fault> {
    let call = Call::new(handle, limit)?;
    let options = options(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, limit)?;
    // SAFETY: valid options; the error is ours to free.
    unsafe {
        let error = sys::rd_kafka_AdminOptions_set_require_stable_offsets(options.get(), 1);
        let checked = check(error);
        if !error.is_null() {
            sys::rd_kafka_error_destroy(error);
        }
        checked?;
    }
    let list = partitions.map(Partitions::plain).transpose()?;
    let pointer = list.as_ref().map_or(ptr::null(), |list| list.0.get().cast_const());
    let name = c_string(group)?;
    // SAFETY: both are valid during the call, which copies them.
    let request = unsafe { sys::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), pointer) };
    let request = Owned::new(request, sys::rd_kafka_ListConsumerGroupOffsets_destroy)?;
    let mut requests = [request.get()];
    // SAFETY: every pointer is valid during the call, which copies what it needs.
    unsafe { sys::rd_kafka_ListConsumerGroupOffsets(handle.0, requests.as_mut_ptr(), 1, options.get(), call.queue.get()) };
    let event = call.answer()?;
    let mut count = 0;
    // SAFETY: what is borrowed from the event lives as long as the event does, to the end of this function.
    unsafe {
        let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event.get());
        if result.is_null() {
            return Err(fault(INVALID_ARGUMENT, "the answer was to another question"));
        }
        let groups = sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count);
        let committed = |entry: *const Entry| {
            // Negative means "nothing committed", whatever has been written there.
            let offset = (*entry).offset;
            (offset >= 0).then(|| Committed { offset, metadata: metadata(entry) })
        };
        group_answers(groups, count, committed)
    }
}

/// Commits offsets for a group without members. Each partition has its own answer.
pub(super) fn alter(
    handle: Handle,
    group: &str,
    offsets: &[(TopicPartition, Committed)],
    limit: Duration,
) -> Result<Answers<()>, Fault> {
    let call = Call::new(handle, limit)?;
    let options = options(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS, limit)?;
    let list = Partitions::build(offsets.iter().map(|(at, committed)| (at, committed)), |entry, committed| {
        entry.offset = committed.offset;
        // librdkafka answers with what was sent, and the broker's codes over it: without this, a partition that the broker
        // left out would look committed.
        entry.err = NOT_ANSWERED;
        set_metadata(entry, &committed.metadata)
    })?;
    let name = c_string(group)?;
    // SAFETY: both are valid during the call, which copies them.
    let request = unsafe { sys::rd_kafka_AlterConsumerGroupOffsets_new(name.as_ptr(), list.0.get()) };
    let request = Owned::new(request, sys::rd_kafka_AlterConsumerGroupOffsets_destroy)?;
    let mut requests = [request.get()];
    // SAFETY: every pointer is valid during the call, which copies what it needs.
    unsafe { sys::rd_kafka_AlterConsumerGroupOffsets(handle.0, requests.as_mut_ptr(), 1, options.get(), call.queue.get()) };
    let event = call.answer()?;
    let mut count = 0;
    // SAFETY: what is borrowed from the event lives as long as the event does, to the end of this function.
    unsafe {
        let result = sys::rd_kafka_event_AlterConsumerGroupOffsets_result(event.get());
        if result.is_null() {
            return Err(fault(INVALID_ARGUMENT, "the answer was to another question"));
        }
        let groups = sys::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &raw mut count);
        group_answers(groups, count, |_| ())
    }
}

/// The answers for the one group that was asked about.
///
/// # Safety
/// `groups` is null or an array of `count` valid results that live during the call.
unsafe fn group_answers<T>(
    groups: *mut *const sys::rd_kafka_group_result_t,
    count: usize,
    value: impl Fn(*const Entry) -> T,
) -> Result<Answers<T>, Fault> {
    if groups.is_null() || count != 1 {
        return Err(fault(INVALID_ARGUMENT, "the group was not answered for"));
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

/// # Safety
/// `entry` is a valid entry that lives during the call.
unsafe fn metadata(entry: *const Entry) -> String {
    // SAFETY: by the contract of this function; librdkafka's pointer and length belong together.
    let bytes = unsafe {
        if (*entry).metadata.is_null() {
            return String::new();
        }
        std::slice::from_raw_parts((*entry).metadata.cast::<u8>(), (*entry).metadata_size)
    };
    String::from_utf8_lossy(bytes).into_owned()
}

/// Gives an entry its metadata, in memory that librdkafka frees with the list.
fn set_metadata(entry: &mut Entry, metadata: &str) -> Result<(), Fault> {
    if metadata.is_empty() {
        return Ok(());
    }
    // SAFETY: allocated with librdkafka's own allocator, filled to its length, owned by the entry from here on.
    unsafe {
        let copy = sys::rd_kafka_mem_malloc(ptr::null_mut(), metadata.len());
        if copy.is_null() {
            return Err(fault(INVALID_ARGUMENT, "no memory"));
        }
        ptr::copy_nonoverlapping(metadata.as_ptr(), copy.cast::<u8>(), metadata.len());
        entry.metadata = copy;
        entry.metadata_size = metadata.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_nul_is_refused_and_does_not_panic() {
        assert_eq!(c_string("a\0b").unwrap_err().code, INVALID_ARGUMENT);
        assert!(Partitions::plain(&[TopicPartition::new("a\0b", 0)]).is_err());
    }

    #[test]
    fn metadata_survives_the_way_through_a_native_list() {
        let at = TopicPartition::new("orders", 3);
        let list = Partitions::build([(&at, "offset-reset/shop/replay/uid")].into_iter(), set_metadata).unwrap();
        // SAFETY: the list lives to the end of the test.
        let entry = unsafe { entries(list.0.get()) }.next().unwrap();
        // SAFETY: a valid entry.
        assert_eq!(unsafe { (metadata(entry), outcome(entry)) }, ("offset-reset/shop/replay/uid".into(), (at, Ok(()))));
    }

    #[test]
    fn what_was_sent_and_came_back_unanswered_is_no_success() {
        let at = TopicPartition::new("orders", 3);
        let list = Partitions::build([(&at, ())].into_iter(), |entry, ()| {
            entry.err = NOT_ANSWERED;
            Ok(())
        });
        // SAFETY: the list lives to the end of the test.
        let (_, answer) = unsafe { outcome(entries(list.unwrap().0.get()).next().unwrap()) };
        assert_eq!(answer, Err(silence()));
    }

    #[test]
    fn a_code_of_the_future_is_a_fault_like_any_other() {
        let unknown = fault_of(4711);
        assert_eq!(unknown.code, 4711);
        assert!(!unknown.text.is_empty());
    }
}
