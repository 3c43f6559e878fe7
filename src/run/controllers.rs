//! The watches, and the passes that they trigger.

use std::{
    fmt::Debug,
    future::{Future, ready},
    hash::Hash,
    panic::resume_unwind,
    sync::Arc,
};

use futures::{
    FutureExt, Stream, StreamExt, TryStreamExt,
    channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded},
    future::join_all,
    stream,
};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    coordination::v1::Lease,
    core::v1::Pod,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        Controller, WatchStreamExt,
        controller::{Config as ControllerConfig, Error as ControllerError},
        reflector::{self, ObjectRef, Store},
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    current::shown,
    receipts::expire_receipts,
    scope::{Guarded, api},
    signals::Signals,
    touched::{About, LIVE_PODS, Touched, of_workloads, touched_by},
};
use crate::{
    api::LEASE_LABEL,
    cli::Config,
    kubernetes::{chain, hold_in},
    reconcile::{
        BackoffKey, Context, error_policy, forget_reset, hold_error_policy, keep_what_is_read, reconcile, reconcile_hold,
    },
};

/// Runs both controllers of every watched namespace until they have stopped in order.
///
/// That of the holds does not wait for the CRD.
pub(super) async fn run_controllers(client: Client, config: &Config, context: Arc<Context>, signals: Signals<'_>) {
    let Signals { served, stop } = signals;
    let _shown = shown(&context);
    // Each namespace has controllers of its own, because a watch covers one namespace or all.
    let each = config.scopes().into_iter().map(|scope| {
        let scope_of = || WatchScope { client: client.clone(), namespace: scope.clone(), concurrency: config.concurrency };
        let (sender, receiver) = unbounded();
        let controllers = (
            control_resets(scope_of(), Arc::clone(&context), stop.clone(), sender),
            control_holds(scope_of(), Arc::clone(&context), stop.clone(), receiver),
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

/// What the watch of OffsetResets tells the controller of the Leases, once its store has it.
enum Change {
    /// One was created, changed or deleted.
    Of { namespace: Option<String>, name: String },
    /// All were listed: some may be gone without an event of their own.
    All,
}

impl Change {
    fn of(event: &Event<Guarded>) -> Option<Self> {
        match event {
            Event::Apply(reset) | Event::Delete(reset) => Some(Self::Of { namespace: reset.namespace(), name: reset.name_any() }),
            Event::InitDone => Some(Self::All),
            Event::Init | Event::InitApply(_) => None,
        }
    }

    /// Whether it concerns a Lease. One that cannot be read concerns no OffsetReset.
    fn concerns(&self, lease: &Lease) -> bool {
        let claims = |name: &str| hold_in(lease).is_ok_and(|(_, hold)| hold.claims.iter().any(|claim| claim.name == name));
        match self {
            Self::Of { namespace, name } => lease.namespace() == *namespace && claims(name),
            Self::All => true,
        }
    }
}

/// What the events of a watch are about. The watch begins again after an error.
fn events<K>(
    api: Api<K>,
    config: watcher::Config,
    mut touched: impl FnMut(&Event<K>) -> Option<About> + Send,
) -> impl Stream<Item = About> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(api, config).default_backoff().filter_map(move |event| {
        ready(match event {
            Ok(event) => touched(&event),
            Err(error) => {
                tracing::warn!(error = chain(&error), "watch error; retrying");
                None
            }
        })
    })
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
///
/// The watch of OffsetResets serves the controller of the Leases too, which hears of a change once it is in the store.
async fn control_resets(scope: WatchScope, context: Arc<Context>, stop: CancellationToken, changes: UnboundedSender<Change>) {
    let any = watcher::Config::default;
    let (reader, writer) = reflector::store();
    let watch = watcher(scope.api::<Guarded>(), any()).modify(keep_what_is_read);
    let watch = watch.reflect(writer).inspect_ok(move |event| {
        // That controller may have stopped already.
        let _ = Change::of(event).map(|change| changes.unbounded_send(change));
    });
    let controller = Controller::for_stream(watch.applied_objects(), reader);
    let (filled, store) = (controller.store(), controller.store());
    let wakes = |by: &Arc<Context>| {
        let (store, context) = (store.clone(), Arc::clone(by));
        move |(namespace, touched): About| {
            let all = touched_by(&store, namespace.as_deref(), &touched);
            for reset in &all {
                let reset = ObjectRef::new(&reset.name).within(reset.namespace.as_deref().unwrap_or_default());
                context.visits.touch(&reset, touched.change());
            }
            stream::iter(all)
        }
    };
    let deployments = events(scope.api::<PartialObjectMeta<Deployment>>(), any(), of_workloads("Deployment"));
    let sets = events(scope.api::<PartialObjectMeta<StatefulSet>>(), any(), of_workloads("StatefulSet"));
    let pods = events(scope.api::<PartialObjectMeta<Pod>>(), any().fields(LIVE_PODS), Touched::pod);
    let (deployments, sets, pods) =
        (deployments.flat_map(wakes(&context)), sets.flat_map(wakes(&context)), pods.flat_map(wakes(&context)));
    context.resets.watches.add(scope.namespace.clone(), controller.store());
    let run = controller
        // Without a limit here: each pass waits for a slot of `reconcile::Slots`.
        .with_config(ControllerConfig::default().concurrency(0))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .reconcile_on(deployments)
        .reconcile_on(sets)
        .reconcile_on(pods)
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
async fn control_holds(scope: WatchScope, context: Arc<Context>, stop: CancellationToken, changed: UnboundedReceiver<Change>) {
    let holds = watcher::Config::default().labels(&format!("{LEASE_LABEL}=hold"));
    let controller = Controller::new(scope.api::<Lease>(), holds);
    let (store, filled) = (controller.store(), controller.store());
    context.claims.watches.add(scope.namespace.clone(), controller.store());
    let run = controller
        .with_config(ControllerConfig::default().concurrency(scope.concurrency))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .reconcile_on(changed.flat_map(move |change| {
            let leases = store.state();
            let concerned = leases.iter().filter(|lease| change.concerns(lease));
            stream::iter(concerned.map(|lease| ObjectRef::from_obj(lease.as_ref())).collect::<Vec<_>>())
        }))
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
