//! Why the operator stops, and the words for it.

use crate::kubernetes::leader::Lost;

/// The exit code after the loss of the leader lease. Every other failure exits with 1.
pub const LEASE_LOST: u8 = 3;

/// Why the operator cannot start, or cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server cannot be reached for lack of a configuration.
    #[error("cannot create a Kubernetes client: there is neither a service account nor a valid kubeconfig")]
    Client(#[source] kube::Error),
    /// The address is in use, or does not belong to this host.
    #[error("cannot listen on {1} for health and metrics")]
    Listen(#[source] std::io::Error, std::net::SocketAddr),
    /// The signal handlers could not be installed.
    #[error("cannot listen for signals")]
    Signal(#[source] std::io::Error),
    /// The HTTP server failed.
    #[error("serving health and metrics failed")]
    Serve(#[source] std::io::Error),
    /// The times of leader election contradict each other.
    #[error("invalid leader election options: {0}")]
    Election(String),
    /// Another instance leads, or soon may. It continues from the recorded state.
    #[error("leader lease {lease} lost, so this instance exits; the next leader continues the resets in progress")]
    LeaseLost {
        /// The namespace and the name of the lease.
        lease: String,
        /// The cause.
        #[source]
        lost: Lost,
    },
}

impl Error {
    /// Whether the process must exit at once, whatever still hangs in it, because another instance may be at work.
    #[must_use]
    pub fn must_exit_at_once(&self) -> bool {
        match self {
            Self::LeaseLost { .. } => true,
            Self::Client(_) | Self::Listen(..) | Self::Signal(_) | Self::Serve(_) | Self::Election(_) => false,
        }
    }
}
