//! What must never be shown: passwords and keys.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use zeroize::Zeroizing;

/// A secret text. Shows nothing of itself, and is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// From a text, which is overwritten when this is dropped.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
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
