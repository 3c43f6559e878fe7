//! Wires the parts together, and shuts them down in order.

mod controllers;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{Api, Client, Resource, api::ListParams, core::DeserializeGuard};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use self::controllers::run_controllers;
use crate::{
    api::OffsetReset,
    cli::Config,
    kafka::{Connector, Pool},
    kubernetes::{
        Announcer, Claims, Receipts, Reports, Resets, ScaledObjects, Secrets, Targets,
        leader::{self, Candidate, Leadership, Lost, Terms},
    },
    observability::{Metrics, Readiness, serve},
    reconcile::{Backoff, CommitsInFlight, Context, Locks, Slots},
};

type Guarded = DeserializeGuard<OffsetReset>;

/// The wait between two attempts to list OffsetResets at the start.
const CRD_RETRY: Duration = Duration::from_secs(2);

/// The wait between two checks for idle Kafka clients.
const IDLE_CHECK: Duration = Duration::from_mins(1);

/// The exit code after the loss of the leader lease. Every other failure exits with 1.
pub const LEASE_LOST: u8 = 3;

/// Why the operator cannot start, or cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server cannot be reached for lack of a configuration.
    #[error("cannot create a Kubernetes client: there is neither a service account nor a valid kubeconfig")]
    Client(#[source] kube::Error),
    /// The address is in use, or does not belong to this host.
    #[error("cannot listen on {1} for health and metrics")]
    Listen(#[source] std::io::Error, std::net::SocketAddr),
    /// The signal handlers could not be installed.
    #[error("cannot listen for signals")]
    Signal(#[source] std::io::Error),
    /// The HTTP server failed.
    #[error("serving health and metrics failed")]
    Serve(#[source] std::io::Error),
    /// The times of leader election contradict each other.
    #[error("invalid leader election options: {0}")]
    Election(String),
    /// Another instance leads, or soon may. It continues from the recorded state.
    #[error("leader lease {lease} lost, so this instance exits; the next leader continues the resets in progress")]
    LeaseLost {
        /// The namespace and the name of the lease.
        lease: String,
        /// The cause.
        #[source]
        lost: Lost,
    },
}

impl Error {
    /// Whether the process must exit at once, whatever still hangs in it, because another instance may be at work.
    #[must_use]
    pub fn must_exit_at_once(&self) -> bool {
        match self {
            Self::LeaseLost { .. } => true,
            Self::Client(_) | Self::Listen(..) | Self::Signal(_) | Self::Serve(_) | Self::Election(_) => false,
        }
    }
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
        tracing::info!("shutting down: finishing reconciles in progress");
        stopper.cancel();
    });
    operate(client, config, stop).await
}

/// Runs with a client until `stop` is cancelled. Then the passes in progress finish, the leader lease is released if there is
/// one, and the HTTP server stops.
///
/// # Errors
/// When it cannot start, and when the leader lease is lost; then the passes do not finish.
pub async fn operate(client: Client, config: Config, stop: CancellationToken) -> Result<(), Error> {
    let leadership = leadership(&config);
    let allowed = leadership.clone();
    let allowance = Arc::new(move || allowed.left());
    let pool = Arc::new(match &config.program {
        Some(program) => Pool::apart(program.clone(), config.client_arguments(), allowance),
        None => Pool::allowing(allowance),
    });
    let closer = tokio::spawn(close_idle_clients(Arc::clone(&pool), stop.clone()));
    let result = operate_as(client, config, pool, leadership, stop.clone()).await;
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
    operate_as(client, config, kafka, leadership, stop).await
}

fn leadership(config: &Config) -> Leadership {
    if config.election.leader_election { Leadership::none_yet() } else { Leadership::unconditional() }
}

async fn operate_as(
    client: Client,
    config: Config,
    kafka: Arc<dyn Connector>,
    leadership: Leadership,
    stop: CancellationToken,
) -> Result<(), Error> {
    let namespaces = if config.namespaces.is_empty() { "all".to_owned() } else { config.namespaces.join(",") };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespaces, "starting");
    let candidate = candidate(&client, &config)?;
    let metrics = Metrics::new();
    let readiness = Readiness::waiting_for(if candidate.is_some() { &["crd", "lease"] } else { &["crd"] });
    let listener = TcpListener::bind(config.http_address).await.map_err(|error| Error::Listen(error, config.http_address))?;
    // The HTTP server stops last, so that probes are answered until then.
    let serving = CancellationToken::new();
    let server = tokio::spawn(serve(listener, readiness.clone(), metrics.clone(), serving.clone()));
    if wait_for_crd(&client, &config, &stop).await {
        readiness.set("crd", true);
        let context = Arc::new(context(&client, &config, kafka, metrics.clone(), leadership));
        if let Err(error) = lead(client, &config, candidate, context, &readiness, &stop).await {
            // Open requests to the HTTP server do not delay the exit.
            server.abort();
            return Err(error);
        }
    }
    serving.cancel();
    tracing::info!("stopped");
    match server.await {
        Ok(result) => result.map_err(Error::Serve),
        Err(_) => Ok(()),
    }
}

/// Runs the controllers while this instance leads. A standby is ready too: it is ready to take over.
async fn lead(
    client: Client,
    config: &Config,
    candidate: Option<Candidate>,
    context: Arc<Context>,
    readiness: &Readiness,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let (metrics, leadership) = (context.metrics.clone(), context.leadership.clone());
    let Some(candidate) = candidate else {
        metrics.leads(true);
        run_controllers(client, config, context, stop).await;
        return Ok(());
    };
    let lease = candidate.lease();
    let Some(mut held) = candidate.lead(leadership, stop, || readiness.set("lease", true)).await else { return Ok(()) };
    metrics.leads(true);
    // When the lease is lost, the passes are aborted where they wait, which is as safe as a kill of the process.
    let outcome = tokio::select! {
        biased;
        lost = held.keep() => Err(Error::LeaseLost { lease, lost }),
        () = run_controllers(client, config, context, stop) => Ok(()),
    };
    metrics.leads(false);
    match &outcome {
        Ok(()) => held.release().await,
        Err(error) => tracing::error!(error = chain(error), "leader election lost"),
    }
    outcome
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
        token_endpoints: config.oauth_token_endpoints.clone(),
        kafka,
        announcer: Announcer::new(client.clone(), config.instance.clone()),
        metrics,
        scopes: config.scopes(),
        backoff: Backoff::default(),
        clock: now,
        slots: Slots::new(config.concurrency),
        locks: Locks::default(),
        commits_in_flight: CommitsInFlight::default(),
        leadership,
    }
}

fn api<K>(client: &Client, scope: Option<&str>) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
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

/// An error's message, followed by those of its sources.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some errors repeat the message of their source.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
