//! The token that a client shows to the brokers.

use std::ptr;

use rdkafka_sys as sys;

use super::{
    handle::{Handle, c_string},
    raw_error::{Fault, INVALID_ARGUMENT, text},
};

/// How long librdkafka's words may be.
const WORDS: usize = 512;

/// Gives a client its token, which ends at a time in milliseconds since the epoch.
///
/// # Errors
/// When librdkafka does not take it, for example because it is over already. Its words do not repeat the token.
pub(in crate::kafka) fn set_token(handle: Handle, token: &str, expires: i64, principal: &str) -> Result<(), Fault> {
    let (token, principal) = (c_string(token)?, c_string(principal)?);
    let mut words = [0; WORDS];
    // SAFETY: the handle's client lives during the call; librdkafka copies the strings, and ends its words within their bounds.
    unsafe {
        let code = sys::rd_kafka_oauthbearer_set_token(
            handle.get(),
            token.as_ptr(),
            expires,
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            words.as_mut_ptr(),
            words.len(),
        );
        if code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        Err(Fault { code: INVALID_ARGUMENT, text: format!("librdkafka does not take the token: {}", text(words.as_ptr())) })
    }
}
