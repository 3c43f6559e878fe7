//! Something that was looked at: unknown is never empty, stopped or absent.

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<T> {
    /// Looking failed; the text says how.
    Unknown(String),
    /// It is not there, says somebody who must know.
    Missing,
    /// It is there.
    Known(T),
}
