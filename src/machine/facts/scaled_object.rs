//! A KEDA ScaledObject that scales a target.

use super::denial::Denial;

/// What was seen of the ScaledObject of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScaledObjectSeen {
    /// No ScaledObject scales it, or KEDA is not installed.
    Absent,
    /// KEDA is installed, and the operator may not read its objects; the text is the API server's.
    Hidden(String),
    /// Reading failed; the text says why.
    Unknown(String),
    /// A ScaledObject scales it.
    Found(ScaledObject),
}

/// A ScaledObject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaledObject {
    /// Its name.
    pub name: String,
    /// The version that was read.
    pub resource_version: String,
    /// It has the annotation that pauses it.
    pub paused: bool,
    /// This operator has paused it.
    pub ours: bool,
    /// The replica count in its annotation `paused-replicas`, at which KEDA keeps the target.
    pub fixed_replicas: Option<String>,
    /// KEDA reports it as paused.
    pub acknowledged: bool,
    /// Why pausing it would be refused, from a dry run; only tried while planning.
    pub refusal: Option<Denial>,
}
