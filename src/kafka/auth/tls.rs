//! TLS for a connection of our own, by the same rules as librdkafka's: the authorities that are named and no others, or the public ones; and
//! the broker's name must be in its certificate.

use std::sync::Arc;

use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::kafka::connection::{Authentication, Tls};

/// The settings of a connection.
///
/// # Errors
/// In words, when a certificate or a key is none.
pub(in crate::kafka) fn settings(tls: &Tls, authentication: Option<&Authentication>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match tls {
        Tls::Public => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
        Tls::Trusted(certificates) => {
            for certificate in chain(certificates)? {
                roots.add(certificate).map_err(|error| format!("an authority cannot be trusted: {error}"))?;
            }
        }
    }
    let settings = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    match authentication {
        Some(Authentication::Certificate { certificate, key }) => {
            let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes()).map_err(|_| "the private key cannot be read")?;
            settings.with_client_auth_cert(chain(certificate)?, key).map_err(|error| format!("the client certificate: {error}"))
        }
        Some(_) | None => Ok(settings.with_no_client_auth()),
    }
}

fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found.map_err(|error| format!("a certificate cannot be read: {error}"))
}
