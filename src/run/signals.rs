//! What the controllers wait for.

use tokio_util::sync::CancellationToken;

/// What the controllers wait for.
#[derive(Clone, Copy)]
pub(super) struct Signals<'a> {
    /// Cancelled when the API server serves OffsetResets.
    pub served: &'a CancellationToken,
    /// Cancelled when the controllers are to stop.
    pub stop: &'a CancellationToken,
}
