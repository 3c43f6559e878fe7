//! The watches, and the passes that they trigger.

use std::{future::Future, hash::Hash, panic::resume_unwind, sync::Arc};

use futures::{FutureExt, StreamExt, future::join_all};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    coordination::v1::Lease,
    core::v1::Pod,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        Controller,
        controller::{Config as ControllerConfig, Error as ControllerError},
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    current::Watches,
    error::chain,
    receipts::expire_receipts,
    scope::{Guarded, api},
    signals::Signals,
    touched::{Touched, touched_by},
};
use crate::{
    api::{LEASE_LABEL, OffsetReset},
    cli::Config,
    kubernetes::hold_in,
    reconcile::{BackoffKey, Context, error_policy, forget_reset, hold_error_policy, reconcile, reconcile_hold},
};

/// Runs both controllers of every watched namespace until they have stopped in order.
///
/// That of the holds does not wait for the CRD.
pub(super) async fn run_controllers(client: Client, config: &Config, context: Arc<Context>, signals: Signals<'_>) {
    let Signals { served, stop } = signals;
    let watches = Watches::default();
    let _shown = watches.shown_in(&context.metrics);
    // Each namespace has controllers of its own, because a watch covers one namespace or all.
    let each = config.scopes().into_iter().map(|scope| {
        let scope_of = || WatchScope { client: client.clone(), namespace: scope.clone(), concurrency: config.concurrency };
        let controllers = (
            control_resets(scope_of(), Arc::clone(&context), &watches, stop.clone()),
            control_holds(scope_of(), Arc::clone(&context), &watches, stop.clone()),
        );
        let resets = async {
            tokio::select! {
                () = served.cancelled() => controllers.0.await,
                () = stop.cancelled() => {}
            }
        };
        async { tokio::join!(resets, controllers.1) }
    });
    let expire = async {
        tokio::select! {
            () = served.cancelled() => {}
            () = stop.cancelled() => std::future::pending().await,
        }
        tokio::select! {
            () = expire_receipts(Arc::clone(&context), config.receipt_retention) => {}
            () = stop.cancelled() => std::future::pending().await,
        }
    };
    let close = async {
        stop.cancelled().await;
        context.slots.close();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = join_all(each) => {}
        () = close => {}
        () = expire => {}
    }
}

/// The scope of a controller's watches.
struct WatchScope {
    client: Client,
    /// A namespace; all namespaces when absent.
    namespace: Option<String>,
    /// The number of Leases that are reconciled at the same time.
    concurrency: u16,
}

impl WatchScope {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        api(&self.client, self.namespace.as_deref())
    }
}

/// Runs a pass as a task of its own, on any core. Dropping this future aborts the task, as when the leader lease is lost.
async fn as_task<T: Send + 'static>(pass: impl Future<Output = T> + Send + 'static) -> T {
    match AbortOnDropHandle::new(tokio::spawn(pass)).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is shutting down.
            Err(_) => std::future::pending().await,
        },
    }
}

/// The controller of OffsetResets. While a reset holds workloads, events of Deployments, StatefulSets and pods trigger its passes
/// too.
///
/// Targets of other kinds are not watched: which kinds there will be is unknown, and so is whether the operator may list them.
/// Passes read them again every one or two seconds during a hold, and right before every commit.
async fn control_resets(scope: WatchScope, context: Arc<Context>, watches: &Watches, stop: CancellationToken) {
    let any = watcher::Config::default;
    let controller = Controller::new(scope.api::<Guarded>(), any());
    let (store, sets, others, filled) = (controller.store(), controller.store(), controller.store(), controller.store());
    context.resets.add_watch(scope.namespace.clone(), controller.store());
    watches.add_resets(controller.store());
    let run = controller
        // Without a limit here: each pass waits for a slot of `reconcile::Slots`.
        .with_config(ControllerConfig::default().concurrency(0))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .watches(scope.api::<PartialObjectMeta<Deployment>>(), any(), move |workload| {
            touched_by(&store, workload.namespace().as_deref(), &Touched::workload("Deployment", &workload))
        })
        .watches(scope.api::<PartialObjectMeta<StatefulSet>>(), any(), move |workload| {
            touched_by(&sets, workload.namespace().as_deref(), &Touched::workload("StatefulSet", &workload))
        })
        .watches(scope.api::<PartialObjectMeta<Pod>>(), any(), move |pod| {
            touched_by(&others, pod.namespace().as_deref(), &Touched::pod(&pod))
        })
        .run(|object, context| as_task(reconcile(object, context)), error_policy, Arc::clone(&context))
        .for_each(|result| async {
            match result {
                Ok(_) => {}
                // The object was deleted between the event and the pass.
                Err(ControllerError::ObjectNotFound(gone)) => {
                    forget_reset(&context, gone.namespace.as_deref().unwrap_or_default(), &gone.name);
                }
                Err(ControllerError::ReconcilerFailed(error, object)) => {
                    tracing::warn!(
                        namespace = object.namespace,
                        name = object.name,
                        uid = object.extra.uid,
                        category = error.category(),
                        error = chain(&error),
                        "reconcile failed; retrying"
                    );
                }
                Err(error) => tracing::warn!(error = chain(&error), "watch error; retrying"),
            }
        });
    until_stopped(filled, stop, run).await;
}

/// Runs a controller until it has stopped after `stop`, with its passes finished. A controller without its initial list by then
/// has begun no pass and is dropped, because it would wait without end (kube-runtime 5.0: its runner waits for the store).
async fn until_stopped<K>(filled: Store<K>, stop: CancellationToken, run: impl Future<Output = ()>)
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    let without_list = async {
        stop.cancelled().await;
        if filled.wait_until_ready().now_or_never().is_some() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = run => {}
        () = without_list => {}
    }
}

/// The controller of the Leases of holds, so that no workload stays at zero for an OffsetReset that is gone.
async fn control_holds(scope: WatchScope, context: Arc<Context>, watches: &Watches, stop: CancellationToken) {
    let holds = watcher::Config::default().labels(&format!("{LEASE_LABEL}=hold"));
    let controller = Controller::new(scope.api::<Lease>(), holds);
    let (store, filled) = (controller.store(), controller.store());
    watches.add_leases(controller.store());
    let run = controller
        .with_config(ControllerConfig::default().concurrency(scope.concurrency))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .watches(scope.api::<PartialObjectMeta<OffsetReset>>(), watcher::Config::default(), move |reset| {
            let claimed = |lease: &Arc<Lease>| {
                lease.namespace() == reset.namespace()
                    && hold_in(lease).is_ok_and(|(_, hold)| hold.claims.iter().any(|claim| claim.name == reset.name_any()))
            };
            store
                .state()
                .iter()
                .filter(|lease| claimed(lease))
                .map(|lease| ObjectRef::from_obj(lease.as_ref()))
                .collect::<Vec<_>>()
        })
        .run(|lease, context| as_task(reconcile_hold(lease, context)), hold_error_policy, Arc::clone(&context))
        .for_each(|result| async {
            match result {
                Ok(_) => {}
                Err(ControllerError::ObjectNotFound(gone)) => {
                    context.backoff.reset(&BackoffKey::lease(gone.namespace.as_deref().unwrap_or_default(), &gone.name));
                }
                Err(error) => tracing::warn!(error = chain(&error), "reconcile of a held workload failed; retrying"),
            }
        });
    until_stopped(filled, stop, run).await;
}
