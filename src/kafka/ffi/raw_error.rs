//! An error of librdkafka as it is: a code and a text.

use std::ffi::{CStr, c_char};

use rdkafka_sys as sys;

use super::plain;

/// An error with its code, before anybody has thought about what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kafka) struct Fault {
    /// Kafka's code, or librdkafka's own where it is negative.
    pub code: i32,
    /// What librdkafka says about it.
    pub text: String,
}

/// A fault of ours: what was to be sent cannot be expressed.
pub(in crate::kafka) const INVALID_ARGUMENT: i32 = -186;

/// `UNKNOWN_TOPIC_OR_PARTITION`.
pub(in crate::kafka) const UNKNOWN: i32 = 3;

pub(super) fn fault(code: i32, text: &str) -> Fault {
    Fault { code, text: text.to_owned() }
}

/// The fault of a partition for which no answer came, in a call that was answered.
pub(super) fn silence() -> Fault {
    fault(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT as i32, "the broker did not answer for it")
}

/// A code with librdkafka's words for it.
pub(in crate::kafka) fn fault_of(code: i32) -> Fault {
    // SAFETY: takes any integer, and answers with a static string.
    let text = unsafe { text(plain::rd_kafka_err2str(code)) };
    Fault { code, text }
}

/// # Safety
/// `pointer` is null or a C string.
pub(super) unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: by the contract of this function.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// # Safety
/// `error` is null or a librdkafka error object.
pub(super) unsafe fn check(error: *const sys::rd_kafka_error_t) -> Result<(), Fault> {
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
pub(super) unsafe fn taken(error: *mut sys::rd_kafka_error_t) -> Result<(), Fault> {
    // SAFETY: by the contract of this function.
    unsafe {
        let checked = check(error);
        if !error.is_null() {
            sys::rd_kafka_error_destroy(error);
        }
        checked
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
}
