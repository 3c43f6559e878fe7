//! No call to the API server lasts for ever: others wait for their turn meanwhile, and consumers may be at zero.

use std::{future::Future, time::Duration};

/// How long the API server may take for one call, its client's own attempts included. Far longer than any that is well needs.
const LIMIT: Duration = Duration::from_secs(15);

/// Waits for a call, but not for ever. What is given up on may have been carried out all the same, as after any lost answer.
pub(super) async fn limited<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    limited_to(LIMIT, call).await
}

/// Waits for a call, but not longer than that.
pub(super) async fn limited_to<T>(limit: Duration, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    let too_long = |_| Err(kube::Error::Service(format!("the API server has not answered within {limit:?}").into()));
    tokio::time::timeout(limit, call).await.unwrap_or_else(too_long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_hangs_ends_as_one_whose_answer_was_lost() {
        let error = limited_to(Duration::from_millis(5), std::future::pending::<Result<(), _>>()).await.unwrap_err();
        assert!(error.to_string().contains("has not answered within 5ms"), "{error}");
        limited(std::future::ready(Ok(()))).await.unwrap();
    }
}
