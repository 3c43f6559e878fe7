//! The calls of librdkafka's admin API that rdkafka does not wrap: groups, their offsets, and what may be done with groups and
//! topics. The only `unsafe` of the crate is in this directory; here is what its files share.
//!
//! Each native object has one owning type, which frees it. Every call here blocks until the answer is there or its time is
//! over. librdkafka works on copies of what it is given, and throws away an answer whose queue is gone: so nothing of ours has
//! to outlive a call, also when a call of several steps (describing, and asking leaders) takes longer than was waited for.
#![allow(unsafe_code, reason = "librdkafka's C API; everything else of the crate stays safe Rust")]

mod groups;
mod offsets;
mod token;
mod topics;

use std::{
    ffi::{CStr, CString, c_char, c_void},
    ptr::NonNull,
    time::{Duration, Instant},
};

use rdkafka_sys as sys;

use crate::machine::facts::TopicPartition;

pub(super) use groups::{describe_group, group_operations, lists_as_consumer_group};
pub(super) use offsets::{Isolation, alter, list_committed, list_offsets};
pub(super) use token::set_token;
pub(super) use topics::{Leaders, cluster_id, topic_leaders, topic_operations};

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

/// `UNKNOWN_TOPIC_OR_PARTITION`.
pub(super) const UNKNOWN: i32 = 3;

pub(super) type Answers<T> = Vec<(TopicPartition, Result<T, Fault>)>;

/// What we may do with something, as numbers of librdkafka's `rd_kafka_AclOperation_t`; none when the broker does not say.
pub(super) type Operations = Option<Vec<i32>>;

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
    use super::{c_char, c_void, sys};

    unsafe extern "C" {
        pub fn rd_kafka_err2str(code: i32) -> *const c_char;
        pub fn rd_kafka_error_code(error: *const c_void) -> i32;
        pub fn rd_kafka_metadata(
            client: *mut c_void,
            all_topics: i32,
            topic: *mut c_void,
            metadata: *mut *const sys::rd_kafka_metadata,
            millis: i32,
        ) -> i32;
        pub fn rd_kafka_event_error(event: *mut c_void) -> i32;
        pub fn rd_kafka_ConsumerGroupDescription_state(group: *const c_void) -> i32;
        pub fn rd_kafka_ConsumerGroupDescription_type(group: *const c_void) -> i32;
        pub fn rd_kafka_ConsumerGroupDescription_authorized_operations(group: *const c_void, count: *mut usize) -> *const i32;
        pub fn rd_kafka_TopicDescription_authorized_operations(topic: *const c_void, count: *mut usize) -> *const i32;
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

/// What setting an option or building a request has answered.
///
/// # Safety
/// `error` is null or a librdkafka error object, and nobody uses it afterwards: it is freed here.
unsafe fn taken(error: *mut sys::rd_kafka_error_t) -> Result<(), Fault> {
    // SAFETY: by the contract of this function.
    unsafe {
        let checked = check(error);
        if !error.is_null() {
            sys::rd_kafka_error_destroy(error);
        }
        checked
    }
}

/// Operations as librdkafka lists them.
///
/// # Safety
/// `first` is null or the first of `count` operations.
unsafe fn operations(first: *const i32, count: usize) -> Operations {
    // SAFETY: by the contract of this function. An empty list has a pointer that is not null, and is not read.
    (!first.is_null()).then(|| (0..count).map(|index| unsafe { first.add(index).read() }).collect())
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

/// The options of a question about a group. librdkafka must never give such a question up itself: when it does so while it looks for the
/// group's coordinator, it takes the question up again once the broker is back, with what it has freed meanwhile, and that ends the process
/// (2.12.1: `rd_kafka_admin_coord_request` finds the question gone, and `rd_kafka_coord_req_fail` answers it all the same). So [`Call`]
/// alone counts the time, and whoever asks closes the client when that is over, see `Session::ask_on`.
fn options_of_question(handle: Handle, api: sys::rd_kafka_admin_op_t) -> Result<Owned<sys::rd_kafka_AdminOptions_t>, Fault> {
    // The longest that librdkafka accepts.
    options(handle, api, Duration::from_hours(1))
}

/// Makes the broker say what may be done with what it describes (KIP-430).
fn include_operations(options: &Owned<sys::rd_kafka_AdminOptions_t>) -> Result<(), Fault> {
    // SAFETY: valid options; the error is ours to free.
    unsafe { taken(sys::rd_kafka_AdminOptions_set_include_authorized_operations(options.get(), 1)) }
}

/// Sends with a queue of the call's own, and waits there for the answers.
struct Call {
    queue: Owned<sys::rd_kafka_queue_t>,
    /// librdkafka answers within the limit that it was given; a second on top is for a busy machine.
    deadline: Instant,
}

impl Call {
    fn new(handle: Handle, limit: Duration) -> Result<Self, Fault> {
        // SAFETY: the handle's client lives.
        let queue = Owned::new(unsafe { sys::rd_kafka_queue_new(handle.0) }, sys::rd_kafka_queue_destroy)?;
        Ok(Self { queue, deadline: Instant::now() + limit + Duration::from_secs(1) })
    }

    /// The next answer.
    fn answer(&self) -> Result<Owned<sys::rd_kafka_event_t>, Fault> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let millis = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_the_future_is_a_fault_like_any_other() {
        let unknown = fault_of(4711);
        assert_eq!(unknown.code, 4711);
        assert!(!unknown.text.is_empty());
    }

    #[test]
    fn operations_that_were_not_said_are_told_apart_from_none_at_all() {
        let known = [3, 4711];
        // SAFETY: the pointers are null or belong to the array.
        let read = unsafe { [operations(std::ptr::null(), 7), operations(known.as_ptr(), 0), operations(known.as_ptr(), 2)] };
        assert_eq!(read, [None, Some(vec![]), Some(vec![3, 4711])]);
    }
}
