//! A layer between an operator and all that it asks, the API server and the broker: a suite counts requests in it, holds them, or
//! loses them.

pub mod kafka;
pub mod kubernetes;

use std::future::Future;

/// What a suite does around each request.
pub trait Layer: Send + Sync + 'static {
    /// One request. Its kind is, for example, `update deployments/scale` or `Kafka commit`; `lost` makes what the operator gets
    /// when there is no answer.
    fn around<T: Send, E: Send>(
        &self,
        kind: &str,
        request: impl Future<Output = Result<T, E>> + Send,
        lost: impl FnOnce() -> Result<T, E> + Send,
    ) -> impl Future<Output = Result<T, E>> + Send;
}
