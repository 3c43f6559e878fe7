//! What must never be shown: passwords and keys.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use zeroize::Zeroizing;

use super::pem::{self, Flaw};

/// A secret text. Shows nothing of itself, and is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// From a text, which is overwritten when this is dropped.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Whether this is the private key of a certificate.
    ///
    /// # Errors
    /// When it is not, or one of them cannot be read.
    pub fn check_pair(&self, certificate: &str) -> Result<(), Flaw> {
        pem::check_pair(certificate, &self.0)
    }

    /// The text; only for whoever hands it to librdkafka.
    pub(super) fn reveal(&self) -> &str {
        &self.0
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
    fn a_secret_shows_nothing_of_itself() {
        let shown = format!("{:?} {:#?}", Secret::new("planted".into()), Some(Secret::new("planted".into())));
        assert!(!shown.contains("planted"), "{shown}");
    }
}
