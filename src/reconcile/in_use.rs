//! While something is held: the policy of the install, the record of where something is held, and the holds in namespaces that
//! are no longer watched.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;

use super::{
    context::Context,
    orphans::{UNWATCHED, reconcile_hold},
};

/// The wait between two looks while something is held. Otherwise a look costs no request.
const OFTEN: Duration = Duration::from_secs(1);

/// The wait after the record could not be read.
const SELDOM: Duration = Duration::from_secs(10);

/// How often it is logged that something is held where it should not be.
const LOUD: Duration = Duration::from_secs(30);

/// Looks at the install for as long as anything is held, without end.
pub async fn keep_install(context: Arc<Context>) {
    let mut last_logged: Option<Instant> = None;
    loop {
        let loud = last_logged.is_none_or(|at| at.elapsed() >= LOUD);
        let (wait, unwatched) = look(&context, loud).await;
        context.metrics.unwatched_holds(unwatched);
        if unwatched == 0 {
            last_logged = None;
        } else if loud {
            last_logged = Some(Instant::now());
        }
        tokio::time::sleep(wait).await;
    }
}

/// One look: how soon to look again, and how many workloads are held in namespaces that are no longer watched, or may no longer
/// be read. Each of the latter counts as one.
async fn look(context: &Arc<Context>, loud: bool) -> (Duration, i64) {
    let Some(in_use) = &context.install.in_use else { return (SELDOM, 0) };
    let recorded = match in_use.recorded().await {
        Ok(recorded) => recorded,
        Err(error) => {
            tracing::warn!(%error, "cannot read whether the install is in use");
            return (SELDOM, 0);
        }
    };
    if recorded.is_empty() {
        return (OFTEN, 0);
    }
    context.install.look_at_policy().await;
    let (mut unwatched, mut released) = (0, false);
    for namespace in &recorded {
        match context.claims.are_watched_in(namespace).filter(|_| context.watches(namespace)) {
            Some(true) => continue,
            // The API server is asked before the namespace is removed from the record.
            Some(false) => {
                released = true;
                continue;
            }
            None => {}
        }
        match context.claims.list(namespace).await {
            Ok(leases) if leases.is_empty() => released = true,
            Ok(_) if context.watches(namespace) => {}
            Ok(leases) => {
                unwatched += i64::try_from(leases.len()).unwrap_or(i64::MAX);
                reconcile_unwatched_holds(context, namespace, leases, loud).await;
            }
            Err(error) => {
                unwatched += 1;
                warn_of_unreadable(namespace, &error, loud);
            }
        }
    }
    // While it settles, no hold begins anywhere.
    if released && context.leadership.is_certain() {
        match in_use.settle(&context.claims).await {
            Ok(unreadable) => {
                for (namespace, error) in unreadable.iter().filter(|(namespace, _)| context.watches(namespace)) {
                    unwatched += 1;
                    warn_of_unreadable(namespace, error, loud);
                }
            }
            Err(error) => tracing::warn!(%error, "cannot record which namespaces are still in use"),
        }
    }
    (OFTEN, unwatched)
}

fn warn_of_unreadable(namespace: &str, error: &kube::Error, loud: bool) {
    if loud {
        tracing::error!(
            namespace,
            %error,
            "consumers may be held at zero in a namespace that the operator cannot read. Grant the operator its rights there again, or \
             restore the consumers by hand: kubectl --namespace {namespace} get leases -l offsetreset.dev/lease=hold -o yaml shows the replicas"
        );
    }
}

/// Reconciles the holds of a namespace that is no longer watched.
async fn reconcile_unwatched_holds(context: &Arc<Context>, namespace: &str, leases: Vec<Lease>, loud: bool) {
    for lease in leases {
        let name = lease.name_any();
        if loud {
            tracing::warn!(
                namespace,
                lease = name,
                "consumers are held at zero in a namespace that is no longer watched. Unless another operator watches it, they are \
                 restored {} s after the end of their hold. To restore them sooner, add the namespace to --namespaces again",
                UNWATCHED.as_secs()
            );
        }
        if let Err(error) = reconcile_hold(Arc::new(lease), Arc::clone(context)).await {
            tracing::warn!(namespace, lease = name, %error, "reconcile of a held workload failed; retrying");
        }
    }
}
