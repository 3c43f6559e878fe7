//! A Secret that was read, and in words what is wrong with it. Of what it holds nothing is ever said.

use crate::{
    kafka::{
        Secret,
        pem::{self, Flaw},
    },
    kubernetes::Material,
    machine::facts::{KafkaError, KafkaErrorKind},
};

/// How many of its keys a message names.
const NAMED_KEYS: usize = 30;

/// What is wrong with a certificate that looks like one.
const UNREADABLE: &str = "holds a certificate that cannot be read";

/// A Secret that a field of the spec names.
pub(super) struct Found<'a> {
    about: String,
    material: &'a Material,
}

impl<'a> Found<'a> {
    /// `about` is how messages call it: which Secret, and which field names it.
    pub fn new(about: String, material: &'a Material) -> Self {
        Self { about, material }
    }

    /// The text under a key that must be there.
    pub fn text(&self, key: &str) -> Result<String, KafkaError> {
        let Some(bytes) = self.material.get(key) else { return Err(self.lacks(key)) };
        match std::str::from_utf8(bytes) {
            Ok(text) if text.contains('\0') => Err(self.invalid(key, "holds a NUL byte")),
            Ok("") => Err(self.invalid(key, "is empty")),
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.invalid(key, "is no text in UTF-8")),
        }
    }

    /// Certificates, each of which can be read.
    pub fn certificates(&self, key: &str) -> Result<String, KafkaError> {
        let text = self.pem(key, "CERTIFICATE")?;
        if pem::are_certificates(&text) { Ok(text) } else { Err(self.invalid(key, UNREADABLE)) }
    }

    /// A client certificate and its key.
    pub fn pair(&self, certificate: &str, key: &str) -> Result<(String, Secret), KafkaError> {
        let shown = self.pem(certificate, "CERTIFICATE")?;
        let secret = Secret::new(self.pem(key, "PRIVATE KEY")?);
        match secret.check_pair(&shown) {
            Ok(()) => Ok((shown, secret)),
            Err(Flaw::Certificate) => Err(self.invalid(certificate, UNREADABLE)),
            Err(Flaw::Key) => Err(self.invalid(key, "holds a private key that cannot be read")),
            Err(Flaw::Pair) => Err(self.invalid(key, "is the private key of another certificate")),
        }
    }

    /// A PEM with a block of this kind.
    fn pem(&self, key: &str, kind: &str) -> Result<String, KafkaError> {
        let text = self.text(key)?;
        let begins = |line: &str| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{kind}-----"));
        if !text.lines().any(begins) {
            return Err(self.invalid(key, &format!("is no PEM: it has no line -----BEGIN {kind}-----")));
        }
        if kind == "PRIVATE KEY" && text.contains("ENCRYPTED") {
            let problem = "is an encrypted private key; store it unencrypted, as Strimzi and cert-manager do";
            return Err(self.invalid(key, problem));
        }
        Ok(text)
    }

    /// Its keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.material.keys()
    }

    /// Whether there is such a key.
    pub fn has(&self, key: &str) -> bool {
        self.material.get(key).is_some()
    }

    /// There is no such key.
    pub fn lacks(&self, key: &str) -> KafkaError {
        let mut keys: Vec<&str> = self.material.keys().take(NAMED_KEYS + 1).collect();
        if keys.len() > NAMED_KEYS {
            keys[NAMED_KEYS] = "and more";
        }
        let has = if keys.is_empty() { "it is empty".to_owned() } else { format!("it has: {}", keys.join(", ")) };
        KafkaError::new(KafkaErrorKind::SecretUnavailable, format!("{} has no key {key}; {has}", self.about))
    }

    /// What is under a key is not what it should be.
    pub fn invalid(&self, key: &str, problem: &str) -> KafkaError {
        let message = format!("{} is not as it should be: key {key} {problem}", self.about);
        KafkaError::new(KafkaErrorKind::SecretInvalid, message)
    }
}
