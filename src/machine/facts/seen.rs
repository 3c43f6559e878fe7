//! The result of reading something: unknown never counts as empty, stopped or absent.

/// The result of reading something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<T> {
    /// Reading failed; the text says why.
    Unknown(String),
    /// It does not exist, as the API server or the broker reports.
    Missing,
    /// It exists.
    Known(T),
}
