//! Passwords and keys, which are never shown.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use zeroize::Zeroizing;

use super::pem::{self, Flaw};

/// A secret text. Its `Debug` output shows nothing of it, and its memory is overwritten when it is
/// dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// From a text, whose memory is overwritten when this is dropped.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The private key of a certificate out of a file's text, and the certificate with its
    /// intermediate certificates: both as PEM and nothing else.
    ///
    /// # Errors
    /// When they do not belong together, or one cannot be read.
    pub fn pair(&self, certificate: &str) -> Result<(String, Self), Flaw> {
        pem::pair(certificate, &self.0).map(|(certificate, key)| (certificate, Self(key)))
    }

    /// Whether the text ends with a line break.
    #[must_use]
    pub fn ends_with_line_break(&self) -> bool {
        self.0.ends_with(['\n', '\r'])
    }

    /// The text itself, for an authentication.
    pub(in crate::kafka) fn reveal(&self) -> &str {
        &self.0
    }
}

/// Serializes a secret with its text, for the pipe to a client's process only. A field opts in by
/// `#[serde(with = "revealed")]`.
pub(super) mod revealed {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Secret;

    pub fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.reveal())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

impl Hash for Secret {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_nothing_of_a_secret() {
        let shown = format!("{:?} {:#?}", Secret::new("planted".into()), Some(Secret::new("planted".into())));
        assert!(!shown.contains("planted"), "{shown}");
    }
}
