//! A spec that the schema lets through and that still means nothing.

/// A spec that the schema lets through and that still means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spec.{field}: {problem}")]
pub struct InvalidSpec {
    field: String,
    problem: String,
}

impl InvalidSpec {
    pub(in crate::machine) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}
