//! TLS for the operator's own connections, by librdkafka's rules and with the same OpenSSL: only
//! the given CAs, or only the public ones, are trusted, and the certificate must be valid for the
//! host.

use std::{fmt, pin::Pin};

use openssl::{
    error::ErrorStack,
    pkey::PKey,
    ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion},
    x509::{
        X509, X509VerifyResult,
        store::{X509Store, X509StoreBuilder},
    },
};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use crate::kafka::connection::{Authentication, Tls};

/// Why a TLS handshake failed.
#[derive(Debug)]
pub(in crate::kafka) struct HandshakeError {
    /// Why the certificate is not trusted, in OpenSSL's words and number; `X509_V_OK` when the
    /// certificate is not the reason.
    pub certificate: X509VerifyResult,
    /// OpenSSL's error.
    why: String,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.certificate == X509VerifyResult::OK {
            f.write_str(&self.why)
        } else {
            write!(f, "the certificate is not trusted: {}", self.certificate.error_string())
        }
    }
}

/// The settings of a connection.
///
/// # Errors
/// When a certificate or a key cannot be read.
pub(in crate::kafka) fn connector(tls: &Tls, authentication: Option<&Authentication>) -> Result<SslConnector, String> {
    let set_up = || {
        let mut builder = SslConnector::builder(SslMethod::tls_client())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        builder.set_verify(SslVerifyMode::PEER);
        Ok::<_, ErrorStack>(builder)
    };
    let mut builder = set_up().map_err(|error| format!("TLS cannot be set up: {error}"))?;
    builder.set_cert_store(trusted(tls).map_err(|error| format!("a CA certificate cannot be read: {error}"))?);
    if let Some(Authentication::Certificate { certificate, key }) = authentication {
        let chain = X509::stack_from_pem(certificate.as_bytes());
        let mut chain = chain.map_err(|error| format!("the client certificate cannot be read: {error}"))?.into_iter();
        let own = chain.next().ok_or("the client certificate is empty")?;
        let key = PKey::private_key_from_pem_callback(key.reveal().as_bytes(), |_| Ok(0));
        let key = key.map_err(|_| "the private key cannot be read")?;
        let set = builder.set_certificate(&own).and_then(|()| builder.set_private_key(&key));
        let set = set.and_then(|()| chain.try_for_each(|between| builder.add_extra_chain_cert(between)));
        set.map_err(|error| format!("the client certificate cannot be used: {error}"))?;
    }
    Ok(builder.build())
}

fn trusted(tls: &Tls) -> Result<X509Store, ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    match tls {
        // Those that OpenSSL cannot read vouch for nothing.
        Tls::Public => {
            for certificate in rustls_native_certs::load_native_certs().certs {
                if let Ok(certificate) = X509::from_der(&certificate) {
                    store.add_cert(certificate)?;
                }
            }
        }
        Tls::Trusted(certificates) => {
            for certificate in X509::stack_from_pem(certificates.as_bytes())? {
                store.add_cert(certificate)?;
            }
        }
    }
    Ok(store.build())
}

/// Performs the TLS handshake. `host` is a host name, or an IP address without brackets.
///
/// # Errors
/// When the server does not speak TLS, or its certificate is not trusted.
pub(in crate::kafka) async fn handshake(
    connector: &SslConnector,
    host: &str,
    stream: TcpStream,
) -> Result<SslStream<TcpStream>, HandshakeError> {
    let failed = |error: &dyn fmt::Display| HandshakeError { certificate: X509VerifyResult::OK, why: error.to_string() };
    let session = connector.configure().and_then(|configuration| configuration.into_ssl(host));
    let session = session.map_err(|error| failed(&error))?;
    let mut stream = SslStream::new(session, stream).map_err(|error| failed(&error))?;
    match Pin::new(&mut stream).connect().await {
        Ok(()) => Ok(stream),
        Err(error) => Err(HandshakeError { certificate: stream.ssl().verify_result(), why: error.to_string() }),
    }
}
