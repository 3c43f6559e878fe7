//! Why a pass fails.

/// Why a pass failed. Waiting is not a failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object could not be read.
    #[error("the OffsetReset could not be read")]
    Read(#[source] kube::Error),
    /// The other resets could not be read, so it is unknown which reset is next.
    #[error("the other OffsetResets could not be listed")]
    List(#[source] kube::Error),
    /// It is unknown whether the status was written. No effect that relies on it was begun.
    #[error("the status could not be written")]
    WriteStatus(#[source] kube::Error),
    /// The API server refused the status. No effect that relies on it was begun.
    #[error("the API server refused the status: {0}")]
    StatusRefused(String),
    /// The report could not be read.
    #[error("the report could not be read")]
    ReadReport(#[source] kube::Error),
    /// It is unknown whether the report was written. No effect that relies on it was begun.
    #[error("the report could not be written")]
    WriteReport(#[source] kube::Error),
    /// Neither the report nor a status without it can be written.
    #[error("neither the report nor a status without it can be written: {0}")]
    Unrecordable(String),
    /// It is unknown whether the finalizer was added or removed.
    #[error("the finalizer could not be changed")]
    Finalizer(#[source] kube::Error),
    /// The API server refused to add or remove the finalizer.
    #[error("the API server refused to change the finalizer: {0}")]
    FinalizerRefused(String),
    /// It is unknown whether a finished OffsetReset was deleted.
    #[error("the finished OffsetReset could not be deleted")]
    Delete(#[source] kube::Error),
    /// It is unknown whether a workload was scaled.
    #[error("the workload could not be scaled")]
    Scale(#[source] kube::Error),
    /// A workload's Lease could not be read.
    #[error("the Lease of a workload could not be read")]
    ReadClaim(#[source] kube::Error),
    /// It is unknown whether a workload's Lease was written.
    #[error("the Lease of a workload could not be written")]
    Claim(#[source] kube::Error),
    /// It is unknown whether a ScaledObject was changed.
    #[error("the ScaledObject of a workload could not be changed")]
    ScaledObject(#[source] kube::Error),
    /// It is unknown whether the receipt was written.
    #[error("the receipt could not be written")]
    Receipt(#[source] kube::Error),
    /// A commit of a deleted reset may still land, and relies on the workload's being at zero.
    #[error("the replicas are not restored yet: a commit of an OffsetReset that is gone is still in flight")]
    CommitInFlight,
    /// The leader lease could not be renewed in time, so another operator may be at work.
    #[error("this operator may have lost the leader lease, so it began nothing: the leader continues")]
    NotLeading,
    /// The object does not conform to its CRD.
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
            Self::WriteStatus(_) | Self::StatusRefused(_) => "write-status",
            Self::ReadReport(_) => "read-report",
            Self::WriteReport(_) => "write-report",
            Self::Unrecordable(_) => "unrecordable",
            Self::Finalizer(_) | Self::FinalizerRefused(_) => "finalizer",
            Self::Delete(_) => "delete",
            Self::Scale(_) => "scale",
            Self::ReadClaim(_) => "read-claim",
            Self::Claim(_) => "claim",
            Self::ScaledObject(_) => "scaled-object",
            Self::Receipt(_) => "receipt",
            Self::NotLeading => "not-leading",
            Self::CommitInFlight => "commit-in-flight",
            Self::Undecodable(_) => "undecodable",
        }
    }
}
