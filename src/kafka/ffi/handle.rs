//! What the calls share: native objects with an owner, options, and the wait for an answer.

use std::{
    ffi::{CString, c_char},
    ptr::NonNull,
    time::{Duration, Instant},
};

use rdkafka_sys as sys;

use super::{
    plain,
    raw_error::{RawError, check_and_free, text},
};
use crate::machine::facts::TopicPartition;

/// What was answered about each partition, in librdkafka's order.
pub(in crate::kafka) type Answers<T> = Vec<(TopicPartition, Result<T, RawError>)>;

/// The operations that are allowed to us, as numbers of librdkafka's `rd_kafka_AclOperation_t`;
/// `None` when the broker does not report them.
pub(in crate::kafka) type Operations = Option<Vec<i32>>;

/// A client's native handle, borrowed for one call.
#[derive(Clone, Copy)]
pub(in crate::kafka) struct Handle(*mut sys::rd_kafka_t);

impl Handle {
    /// From a client that outlives every use of the handle.
    pub fn new(pointer: *mut sys::rd_kafka_t) -> Self {
        Self(pointer)
    }

    pub(super) fn get(self) -> *mut sys::rd_kafka_t {
        self.0
    }
}

/// A native object that is freed when this is dropped.
pub(super) struct Owned<T> {
    pointer: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    pub(super) fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Result<Self, RawError> {
        let pointer = NonNull::new(pointer).ok_or_else(|| RawError::invalid("librdkafka created no object"))?;
        Ok(Self { pointer, free })
    }

    pub(super) fn get(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from librdkafka, is not null, and is freed only here.
        unsafe { (self.free)(self.pointer.as_ptr()) }
    }
}

/// A copy of librdkafka's list of operations.
///
/// # Safety
/// `first` is null or the first of `count` operations.
pub(super) unsafe fn operations(first: *const i32, count: usize) -> Operations {
    // SAFETY: by the contract of this function. An empty list has a pointer that is not null, and
    // is not read.
    (!first.is_null()).then(|| (0..count).map(|index| unsafe { first.add(index).read() }).collect())
}

/// A name for librdkafka.
///
/// # Errors
/// When it contains a NUL character.
pub(super) fn c_string(text: &str) -> Result<CString, RawError> {
    CString::new(text).map_err(|_| RawError::invalid("a name contains a NUL character"))
}

/// The options of one call: its time limit.
pub(super) fn options(
    handle: Handle,
    api: sys::rd_kafka_admin_op_t,
    limit: Duration,
) -> Result<Owned<sys::rd_kafka_AdminOptions_t>, RawError> {
    // SAFETY: the handle's client lives.
    let pointer = unsafe { sys::rd_kafka_AdminOptions_new(handle.0, api) };
    let options = Owned::new(pointer, sys::rd_kafka_AdminOptions_destroy)?;
    let millis = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    let mut why = [0 as c_char; 256];
    // SAFETY: valid options; the buffer and its length belong together.
    let refused = unsafe { sys::rd_kafka_AdminOptions_set_request_timeout(options.get(), millis, why.as_mut_ptr(), why.len()) };
    if refused as i32 != 0 {
        // SAFETY: librdkafka has written a C string into the buffer.
        return Err(RawError::invalid(unsafe { text(why.as_ptr()) }));
    }
    Ok(options)
}

/// The options of a request about a group. librdkafka must never give up such a request by itself:
/// when it does so while it looks for the group's coordinator, it resumes the request once the
/// broker is back, with memory that it has freed meanwhile, and the process crashes (2.12.1:
/// `rd_kafka_admin_coord_request` finds the request gone, and `rd_kafka_coord_req_fail` answers it
/// all the same). So only [`Call`] counts the time, and after it the caller closes the client, see
/// `Session::ask_on`.
pub(super) fn options_without_limit(
    handle: Handle,
    api: sys::rd_kafka_admin_op_t,
) -> Result<Owned<sys::rd_kafka_AdminOptions_t>, RawError> {
    // The longest that librdkafka accepts.
    options(handle, api, Duration::from_hours(1))
}

/// Makes the broker report the allowed operations too (KIP-430).
pub(super) fn include_operations(options: &Owned<sys::rd_kafka_AdminOptions_t>) -> Result<(), RawError> {
    // SAFETY: valid options; the error is ours to free.
    unsafe { check_and_free(sys::rd_kafka_AdminOptions_set_include_authorized_operations(options.get(), 1)) }
}

/// A call with a queue of its own, in which its answers arrive.
pub(super) struct Call {
    queue: Owned<sys::rd_kafka_queue_t>,
    /// librdkafka answers within its own limit; one second more is for a busy machine.
    deadline: Instant,
}

impl Call {
    pub(super) fn new(handle: Handle, limit: Duration) -> Result<Self, RawError> {
        // SAFETY: the handle's client lives.
        let queue = Owned::new(unsafe { sys::rd_kafka_queue_new(handle.0) }, sys::rd_kafka_queue_destroy)?;
        Ok(Self { queue, deadline: Instant::now() + limit + Duration::from_secs(1) })
    }

    /// The queue in which librdkafka puts the answers.
    pub(super) fn queue(&self) -> *mut sys::rd_kafka_queue_t {
        self.queue.get()
    }

    /// Waits for the next answer.
    pub(super) fn answer(&self) -> Result<Owned<sys::rd_kafka_event_t>, RawError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let millis = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: a valid queue.
        let pointer = unsafe { sys::rd_kafka_queue_poll(self.queue.get(), millis) };
        if pointer.is_null() {
            return Err(RawError::of_code(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT as i32));
        }
        let event = Owned::new(pointer, sys::rd_kafka_event_destroy)?;
        // SAFETY: a valid event.
        let (code, text) =
            unsafe { (plain::rd_kafka_event_error(event.get().cast()), text(sys::rd_kafka_event_error_string(event.get()))) };
        if code == 0 { Ok(event) } else { Err(RawError { code, text }) }
    }
}

/// The result in an event, which lives as long as the event.
///
/// # Errors
/// When the event answers another request.
///
/// # Safety
/// `of` is librdkafka's function for this type of result.
pub(super) unsafe fn result_in<R>(
    event: &Owned<sys::rd_kafka_event_t>,
    of: unsafe extern "C" fn(*mut sys::rd_kafka_event_t) -> *const R,
) -> Result<*const R, RawError> {
    // SAFETY: a valid event, and by the contract of this function.
    let result = unsafe { of(event.get()) };
    if result.is_null() { Err(RawError::invalid("the answer belongs to another request")) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_that_were_not_reported_are_told_apart_from_none_at_all() {
        let known = [3, 4711];
        // SAFETY: the pointers are null or belong to the array.
        let read = unsafe { [operations(std::ptr::null(), 7), operations(known.as_ptr(), 0), operations(known.as_ptr(), 2)] };
        assert_eq!(read, [None, Some(vec![]), Some(vec![3, 4711])]);
    }
}
