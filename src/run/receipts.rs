//! Deletes receipts whose retention is over: otherwise they accumulate for as long as the cluster exists.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::kubernetes::chain;
use crate::reconcile::Context;

/// The longest wait between two looks, and the longest one before the first: an operator may be replaced every day.
const LONGEST: Duration = Duration::from_hours(6);
const FIRST: Duration = Duration::from_mins(10);

/// Deletes expired receipts at intervals, until it is dropped. No pass waits for it.
pub(super) async fn expire_receipts(context: Arc<Context>, retention: Duration) {
    let every = (retention / 10).clamp(Duration::from_secs(1), LONGEST);
    let mut wait = every.min(FIRST);
    loop {
        tokio::time::sleep(wait).await;
        for scope in &context.scopes {
            if let Err(error) = expire_in(&context, scope.as_deref(), retention).await {
                tracing::warn!(namespace = scope, error = chain(&error), "failed to list receipts; retrying later");
            }
        }
        wait = every;
    }
}

async fn expire_in(context: &Context, scope: Option<&str>, retention: Duration) -> Result<(), kube::Error> {
    let (now, retention) = ((context.clock)(), SignedDuration::try_from(retention).unwrap_or(SignedDuration::MAX));
    for (namespace, name) in context.receipts.created_before(scope, now.saturating_sub(retention).unwrap_or(now)).await? {
        // A receipt that cannot be deleted does not keep the others from being deleted.
        if let Err(error) = expire_one(context, &namespace, &name, retention, now).await {
            tracing::warn!(namespace, name, error = chain(&error), "failed to delete an expired receipt; retrying later");
        }
    }
    Ok(())
}

async fn expire_one(
    context: &Context,
    namespace: &str,
    name: &str,
    retention: SignedDuration,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let Some(expired) = context.receipts.expired(namespace, name, retention, now).await? else { return Ok(()) };
    // While the object exists, it may be deleted and created again at any time, as GitOps tools do.
    if context.resets.get(namespace, &expired.reset).await?.is_some() || !context.leadership.is_certain() {
        return Ok(());
    }
    context.receipts.delete_expired(namespace, name, &expired).await?;
    tracing::info!(namespace, name, reset = expired.reset, "deleted the receipt of a run that ended long ago");
    Ok(())
}
