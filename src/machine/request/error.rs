//! A spec that the schema accepts and that still cannot be carried out.

/// A spec that the schema accepts and that still cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spec.{field}: {problem}")]
pub struct InvalidSpec {
    /// The path of the field below `spec`.
    pub(in crate::machine) field: String,
    problem: String,
}

impl InvalidSpec {
    pub(in crate::machine) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}
