//! What `check` has found.

use crate::view::{BAD, GOOD, Line, WARN};

/// What was found, and what to do.
pub struct Finding {
    pub(super) state: State,
    what: String,
    advice: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// As it should be.
    Good,
    /// It works, with something missing.
    Attention,
    /// It does not work.
    Bad,
    /// The current user may not look.
    Unknown,
}

impl Finding {
    /// A finding.
    pub(super) fn new(state: State, what: impl Into<String>) -> Self {
        Self { state, what: what.into(), advice: None }
    }

    /// Says what to do.
    pub(super) fn advice(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    /// What was found, and what to do.
    pub(super) fn into_words(self) -> (String, String) {
        (self.what, self.advice.unwrap_or_default())
    }

    /// Its lines.
    pub fn lines(&self) -> Vec<Line> {
        let sign = match self.state {
            State::Good => Line::styled(GOOD, "✔ "),
            State::Attention => Line::styled(WARN, "⚠ "),
            State::Bad => Line::styled(BAD, "✗ "),
            State::Unknown => Line::plain("? "),
        };
        let mut lines = vec![sign.and(&self.what)];
        lines.extend(self.advice.iter().map(|advice| Line::plain(format!("  {advice}"))));
        lines
    }
}
