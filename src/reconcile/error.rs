//! Why a pass fails.

/// Why a pass failed. Waiting is not failing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object could not be read.
    #[error("the OffsetReset could not be read")]
    Read(#[source] kube::Error),
    /// The others could not be read, so that nobody knows whose turn it is.
    #[error("the other OffsetResets could not be listed")]
    List(#[source] kube::Error),
    /// The status could not be written; nothing that relies on it was done.
    #[error("the status could not be written")]
    WriteStatus(#[source] kube::Error),
    /// The report could not be read.
    #[error("the report could not be read")]
    ReadReport(#[source] kube::Error),
    /// The report could not be written; nothing that relies on it was done.
    #[error("the report could not be written")]
    WriteReport(#[source] kube::Error),
    /// Neither the report nor a status without it can be written.
    #[error("neither the report nor a status without it can be made: {0}")]
    Unrecordable(String),
    /// The finalizer could not be set or removed.
    #[error("the finalizer could not be changed")]
    Finalizer(#[source] kube::Error),
    /// Nobody can tell whether a workload was scaled.
    #[error("the workload could not be scaled")]
    Scale(#[source] kube::Error),
    /// A workload's Lease could not be read.
    #[error("the Lease of a workload could not be read")]
    ReadClaim(#[source] kube::Error),
    /// Nobody can tell whether a workload's Lease was written.
    #[error("the Lease of a workload could not be written")]
    Claim(#[source] kube::Error),
    /// Nobody can tell whether a ScaledObject was changed.
    #[error("the ScaledObject of a workload could not be changed")]
    Autoscaler(#[source] kube::Error),
    /// Nobody can tell whether the receipt was written.
    #[error("the receipt could not be written")]
    Receipt(#[source] kube::Error),
    /// Somebody else's commit relies on the workload's being at zero.
    #[error("the replicas do not come back yet: a commit of an OffsetReset that is gone is still under way")]
    CommitUnderWay,
    /// The lease could not be renewed in time, so another operator may be at work.
    #[error("this operator does not lead for certain any more: nothing was begun, whoever leads goes on")]
    NotLeading,
    /// The object does not have the shape of its own definition.
    #[error("the OffsetReset cannot be decoded: {0}")]
    Undecodable(String),
}

impl Error {
    /// A stable word for metrics and logs.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Read(_) => "read",
            Self::List(_) => "list",
            Self::WriteStatus(_) => "write-status",
            Self::ReadReport(_) => "read-report",
            Self::WriteReport(_) => "write-report",
            Self::Unrecordable(_) => "unrecordable",
            Self::Finalizer(_) => "finalizer",
            Self::Scale(_) => "scale",
            Self::ReadClaim(_) => "read-claim",
            Self::Claim(_) => "claim",
            Self::Autoscaler(_) => "autoscaler",
            Self::Receipt(_) => "receipt",
            Self::NotLeading => "not-leading",
            Self::CommitUnderWay => "commit-under-way",
            Self::Undecodable(_) => "undecodable",
        }
    }
}
