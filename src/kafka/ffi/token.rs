//! The OAuth token with which a client authenticates.

use std::{collections::BTreeMap, ffi::CString};

use rdkafka_sys as sys;

use super::{
    handle::{Handle, c_string},
    raw_error::{RawError, text},
};

/// The size of the buffer for librdkafka's error text, in bytes.
const ERROR_SIZE: usize = 512;

/// Gives a client its token, and what the brokers receive beside it. `expires` is in milliseconds
/// since the epoch.
///
/// # Errors
/// When librdkafka does not accept the token, for example because it has expired. The error does
/// not contain the token.
pub(in crate::kafka) fn set_token(
    handle: Handle,
    token: &str,
    expires: i64,
    principal: &str,
    extensions: &BTreeMap<String, String>,
) -> Result<(), RawError> {
    let (token, principal) = (c_string(token)?, c_string(principal)?);
    // Names and values in turn.
    let extensions = extensions.iter().flat_map(|(name, value)| [name, value]);
    let extensions = extensions.map(|text| c_string(text)).collect::<Result<Vec<CString>, RawError>>()?;
    let mut pointers: Vec<_> = extensions.iter().map(|text| text.as_ptr()).collect();
    let mut why = [0; ERROR_SIZE];
    // SAFETY: the handle's client lives during the call; librdkafka copies the strings, and
    // terminates its text within the buffer.
    unsafe {
        let code = sys::rd_kafka_oauthbearer_set_token(
            handle.get(),
            token.as_ptr(),
            expires,
            principal.as_ptr(),
            pointers.as_mut_ptr(),
            pointers.len(),
            why.as_mut_ptr(),
            why.len(),
        );
        if code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        Err(RawError::invalid(format!("librdkafka does not accept the token: {}", text(why.as_ptr()))))
    }
}
