//! Wires the parts together, and shuts them down in order.

mod controllers;
mod current;
mod error;
mod measured;
mod policies;
mod receipts;
mod scope;
mod signals;
mod touched;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use kube::{Client, api::ListParams, client::ClientBuilder};
use rustix::io::Errno;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::{
    controllers::run_controllers,
    measured::{KAFKA_CALLS, MeasureRequests, MeasuredKafka},
    policies::watch_policies,
    scope::{Guarded, api},
    signals::Signals,
};
use crate::{
    cli::Config,
    kafka::{Connector, Pool},
    kubernetes::{
        Announcer, Claims, ConfigMaps, InUse, Policies, Receipts, Reports, Resets, ScaledObjects, Secrets, Targets,
        leader::{self, Candidate, Leadership, Terms},
    },
    machine,
    observability::{Liveness, Metrics, Readiness, serve},
    reconcile::{
        Backoff, CommitsInFlight, Context, Install, Locks, Looks, RefusedOrphans, Requests, Slots, Unserved, Visits, keep_install,
    },
};

pub use crate::kubernetes::chain;
pub use error::{Error, LEASE_LOST};

/// The wait between two attempts to list OffsetResets at the start.
const CRD_RETRY: Duration = Duration::from_secs(2);

/// The wait between two checks whether everything is restored.
const RESTORED_CHECK: Duration = Duration::from_millis(100);

/// How long an operator that is being removed takes to restore what it holds; the pod's grace period is longer.
const REMOVAL_LIMIT: Duration = Duration::from_secs(45);

/// The wait between two checks for idle Kafka clients.
const IDLE_CHECK: Duration = Duration::from_mins(1);

/// The time limit for publishing the Events that remain at the end.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// The loop of the leader election in `/livez`, and how many times its longest turn it may be silent.
const ELECTION: &str = "leader election";
const SILENT_TURNS: u32 = 4;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: Config) -> Result<(), Error> {
    let metrics = new_metrics();
    let configuration = kube::Config::infer().await.map_err(|error| Error::Client(kube::Error::InferConfig(error)))?;
    let builder = ClientBuilder::try_from(configuration).map_err(Error::Client)?;
    let client = builder.with_layer(&MeasureRequests(metrics.clone())).build();
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
    let stopper = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("shutting down: finishing reconciles in progress");
        stopper.cancel();
    });
    Box::pin(operate_measured(client, config, metrics, stop)).await
}

/// Runs with a client until `stop` is cancelled. Then the passes in progress finish, the leader lease is released if there is
/// one, and the HTTP server stops.
///
/// # Errors
/// When it cannot start, and when the leader lease is lost; then the passes do not finish.
pub async fn operate(client: Client, config: Config, stop: CancellationToken) -> Result<(), Error> {
    Box::pin(operate_measured(client, config, new_metrics(), stop)).await
}

/// The metrics of an operator, all at zero.
#[must_use]
pub fn new_metrics() -> Metrics {
    Metrics::new(&KAFKA_CALLS, &machine::SCALERS)
}

async fn operate_measured(client: Client, config: Config, metrics: Metrics, stop: CancellationToken) -> Result<(), Error> {
    let leadership = leadership(&config);
    let allowed = leadership.clone();
    let allowance = Arc::new(move || allowed.left());
    let pool = Arc::new(match &config.program {
        Some(program) => Pool::subprocesses(program.clone(), config.client_arguments(), allowance),
        None => Pool::allowing(allowance),
    });
    let counted = Arc::clone(&pool);
    metrics.count_clients(Box::new(move || counted.processes()));
    let closer = tokio::spawn(close_idle_clients(Arc::clone(&pool), stop.clone()));
    let result = Box::pin(operate_as(client, config, pool, (leadership, metrics), stop.clone())).await;
    stop.cancel();
    let _ = closer.await;
    result
}

/// The same as [`operate`], with other Kafka clients.
///
/// # Errors
/// As [`operate`].
pub async fn operate_on(client: Client, config: Config, kafka: Arc<dyn Connector>, stop: CancellationToken) -> Result<(), Error> {
    let leadership = leadership(&config);
    Box::pin(operate_as(client, config, kafka, (leadership, new_metrics()), stop)).await
}

fn leadership(config: &Config) -> Leadership {
    if config.election.leader_election { Leadership::none_yet() } else { Leadership::unconditional() }
}

async fn operate_as(
    client: Client,
    config: Config,
    kafka: Arc<dyn Connector>,
    (leadership, metrics): (Leadership, Metrics),
    stop: CancellationToken,
) -> Result<(), Error> {
    let kafka: Arc<dyn Connector> = Arc::new(MeasuredKafka { connector: kafka, metrics: metrics.clone() });
    let namespaces = if config.namespaces.is_empty() { "all".to_owned() } else { config.namespaces.join(",") };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespaces, "starting");
    let candidate = candidate(&client, &config)?;
    let liveness = Liveness::default();
    let readiness = Readiness::waiting_for(if candidate.is_some() { &["crd", "lease"] } else { &["crd"] });
    let listener = listen(config.http_address).await.map_err(|error| Error::Listen(error, config.http_address))?;
    // The HTTP server stops last, so that probes are answered until then.
    let serving = CancellationToken::new();
    let http_server = tokio::spawn(serve(listener, readiness.clone(), liveness.clone(), metrics.clone(), serving.clone()));
    let policies = config
        .check_policies
        .then(|| AbortOnDropHandle::new(tokio::spawn(watch_policies(client.clone(), metrics.clone(), readiness.clone()))));
    let context = Arc::new(Context { liveness, ..context(&client, &config, kafka, metrics.clone(), leadership) });
    let announcer = context.announcer.clone();
    // Without the CRD there are no resets, but something may still be held for those that there were.
    let served = CancellationToken::new();
    let crd = async {
        if wait_for_crd(&client, &config, &stop).await {
            readiness.set("crd", true);
            served.cancel();
        }
        std::future::pending::<()>().await;
    };
    let led = tokio::select! {
        led = lead(client.clone(), &config, candidate, context, &readiness, Signals { served: &served, stop: &stop }) => led,
        () = crd => Ok(()),
    };
    if let Err(error) = led {
        // Open requests to the HTTP server do not delay the exit.
        http_server.abort();
        return Err(error);
    }
    announcer.flush(FLUSH_LIMIT).await;
    drop(policies);
    serving.cancel();
    tracing::info!("stopped");
    match http_server.await {
        Ok(result) => result.map_err(Error::Serve),
        Err(_) => Ok(()),
    }
}

/// Listens on an address. Where the kernel has no IPv6, every IPv4 address takes the place of every IPv6 and IPv4 address.
async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && lacks_ipv6(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

/// Runs the controllers while this instance leads. A standby is ready too: it is ready to take over.
async fn lead(
    client: Client,
    config: &Config,
    candidate: Option<Candidate>,
    context: Arc<Context>,
    readiness: &Readiness,
    signals: Signals<'_>,
) -> Result<(), Error> {
    let (metrics, leadership) = (context.metrics.clone(), context.leadership.clone());
    let Some(candidate) = candidate else {
        metrics.leads(true);
        run_controllers(client, config, context, signals).await;
        return Ok(());
    };
    let (lease, stop, liveness) = (candidate.lease(), signals.stop, context.liveness.clone());
    // Much later than the lease is lost by silence, which ends the process by itself.
    let limit = SILENT_TURNS * candidate.turn();
    let turned = || liveness.turned(ELECTION, limit);
    let led = candidate.lead(leadership, stop, || readiness.set("lease", true), turned).await;
    let Some(mut held) = led else {
        liveness.ended(ELECTION);
        return Ok(());
    };
    metrics.leads(true);
    let (over, deployment) = (CancellationToken::new(), config.deployment.clone());
    let beside = async {
        tokio::select! {
            () = keep_install(Arc::clone(&context)) => {}
            () = stop.cancelled() => {}
        }
        tokio::select! {
            () = restore_before_removal(deployment, Arc::clone(&context)) => {}
            () = keep_install(Arc::clone(&context)) => {}
        }
        over.cancel();
        std::future::pending::<()>().await;
    };
    // When the lease is lost, the passes are aborted where they wait, which is as safe as a kill of the process.
    let outcome = tokio::select! {
        biased;
        lost = held.keep(turned) => Err(Error::LeaseLost { lease, lost }),
        () = run_controllers(client, config, Arc::clone(&context), Signals { stop: &over, ..signals }) => Ok(()),
        () = beside => Ok(()),
    };
    metrics.leads(false);
    liveness.ended(ELECTION);
    match &outcome {
        Ok(()) => held.release().await,
        Err(error) => tracing::error!(error = chain(error), "leader election lost"),
    }
    outcome
}

/// Whether anything is held, or may be.
async fn is_used(in_use: &InUse) -> bool {
    in_use.recorded().await.is_ok_and(|recorded| !recorded.is_empty())
}

/// Where no other instance follows, waits until what is held is restored: the passes still run.
async fn restore_before_removal(deployment: Option<String>, context: Arc<Context>) {
    let install = &context.install;
    let Some(in_use) = &install.in_use else { return };
    if !is_used(in_use).await {
        return;
    }
    if let Some(deployment) = deployment
        && in_use.deployment_goes(&deployment).await == Some(true)
    {
        install.terminate_for_good();
    }
    if !install.is_being_removed() {
        return;
    }
    let restored = async {
        while is_used(in_use).await {
            tokio::time::sleep(RESTORED_CHECK).await;
        }
    };
    if tokio::time::timeout(REMOVAL_LIMIT, restored).await.is_err() {
        tracing::error!(
            "the operator exits while consumers are still held at zero. Install it again, or scale each workload to the replicas in its Lease: \
             kubectl get leases -A -l offsetreset.dev/lease=hold -o yaml"
        );
    }
}

/// The candidate, when leader election is on.
fn candidate(client: &Client, config: &Config) -> Result<Option<Candidate>, Error> {
    let election = &config.election;
    if !election.leader_election {
        return Ok(None);
    }
    let identity = leader::identity(config.instance.as_deref().unwrap_or("offset-reset-operator"));
    let terms = Terms::new(identity, election.lease_duration, election.renew_deadline, election.retry_period);
    let namespace = election.lease_namespace.as_deref().unwrap_or_else(|| client.default_namespace());
    Ok(Some(Candidate::new(client, namespace, &election.lease_name, terms.map_err(Error::Election)?)))
}

/// The dependencies of the passes, with the real clock.
#[must_use]
pub fn context(client: &Client, config: &Config, kafka: Arc<dyn Connector>, metrics: Metrics, leadership: Leadership) -> Context {
    Context {
        resets: Resets::new(client.clone()),
        reports: Reports::new(client.clone()),
        receipts: Receipts::new(client.clone()),
        targets: Targets::new(client.clone()),
        claims: Claims::new(client.clone()),
        scaled_objects: ScaledObjects::new(client.clone()),
        secrets: Secrets::new(client.clone()),
        config_maps: ConfigMaps::new(client.clone()),
        token_endpoints: config.oauth_token_endpoints.clone(),
        kafka,
        announcer: Announcer::new(client.clone(), config.instance.clone()),
        metrics,
        scopes: config.scopes(),
        backoff: Backoff::default(),
        requests: Requests::default(),
        clock: now,
        slots: Slots::new(config.concurrency),
        locks: Locks::default(),
        looks: Looks::default(),
        visits: Visits::default(),
        commits_in_flight: CommitsInFlight::default(),
        liveness: Liveness::default(),
        leadership,
        // An operator for some namespaces relies on nothing outside of them.
        install: Install::new(in_use(client, config), config.namespaces.is_empty().then(|| Policies::new(client.clone()))),
        unserved: Unserved::default(),
        refused_orphans: RefusedOrphans::default(),
    }
}

/// The record that the install is in use: only of an operator that is installed, which has leader election.
fn in_use(client: &Client, config: &Config) -> Option<InUse> {
    let election = &config.election;
    election.leader_election.then(|| {
        let namespace = election.lease_namespace.as_deref().unwrap_or_else(|| client.default_namespace());
        InUse::new(client.clone(), namespace, &election.lease_name)
    })
}

/// Waits until OffsetResets can be listed in at least one watched namespace. Another one whose namespace or Role does not exist yet
/// does not delay the start; its watch retries. False when `stop` was cancelled before.
async fn wait_for_crd(client: &Client, config: &Config, stop: &CancellationToken) -> bool {
    loop {
        let mut listed = false;
        for scope in config.scopes() {
            match api::<Guarded>(client, scope.as_deref()).list(&ListParams::default().limit(1)).await {
                Ok(_) => listed = true,
                Err(error) => {
                    tracing::warn!(namespace = scope, %error, "failed to list OffsetResets; check that the CRD is installed and that the operator may list them");
                }
            }
        }
        if listed {
            return true;
        }
        tokio::select! {
            () = stop.cancelled() => return false,
            () = tokio::time::sleep(CRD_RETRY) => {}
        }
    }
}

async fn close_idle_clients(pool: Arc<Pool>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(IDLE_CHECK) => pool.close_idle().await,
        }
    }
}

/// The current time in microseconds, the precision that the API can store. Passes read no other clock of the calendar.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}
