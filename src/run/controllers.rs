//! The watches, and the passes that follow from them.

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
    chain::chain,
    scope::{Guarded, api},
};
use crate::{
    api::{LEASE_LABEL, OffsetReset, Phase},
    cli::Config,
    kubernetes::hold_in,
    machine,
    reconcile::{Context, care_for as care_for_hold, error_policy, orphan_error_policy, reconcile},
};

/// Both controllers of everything that is watched, until they have ended in order.
pub(super) async fn work(client: Client, config: &Config, context: Arc<Context>, stop: &CancellationToken) {
    // Of several namespaces each has its own controllers: a watch is of one namespace or of all.
    let each = config.scopes().into_iter().map(|scope| {
        let place = || Place { client: client.clone(), scope: scope.clone(), concurrency: config.concurrency };
        let controllers =
            (control(place(), Arc::clone(&context), stop.clone()), care_for_holds(place(), Arc::clone(&context), stop.clone()));
        async { tokio::join!(controllers.0, controllers.1) }
    });
    let close = async {
        stop.cancelled().await;
        context.places.close();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = join_all(each) => {}
        () = close => {}
    }
}

/// What a controller watches.
struct Place {
    client: Client,
    /// A namespace; all of them when absent.
    scope: Option<String>,
    /// How many Leases are looked after at once.
    concurrency: u16,
}

impl Place {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        api(&self.client, self.scope.as_deref())
    }
}

/// A pass on whatever core is free. It is cut off where it waits when nobody waits for it any more, as when the leader lease is lost.
async fn on_its_own<T: Send + 'static>(pass: impl Future<Output = T> + Send + 'static) -> T {
    match AbortOnDropHandle::new(tokio::spawn(pass)).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime ends, and this with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// The controller: OffsetResets, and whatever happens to Deployments, StatefulSets and pods while something is held.
///
/// Targets of other kinds are not watched: which kinds there will be is not known before, nor whether the operator may list them. While
/// something is held they are looked at again every one or two seconds, and right before every commit.
async fn control(place: Place, context: Arc<Context>, stop: CancellationToken) {
    let any = watcher::Config::default;
    let controller = Controller::new(place.api::<Guarded>(), any());
    let (store, sets, others, filled) = (controller.store(), controller.store(), controller.store(), controller.store());
    context.resets.watched(place.scope.clone(), controller.store());
    let run = controller
        // As many passes begin as there are objects to look at, and each waits for its place: see `reconcile::Places`.
        .with_config(ControllerConfig::default().concurrency(0))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .watches(place.api::<PartialObjectMeta<Deployment>>(), any(), move |workload| {
            touched_by(&store, workload.namespace().as_deref())
        })
        .watches(place.api::<PartialObjectMeta<StatefulSet>>(), any(), move |workload| {
            touched_by(&sets, workload.namespace().as_deref())
        })
        .watches(place.api::<PartialObjectMeta<Pod>>(), any(), move |pod| touched_by(&others, pod.namespace().as_deref()))
        .run(|object, context| on_its_own(reconcile(object, context)), error_policy, Arc::clone(&context))
        .for_each(|result| async {
            match result {
                Ok(_) => {}
                // An object may go away between the event and the pass.
                Err(ControllerError::ObjectNotFound(gone)) => {
                    context.places.forget(&ObjectRef::new(&gone.name).within(gone.namespace.as_deref().unwrap_or_default()));
                }
                Err(ControllerError::ReconcilerFailed(error, object)) => {
                    tracing::warn!(
                        namespace = object.namespace,
                        name = object.name,
                        category = error.category(),
                        error = chain(&error),
                        "a pass failed"
                    );
                }
                Err(error) => tracing::warn!(error = chain(&error), "the watch had trouble; it goes on"),
            }
        });
    until_stopped(filled, stop, run).await;
}

/// Runs a controller until it has ended after `stop`, its passes finished. One that has not heard by then what there is has not begun a
/// pass, and is dropped: it would wait for ever (kube-runtime 5.0: its runner waits for a store that nobody fills any more).
async fn until_stopped<K>(filled: Store<K>, stop: CancellationToken, run: impl Future<Output = ()>)
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    let never_began = async {
        stop.cancelled().await;
        if filled.wait_until_ready().now_or_never().is_some() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = run => {}
        () = never_began => {}
    }
}

/// The second controller: the Leases that say who holds what, so that nothing stays at zero for an OffsetReset that is gone.
async fn care_for_holds(place: Place, context: Arc<Context>, stop: CancellationToken) {
    let holds = watcher::Config::default().labels(&format!("{LEASE_LABEL}=hold"));
    let controller = Controller::new(place.api::<Lease>(), holds);
    let (store, filled) = (controller.store(), controller.store());
    let run = controller
        .with_config(ControllerConfig::default().concurrency(place.concurrency))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .watches(place.api::<PartialObjectMeta<OffsetReset>>(), watcher::Config::default(), move |reset| {
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
        .run(|lease, context| on_its_own(care_for_hold(lease, context)), orphan_error_policy, context)
        .for_each(|result| async {
            match result {
                Ok(_) | Err(ControllerError::ObjectNotFound(_)) => {}
                Err(error) => tracing::warn!(error = chain(&error), "looking after a held workload failed; it is tried again"),
            }
        });
    until_stopped(filled, stop, run).await;
}

/// The resets of a namespace that wait for something there to happen.
fn touched_by(store: &Store<Guarded>, namespace: Option<&str>) -> Vec<ObjectRef<Guarded>> {
    let waits = |reset: &OffsetReset| {
        let Some(status) = &reset.status else { return false };
        match status.phase {
            Some(Phase::Stopping | Phase::Draining | Phase::Resetting | Phase::Restoring) => true,
            Some(Phase::Succeeded | Phase::Failed | Phase::Cancelled) => machine::needs_a_look(status),
            Some(Phase::Pending | Phase::Planning | Phase::Planned) | None => false,
        }
    };
    store
        .state()
        .iter()
        .filter(|guard| guard.meta().namespace.as_deref() == namespace)
        .filter(|guard| guard.0.as_ref().is_ok_and(waits))
        .map(|guard| ObjectRef::from_obj(guard.as_ref()))
        .collect()
}
