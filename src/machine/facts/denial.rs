//! Why the API server refuses a request.

use std::fmt;

/// Why the API server refuses a request, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The operator is not authenticated (401) or not authorized (403). It may be a little later: an
    /// API server that has just started does not know all rights yet, and a right may be granted
    /// after the reset was applied.
    NotAllowed(String),
    /// The same request would be refused again: an admission policy or a webhook denies it, or what
    /// was sent is not valid.
    Refused(String),
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NotAllowed(why) | Self::Refused(why)) = self;
        f.write_str(why)
    }
}
