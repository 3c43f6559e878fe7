//! Checks of certificates and keys before librdkafka reads them, because its errors name neither
//! the Secret nor the key in it. No result contains anything of the PEM.

use openssl::{pkey::PKey, x509::X509};

/// A problem of a client certificate and its private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The certificate cannot be read.
    Certificate,
    /// The key cannot be read.
    Key,
    /// The key belongs to another certificate.
    Pair,
}

/// Whether a PEM holds certificates, all of them readable.
#[must_use]
pub fn are_certificates(pem: &str) -> bool {
    X509::stack_from_pem(pem.as_bytes()).is_ok_and(|all| !all.is_empty())
}

/// Checks that a client certificate and its private key can be read and belong together.
///
/// # Errors
/// The first problem found.
pub fn check_pair(certificate: &str, key: &str) -> Result<(), Flaw> {
    let mut chain = X509::stack_from_pem(certificate.as_bytes()).map_err(|_| Flaw::Certificate)?.into_iter();
    // The client's own certificate comes first; intermediate certificates follow.
    let public = chain.next().and_then(|first| first.public_key().ok()).ok_or(Flaw::Certificate)?;
    let private = PKey::private_key_from_pem_callback(key.as_bytes(), |_| Ok(0)).map_err(|_| Flaw::Key)?;
    if private.public_eq(&public) { Ok(()) } else { Err(Flaw::Pair) }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn a_key_of_another_certificate_is_found() {
        let ((certificate, key), (other, other_key)) = (pair(), pair());
        assert_eq!(check_pair(&certificate, &key), Ok(()));
        assert_eq!(check_pair(&format!("{certificate}{other}"), &key), Ok(()), "the first certificate is the client's own");
        assert_eq!(check_pair(&certificate, &other_key), Err(Flaw::Pair));
        assert_eq!(check_pair(&other, &key), Err(Flaw::Pair));
        for broken in ["", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", &certificate] {
            assert_eq!(check_pair(&certificate, broken), Err(Flaw::Key));
        }
        for broken in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key] {
            assert_eq!(check_pair(broken, &key), Err(Flaw::Certificate));
            assert!(!are_certificates(broken));
        }
        assert!(are_certificates(&format!("in words\n{certificate}{other}")));
        assert!(!are_certificates(&format!("{certificate}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")));
    }
}
