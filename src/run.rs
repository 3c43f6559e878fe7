//! Wires everything together, and takes it down in order.

use std::{future::Future, hash::Hash, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease, core::v1::Pod};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::ListParams,
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::{
        Controller,
        controller::{Config as ControllerConfig, Error as ControllerError},
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{LEASE_LABEL, OffsetReset, Phase},
    cli::Config,
    kafka::{Connector, Pool},
    kubernetes::{Announcer, Claims, Receipts, Records, Resets, Targets, hold_in},
    machine,
    observability::{Metrics, Readiness, serve},
    reconcile::{Backoff, Context, Turns, care_for as care_for_hold, error_policy, orphan_error_policy, reconcile},
};

type Guarded = DeserializeGuard<OffsetReset>;

/// How often it is tried whether the definition is served by now.
const CRD_RETRY: Duration = Duration::from_secs(2);

/// How often unused Kafka clients are looked for.
const POOL_CARE: Duration = Duration::from_mins(1);

/// Why the operator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no way to the API server.
    #[error("no Kubernetes client: neither a service account nor a kubeconfig that works")]
    Client(#[source] kube::Error),
    /// The address is taken, or not ours.
    #[error("cannot listen on {1} for health and metrics")]
    Listen(#[source] std::io::Error, std::net::SocketAddr),
    /// Signals cannot be heard.
    #[error("cannot listen for signals")]
    Signal(#[source] std::io::Error),
    /// Serving health failed.
    #[error("serving health and metrics failed")]
    Serve(#[source] std::io::Error),
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: Config) -> Result<(), Error> {
    let client = Client::try_default().await.map_err(Error::Client)?;
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
    let stopper = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to end; passes under way are finished first");
        stopper.cancel();
    });
    operate(client, config, stop).await
}

/// Runs with a client until `stop` is cancelled: passes under way are finished, then the health server ends.
///
/// # Errors
/// When it cannot start.
pub async fn operate(client: Client, config: Config, stop: CancellationToken) -> Result<(), Error> {
    let pool = Arc::new(Pool::default());
    let care = tokio::spawn(care_for(Arc::clone(&pool), stop.clone()));
    let result = operate_on(client, config, pool, stop.clone()).await;
    stop.cancel();
    let _ = care.await;
    result
}

/// Runs on Kafka clusters that are reached as `kafka` says; otherwise as [`operate`].
///
/// # Errors
/// When it cannot start.
pub async fn operate_on(client: Client, config: Config, kafka: Arc<dyn Connector>, stop: CancellationToken) -> Result<(), Error> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespace = config.namespace.as_deref().unwrap_or("all"), "starting");
    let metrics = Metrics::new();
    let readiness = Readiness::waiting_for(&["crd"]);
    let listener = TcpListener::bind(config.http_address).await.map_err(|error| Error::Listen(error, config.http_address))?;
    // The health server ends last: until then somebody may ask.
    let serving = CancellationToken::new();
    let server = tokio::spawn(serve(listener, readiness.clone(), metrics.clone(), serving.clone()));
    if wait_for_crd(&client, &config, &stop).await {
        readiness.set("crd", true);
        let context = Arc::new(Context {
            resets: Resets::new(client.clone()),
            records: Records::new(client.clone()),
            receipts: Receipts::new(client.clone()),
            targets: Targets::new(client.clone()),
            claims: Claims::new(client.clone()),
            kafka,
            announcer: Announcer::new(client.clone(), config.instance.clone()),
            metrics,
            namespace: config.namespace.clone(),
            backoff: Backoff::default(),
            clock: now,
            turns: Turns::default(),
        });
        let holds = care_for_holds(client.clone(), &config, Arc::clone(&context), stop.clone());
        tokio::join!(control(client, &config, context, stop.clone()), holds);
    }
    serving.cancel();
    tracing::info!("ended");
    match server.await {
        Ok(result) => result.map_err(Error::Serve),
        Err(_) => Ok(()),
    }
}

/// The controller: OffsetResets, and whatever happens to Deployments and pods while something is held.
async fn control(client: Client, config: &Config, context: Arc<Context>, stop: CancellationToken) {
    let any = watcher::Config::default;
    let controller = Controller::new(api::<Guarded>(&client, config), any());
    let (store, others, filled) = (controller.store(), controller.store(), controller.store());
    let run = controller
        .with_config(ControllerConfig::default().concurrency(config.concurrency))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .watches(api::<PartialObjectMeta<Deployment>>(&client, config), any(), move |workload| {
            touched_by(&store, workload.namespace().as_deref())
        })
        .watches(api::<PartialObjectMeta<Pod>>(&client, config), any(), move |pod| {
            touched_by(&others, pod.namespace().as_deref())
        })
        .run(reconcile, error_policy, context)
        .for_each(|result| async {
            match result {
                // An object may go away between the event and the pass.
                Ok(_) | Err(ControllerError::ObjectNotFound(_)) => {}
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
async fn care_for_holds(client: Client, config: &Config, context: Arc<Context>, stop: CancellationToken) {
    let holds = watcher::Config::default().labels(&format!("{LEASE_LABEL}=hold"));
    let controller = Controller::new(api::<Lease>(&client, config), holds);
    let (store, filled) = (controller.store(), controller.store());
    let run = controller
        .with_config(ControllerConfig::default().concurrency(config.concurrency))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .watches(api::<PartialObjectMeta<OffsetReset>>(&client, config), watcher::Config::default(), move |reset| {
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
        .run(care_for_hold, orphan_error_policy, context)
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

fn api<K>(client: &Client, config: &Config) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match &config.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Waits until OffsetResets can be listed. False when it was stopped before.
async fn wait_for_crd(client: &Client, config: &Config, stop: &CancellationToken) -> bool {
    loop {
        match api::<Guarded>(client, config).list(&ListParams::default().limit(1)).await {
            Ok(_) => return true,
            Err(error) => {
                tracing::warn!(%error, "OffsetResets cannot be listed yet; is the definition installed, and may the operator list them?");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return false,
            () = tokio::time::sleep(CRD_RETRY) => {}
        }
    }
}

async fn care_for(pool: Arc<Pool>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(POOL_CARE) => pool.close_idle().await,
        }
    }
}

/// The time, to the microsecond: that is what can be written and read back. The only place that asks the clock.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

/// An error with everything that stands behind it.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some errors repeat what stands behind them.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
