//! A KEDA ScaledObject that scales a target.

/// What was seen of the autoscaler of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScaledObjectSeen {
    /// No ScaledObject scales it, or KEDA is not installed.
    Absent,
    /// KEDA is installed, and its objects may not be read; the API server's words.
    Hidden(String),
    /// Looking failed; the text says how.
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
    /// It is told to pause.
    pub paused: bool,
    /// By this operator.
    pub ours: bool,
    /// It is told to keep the target at so many replicas, whatever else happens.
    pub fixed_replicas: Option<String>,
    /// KEDA says that it has paused.
    pub acknowledged: bool,
    /// Why pausing it would be refused, from a dry run; only tried while planning.
    pub refusal: Option<String>,
}
