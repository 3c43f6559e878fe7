//! While something is held: the policy of the install, the record of where something is held, and the holds in namespaces that
//! are no longer watched.

use std::{collections::BTreeSet, sync::Arc};

use super::{context::Context, orphans::reconcile_hold};

/// One look at the install while something is held; whether it still is. Holds in namespaces that are no longer watched are
/// reconciled here.
pub async fn reconcile_install(context: &Arc<Context>) -> bool {
    let Some(in_use) = &context.install.in_use else { return false };
    let recorded = match in_use.recorded().await {
        Ok(recorded) => recorded,
        Err(error) => {
            tracing::warn!(%error, "cannot read whether the install is in use");
            return true;
        }
    };
    if recorded.is_empty() {
        context.metrics.unwatched_holds(0);
        return false;
    }
    context.install.look_at_policy().await;
    let mut unwatched = 0;
    for namespace in recorded.iter().filter(|namespace| !context.watches(namespace)) {
        unwatched += care_for(context, namespace).await;
    }
    context.metrics.unwatched_holds(unwatched);
    if !context.leadership.is_certain() {
        return true;
    }
    if let Err(error) = in_use.settle(&context.claims, (context.clock)()).await {
        tracing::warn!(%error, "cannot record which namespaces are still in use");
    }
    in_use.recorded().await.as_ref().map_or(true, |left: &BTreeSet<String>| !left.is_empty())
}

/// Reconciles the holds of a namespace that is no longer watched; how many workloads are held there. One that may not be read
/// counts as one.
async fn care_for(context: &Arc<Context>, namespace: &str) -> i64 {
    let leases = match context.claims.list(namespace).await {
        Ok(leases) => leases,
        Err(error) => {
            tracing::error!(
                namespace,
                %error,
                "consumers may be held at zero in a namespace that the operator may no longer read: give it back its rights there, or \
                 restore them: kubectl --namespace {namespace} get leases -l offsetreset.dev/lease=hold"
            );
            return 1;
        }
    };
    let held = i64::try_from(leases.len()).unwrap_or(i64::MAX);
    for lease in leases {
        let name = lease.metadata.name.clone();
        tracing::warn!(
            namespace,
            lease = name,
            "consumers are held at zero in a namespace that is no longer watched: unless another operator watches it, they are \
             restored 30 s after the end of their hold. To restore them now, watch it again"
        );
        if let Err(error) = reconcile_hold(Arc::new(lease), Arc::clone(context)).await {
            tracing::warn!(namespace, lease = name, %error, "reconcile of a held workload failed; retrying");
        }
    }
    held
}
