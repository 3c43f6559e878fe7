//! Reads values from a Secret and explains what is wrong with it. No message ever contains a value.

use crate::{
    kafka::{
        Secret,
        pem::{self, Flaw},
    },
    kubernetes::SecretData,
    machine::facts::{KafkaError, KafkaErrorKind},
};

/// The number of keys that a message lists at most.
const MAX_LISTED_KEYS: usize = 30;

/// The problem of a PEM certificate that OpenSSL cannot parse.
const UNREADABLE: &str = "contains a certificate that cannot be read";

/// Reads the values of a Secret that a field of the spec names.
pub(super) struct SecretReader<'a> {
    about: String,
    data: &'a SecretData,
}

impl<'a> SecretReader<'a> {
    /// `about` begins each message: which Secret it is, and which field names it.
    pub fn new(about: String, data: &'a SecretData) -> Self {
        Self { about, data }
    }

    /// The text of a required key.
    pub fn text(&self, key: &str) -> Result<String, KafkaError> {
        let Some(bytes) = self.data.get(key) else { return Err(self.missing(key)) };
        match std::str::from_utf8(bytes) {
            Ok(text) if text.contains('\0') => Err(self.invalid(key, "contains a NUL byte")),
            Ok("") => Err(self.invalid(key, "is empty")),
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.invalid(key, "is not UTF-8 text")),
        }
    }

    /// The PEM certificates of a key, all of which can be parsed.
    pub fn certificates(&self, key: &str) -> Result<String, KafkaError> {
        let text = self.pem(key, "CERTIFICATE")?;
        pem::certificates(&text).ok_or_else(|| self.unreadable(key, &text))
    }

    /// A client certificate and its private key.
    pub fn pair(&self, certificate: &str, key: &str) -> Result<(String, Secret), KafkaError> {
        let shown = self.pem(certificate, "CERTIFICATE")?;
        let secret = Secret::new(self.pem(key, "PRIVATE KEY")?);
        match secret.pair(&shown) {
            Ok(pair) => Ok(pair),
            Err(Flaw::Certificate) => Err(self.unreadable(certificate, &shown)),
            Err(Flaw::Key) => Err(self.invalid(key, "contains a private key that cannot be read")),
            Err(Flaw::Pair) => Err(self.invalid(key, "is not the private key of the certificate")),
        }
    }

    /// The error for a certificate that cannot be read.
    fn unreadable(&self, key: &str, text: &str) -> KafkaError {
        if text.contains("-----BEGIN TRUSTED CERTIFICATE-----") {
            return self.invalid(key, "contains a TRUSTED CERTIFICATE, which only OpenSSL reads; convert it with openssl x509");
        }
        self.invalid(key, UNREADABLE)
    }

    /// A password. A line break at its end is hardly part of it: `echo` adds one, and consumers that
    /// trim their passwords do not notice.
    pub fn password(&self, key: &str) -> Result<Secret, KafkaError> {
        let text = Secret::new(self.text(key)?);
        if text.ends_with_line_break() {
            return Err(self.invalid(
                key,
                "ends with a line break, which is probably not part of it; store it without the line break, for example with printf '%s' instead of echo",
            ));
        }
        Ok(text)
    }

    /// The PEM of a key, with a block of this kind.
    fn pem(&self, key: &str, kind: &str) -> Result<String, KafkaError> {
        let text = self.text(key)?;
        let begins = |line: &str| {
            line.trim_start_matches(pem::BYTE_ORDER_MARK).starts_with("-----BEGIN ")
                && line.trim_end().ends_with(&format!("{kind}-----"))
        };
        if !text.lines().any(begins) {
            return Err(self.invalid(key, &format!("is not PEM: it has no line -----BEGIN {kind}-----")));
        }
        if kind == "PRIVATE KEY" && text.contains("ENCRYPTED") {
            let problem = "is an encrypted private key; store it unencrypted, as Strimzi and cert-manager do";
            return Err(self.invalid(key, problem));
        }
        Ok(text)
    }

    /// The keys of the Secret.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.data.keys()
    }

    /// Whether the Secret has this key.
    pub fn has(&self, key: &str) -> bool {
        self.data.get(key).is_some()
    }

    /// The error for a missing key.
    pub fn missing(&self, key: &str) -> KafkaError {
        self.missing_as(&format!("key {key}"))
    }

    /// The same, with other words for the key.
    pub fn missing_as(&self, what: &str) -> KafkaError {
        let mut keys: Vec<&str> = self.data.keys().take(MAX_LISTED_KEYS + 1).collect();
        if keys.len() > MAX_LISTED_KEYS {
            keys[MAX_LISTED_KEYS] = "and more";
        }
        let has = if keys.is_empty() { "it is empty".to_owned() } else { format!("it has: {}", keys.join(", ")) };
        KafkaError::new(KafkaErrorKind::SecretUnavailable, format!("{} has no {what}; {has}", self.about))
    }

    /// The error for a value that is not what it should be.
    pub fn invalid(&self, key: &str, problem: &str) -> KafkaError {
        let message = format!("{} is invalid: key {key} {problem}", self.about);
        KafkaError::new(KafkaErrorKind::SecretInvalid, message)
    }
}
