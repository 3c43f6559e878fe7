//! A time limit for every call to the API server: other passes wait for this one, and consumers may be at zero replicas.

use std::{future::Future, time::Duration};

use kube::{api::ListParams, core::ObjectList};

/// The limit for one call, with the client's own retries. A healthy API server needs far less.
const LIMIT: Duration = Duration::from_secs(15);

/// Waits for a call, at most for the usual limit. A call that timed out may still have taken effect, as after any lost answer.
pub(super) async fn limited<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    limited_to(LIMIT, call).await
}

/// Waits for a call, at most that long.
pub(super) async fn limited_to<T>(limit: Duration, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    let too_long = |_| Err(kube::Error::Service(format!("the API server did not answer within {limit:?}").into()));
    tokio::time::timeout(limit, call).await.unwrap_or_else(too_long)
}

/// Lists page by page, each page within the usual limit, and passes every item on.
pub(super) async fn paged<T: Clone, F>(
    mut params: ListParams,
    list: impl Fn(ListParams) -> F,
    mut each: impl FnMut(T),
) -> Result<(), kube::Error>
where
    F: Future<Output = Result<ObjectList<T>, kube::Error>>,
{
    loop {
        let page = limited(list(params.clone())).await?;
        page.items.into_iter().for_each(&mut each);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_hangs_fails_like_one_whose_answer_was_lost() {
        let error = limited_to(Duration::from_millis(5), std::future::pending::<Result<(), _>>()).await.unwrap_err();
        assert!(error.to_string().contains("did not answer within 5ms"), "{error}");
        limited(std::future::ready(Ok(()))).await.unwrap();
    }
}
