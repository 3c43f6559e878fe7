//! What is wrong with certificates and keys, before librdkafka sees them: it would name neither the Secret nor the key. Nothing of what
//! they hold is ever said.

use openssl::{pkey::PKey, x509::X509};

/// What is wrong with a client certificate and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The certificate cannot be read.
    Certificate,
    /// The key cannot be read.
    Key,
    /// The key is another certificate's.
    Pair,
}

/// Whether each certificate in a PEM can be read, and there is one.
#[must_use]
pub fn are_certificates(pem: &str) -> bool {
    X509::stack_from_pem(pem.as_bytes()).is_ok_and(|all| !all.is_empty())
}

/// Whether a client certificate and its key can be read, and belong together.
///
/// # Errors
/// When they cannot, or do not.
pub fn check_pair(certificate: &str, key: &str) -> Result<(), Flaw> {
    let mut chain = X509::stack_from_pem(certificate.as_bytes()).map_err(|_| Flaw::Certificate)?.into_iter();
    // The holder's comes first; those between it and its authority follow.
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
    fn a_key_that_is_not_the_certificates_is_seen() {
        let ((certificate, key), (other, other_key)) = (pair(), pair());
        assert_eq!(check_pair(&certificate, &key), Ok(()));
        assert_eq!(check_pair(&format!("{certificate}{other}"), &key), Ok(()), "the first one is the holder's");
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
