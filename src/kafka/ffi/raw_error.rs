//! An error of librdkafka as it is: a code and a text.

use std::ffi::{CStr, c_char};

use rdkafka_sys as sys;

use super::plain;

/// `INVALID_ARGUMENT`, librdkafka's code for a request that cannot be expressed.
pub(in crate::kafka) const INVALID_ARGUMENT: i32 = -186;

/// `UNKNOWN_TOPIC_OR_PARTITION`.
pub(in crate::kafka) const UNKNOWN_TOPIC: i32 = 3;

/// A code and a text, not yet interpreted: see `diagnostics::error_codes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kafka) struct RawError {
    /// Kafka's code, or librdkafka's own where it is negative.
    pub code: i32,
    /// What librdkafka says about it.
    pub text: String,
}

impl RawError {
    /// From a code, with librdkafka's text for it.
    pub fn of_code(code: i32) -> Self {
        // SAFETY: takes any integer, and returns a static string.
        let text = unsafe { text(plain::rd_kafka_err2str(code)) };
        Self { code, text }
    }

    /// A request that cannot be expressed.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self { code: INVALID_ARGUMENT, text: text.into() }
    }

    /// A partition without an answer in a call that was answered.
    pub(super) fn no_answer() -> Self {
        let code = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT as i32;
        Self { code, text: "the broker did not answer for it".into() }
    }
}

/// A copy of a C string.
///
/// # Safety
/// `pointer` is null or a C string.
pub(super) unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: by the contract of this function.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// The error in an error object, which stays as it is.
///
/// # Safety
/// `error` is null or a librdkafka error object.
pub(super) unsafe fn check(error: *const sys::rd_kafka_error_t) -> Result<(), RawError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a valid error object, by the contract of this function.
    let (code, text) = unsafe { (plain::rd_kafka_error_code(error.cast()), text(sys::rd_kafka_error_string(error))) };
    if code == 0 { Ok(()) } else { Err(RawError { code, text }) }
}

/// The error in an error object, which is freed. For what setting an option or building a request
/// returns.
///
/// # Safety
/// `error` is null or a librdkafka error object that is not used afterwards.
pub(super) unsafe fn check_and_free(error: *mut sys::rd_kafka_error_t) -> Result<(), RawError> {
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
    fn a_code_of_the_future_is_an_error_like_any_other() {
        let unknown = RawError::of_code(4711);
        assert_eq!(unknown.code, 4711);
        assert!(!unknown.text.is_empty());
    }
}
