//! Which certificates are trust anchors for librdkafka.

use std::{
    ffi::{c_char, c_int, c_ulong},
    sync::Once,
};

use super::raw_error::RawError;

/// OpenSSL's `X509_V_FLAG_PARTIAL_CHAIN`: a trusted certificate ends the chain, even when another CA
/// has issued it.
const PARTIAL_CHAIN: c_ulong = 0x8_0000;

/// OpenSSL's `X509_PURPOSE_SSL_SERVER` and `X509_TRUST_SSL_SERVER`, which the parameters of this
/// name have.
const PURPOSE_SSL_SERVER: c_int = 2;
const TRUST_SSL_SERVER: c_int = 3;

/// The parameters that OpenSSL takes to verify the certificate of a TLS server.
const SSL_SERVER: &std::ffi::CStr = c"ssl_server";

#[repr(C)]
struct VerifyParam {
    _opaque: [u8; 0],
}

// Of the OpenSSL that librdkafka is linked with.
unsafe extern "C" {
    fn X509_VERIFY_PARAM_new() -> *mut VerifyParam;
    fn X509_VERIFY_PARAM_free(param: *mut VerifyParam);
    fn X509_VERIFY_PARAM_set1_name(param: *mut VerifyParam, name: *const c_char) -> c_int;
    fn X509_VERIFY_PARAM_set_flags(param: *mut VerifyParam, flags: c_ulong) -> c_int;
    fn X509_VERIFY_PARAM_set_purpose(param: *mut VerifyParam, purpose: c_int) -> c_int;
    fn X509_VERIFY_PARAM_set_trust(param: *mut VerifyParam, trust: c_int) -> c_int;
    fn X509_VERIFY_PARAM_add0_table(param: *mut VerifyParam) -> c_int;
}

/// Lets a trusted certificate be an intermediate CA's, as Java, Go and rustls do: what cert-manager
/// writes as `ca.crt` is the issuer's own certificate, and that may be an intermediate one.
///
/// librdkafka has no setting for it. So OpenSSL's default parameters for verifying a TLS server are
/// replaced, for the whole process, before its first client is created.
///
/// # Errors
/// When OpenSSL does not take the parameters; a trusted certificate must be self-signed then.
pub(in crate::kafka) fn trust_intermediates() -> Result<(), RawError> {
    static ONCE: Once = Once::new();
    let mut done = Ok(());
    ONCE.call_once(|| done = replace_parameters());
    done
}

fn replace_parameters() -> Result<(), RawError> {
    let failed = || RawError::invalid("OpenSSL does not take the parameters for verifying certificates");
    // SAFETY: the object is ours until the table takes it over, and is freed when that fails. The
    // name is copied. The table is not in use yet: this runs once, before the first connection.
    unsafe {
        let param = X509_VERIFY_PARAM_new();
        if param.is_null() {
            return Err(failed());
        }
        let set = X509_VERIFY_PARAM_set1_name(param, SSL_SERVER.as_ptr()) == 1
            && X509_VERIFY_PARAM_set_flags(param, PARTIAL_CHAIN) == 1
            && X509_VERIFY_PARAM_set_purpose(param, PURPOSE_SSL_SERVER) == 1
            && X509_VERIFY_PARAM_set_trust(param, TRUST_SSL_SERVER) == 1
            && X509_VERIFY_PARAM_add0_table(param) == 1;
        if set {
            return Ok(());
        }
        X509_VERIFY_PARAM_free(param);
        Err(failed())
    }
}
