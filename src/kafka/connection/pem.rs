//! Reads certificates and keys before librdkafka does, because its errors name neither the Secret nor
//! the key in it, and because people's files have more in them than it can read. No error contains
//! anything of the PEM.

use openssl::{
    pkey::{PKey, Private},
    x509::X509,
};
use zeroize::Zeroizing;

/// Some editors begin a file with it.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

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

/// The certificates of a PEM, all of them readable, as PEM without anything else: no byte order mark,
/// no other line ends, no text and no attributes between them. So every reader of it sees the same.
/// `None` when there is none, or when one cannot be read.
#[must_use]
pub fn certificates(pem: &str) -> Option<String> {
    written(&read(pem)?)
}

/// A client certificate with its intermediate certificates, and its private key, both as PEM without
/// anything else. Of several keys it is the one of a certificate, which then comes first.
///
/// # Errors
/// The first problem found.
pub fn pair(certificate: &str, key: &str) -> Result<(String, Zeroizing<String>), Flaw> {
    let mut chain = read(certificate).ok_or(Flaw::Certificate)?;
    let keys: Vec<_> = private_keys(key)
        .filter_map(|block| {
            let parsed = PKey::private_key_from_pem_callback(block.as_bytes(), |_| Ok(0)).ok()?;
            Some((block, parsed))
        })
        .collect();
    if keys.is_empty() {
        return Err(Flaw::Key);
    }
    let is_of = |key: &PKey<Private>, certificate: &X509| certificate.public_key().is_ok_and(|public| key.public_eq(&public));
    for (block, key) in keys {
        if let Some(own) = chain.iter().position(|certificate| is_of(&key, certificate)) {
            let first = chain.remove(own);
            chain.insert(0, first);
            return Ok((written(&chain).ok_or(Flaw::Certificate)?, block));
        }
    }
    Err(Flaw::Pair)
}

fn read(pem: &str) -> Option<Vec<X509>> {
    let pem = pem.trim_start_matches(BYTE_ORDER_MARK);
    X509::stack_from_pem(pem.as_bytes()).ok().filter(|all| !all.is_empty())
}

fn written(all: &[X509]) -> Option<String> {
    let blocks = all.iter().map(|certificate| String::from_utf8(certificate.to_pem().ok()?).ok());
    blocks.collect()
}

/// The blocks of private keys in a PEM.
fn private_keys(pem: &str) -> impl Iterator<Item = Zeroizing<String>> {
    let mut lines = pem.trim_start_matches(BYTE_ORDER_MARK).lines().map(str::trim_end);
    let is_mark = |line: &str, mark: &str| line.starts_with(mark) && line.ends_with("PRIVATE KEY-----");
    std::iter::from_fn(move || {
        let first = lines.find(|line| is_mark(line, "-----BEGIN "))?;
        let mut block = Zeroizing::new(format!("{first}\n"));
        for line in lines.by_ref() {
            block.push_str(line);
            block.push('\n');
            if is_mark(line, "-----END ") {
                break;
            }
        }
        Some(block)
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rstest::rstest;

    use super::*;

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn a_key_of_another_certificate_is_found() {
        let ((certificate, key), (other, other_key)) = (self::pair(), self::pair());
        let check = |certificate: &str, key: &str| super::pair(certificate, key).map(|_| ());
        assert_eq!(check(&certificate, &key), Ok(()));
        assert_eq!(check(&format!("{certificate}{other}"), &key), Ok(()));
        assert_eq!(check(&certificate, &other_key), Err(Flaw::Pair));
        assert_eq!(check(&other, &key), Err(Flaw::Pair));
        for broken in ["", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", &certificate] {
            assert_eq!(check(&certificate, broken), Err(Flaw::Key));
        }
        for broken in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key] {
            assert_eq!(check(broken, &key), Err(Flaw::Certificate));
            assert_eq!(certificates(broken), None);
        }
        assert_eq!(certificates(&format!("in words\n{certificate}{other}")), Some(format!("{certificate}{other}")));
        let broken = format!("{certificate}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert_eq!(certificates(&broken), None);
    }

    /// What people's files have in them, and what librdkafka is given of it.
    #[rstest]
    #[case::line_ends_of_windows(|pem: &str, _: &str| pem.replace('\n', "\r\n"))]
    #[case::a_byte_order_mark(|pem: &str, _: &str| format!("\u{feff}{pem}"))]
    #[case::attributes_of_a_bag(|pem: &str, _: &str| format!("Bag Attributes\n    localKeyID: 01 02\nsubject=CN = orders\n{pem}"))]
    #[case::text_of_openssl_before_it(|pem: &str, _: &str| format!("Certificate:\n    Data:\n        Version: 3 (0x2)\n{pem}"))]
    #[case::no_line_end_at_the_end(|pem: &str, _: &str| pem.trim_end().to_owned())]
    #[case::empty_lines(|pem: &str, _: &str| format!("\n\n{pem}\n\n"))]
    #[case::key_and_certificate_in_one_file(|pem: &str, other: &str| format!("{other}{pem}"))]
    fn what_else_is_in_a_file_does_not_matter(#[case] odd: fn(&str, &str) -> String) {
        let (certificate, key) = self::pair();
        let found = super::pair(&odd(&certificate, &key), &odd(&key, &certificate)).unwrap();
        assert_eq!((found.0.as_str(), found.1.as_str()), (certificate.as_str(), key.as_str()));
        assert_eq!(certificates(&odd(&certificate, &key)).unwrap(), certificate);
    }

    #[test]
    fn of_several_keys_and_certificates_those_that_belong_together_are_taken() {
        let ((certificate, key), (other, other_key)) = (self::pair(), self::pair());
        let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
        let found = super::pair(&certificate, &format!("{parameters}{other_key}{key}")).unwrap();
        assert_eq!((found.0.as_str(), found.1.as_str()), (certificate.as_str(), key.as_str()));
        // The client's own certificate goes first, where the file has a CA's before it.
        assert_eq!(super::pair(&format!("{other}{certificate}"), &key).unwrap().0, format!("{certificate}{other}"));
    }
}
