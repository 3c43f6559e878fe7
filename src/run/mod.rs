//! Wires everything together, and takes it down in order.

mod chain;
mod controllers;
mod scope;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{Client, api::ListParams};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

pub use self::chain::chain;
use self::{
    controllers::work,
    scope::{Guarded, api},
};
use crate::{
    cli::Config,
    kafka::{Connector, Pool},
    kubernetes::{
        Announcer, Autoscalers, Claims, Receipts, Reports, Resets, Secrets, Targets,
        leader::{self, Candidate, Leadership, Lost, Terms},
    },
    observability::{Metrics, Readiness, serve},
    reconcile::{Backoff, Commits, Context, Places, Turns},
};

/// How often it is tried whether the definition is served by now.
const CRD_RETRY: Duration = Duration::from_secs(2);

/// How often unused Kafka clients are looked for.
const POOL_CARE: Duration = Duration::from_mins(1);

/// What the process ends with when the leader lease is lost. Any other failure ends it with 1.
pub const LEASE_LOST: u8 = 3;

/// Why the operator cannot run, or cannot go on.
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
    /// The times of leader election contradict each other.
    #[error("leader election as it was asked for cannot work: {0}")]
    Election(String),
    /// Another instance leads, or soon may. What was under way is recorded, and whoever leads goes on from there.
    #[error("the leader lease {lease} is lost, so this instance ends: whoever leads goes on with what was under way")]
    LeaseLost {
        /// Its namespace and name.
        lease: String,
        /// How.
        #[source]
        lost: Lost,
    },
}

impl Error {
    /// Whether another instance may be at work by now, so that the process must end at once, whatever still hangs in it.
    #[must_use]
    pub fn must_end_at_once(&self) -> bool {
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
        tracing::info!("asked to end; passes under way are finished first");
        stopper.cancel();
    });
    operate(client, config, stop).await
}

/// Runs with a client until `stop` is cancelled: passes under way are finished, then the leader lease is released where there is
/// one, then the health server ends.
///
/// # Errors
/// When it cannot start, and when the leader lease is lost: then nothing is finished.
pub async fn operate(client: Client, config: Config, stop: CancellationToken) -> Result<(), Error> {
    let leadership = leadership(&config);
    let allowed = leadership.clone();
    let allowance = Arc::new(move || allowed.left());
    let pool = Arc::new(match &config.program {
        Some(program) => Pool::apart(program.clone(), config.client_arguments(), allowance),
        None => Pool::allowing(allowance),
    });
    let care = tokio::spawn(care_for(Arc::clone(&pool), stop.clone()));
    let result = operate_as(client, config, pool, leadership, stop.clone()).await;
    stop.cancel();
    let _ = care.await;
    result
}

/// Runs on Kafka clusters that are reached as `kafka` says; otherwise as [`operate`].
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
    // The health server ends last: until then somebody may ask.
    let serving = CancellationToken::new();
    let server = tokio::spawn(serve(listener, readiness.clone(), metrics.clone(), serving.clone()));
    if wait_for_crd(&client, &config, &stop).await {
        readiness.set("crd", true);
        let context = Arc::new(context(&client, &config, kafka, metrics.clone(), leadership));
        if let Err(error) = lead(client, &config, candidate, context, &readiness, &stop).await {
            // No question that somebody asks the health server now is worth a wait.
            server.abort();
            return Err(error);
        }
    }
    serving.cancel();
    tracing::info!("ended");
    match server.await {
        Ok(result) => result.map_err(Error::Serve),
        Err(_) => Ok(()),
    }
}

/// Works for as long as this instance leads. One that stands by is ready too: it is ready to take over.
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
        work(client, config, context, stop).await;
        return Ok(());
    };
    let lease = candidate.lease();
    let Some(mut held) = candidate.lead(leadership, stop, || readiness.set("lease", true)).await else { return Ok(()) };
    metrics.leads(true);
    // When the lease is lost, what is under way is cut off where it waits: as if the process had been killed, and as safe.
    let outcome = tokio::select! {
        biased;
        lost = held.keep() => Err(Error::LeaseLost { lease, lost }),
        () = work(client, config, context, stop) => Ok(()),
    };
    metrics.leads(false);
    match &outcome {
        Ok(()) => held.release().await,
        Err(error) => tracing::error!(error = chain(error), "leads no more"),
    }
    outcome
}

/// Who wants to lead, where leader election was asked for.
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

/// What every pass needs, with the real clock.
#[must_use]
pub fn context(client: &Client, config: &Config, kafka: Arc<dyn Connector>, metrics: Metrics, leadership: Leadership) -> Context {
    Context {
        resets: Resets::new(client.clone()),
        reports: Reports::new(client.clone()),
        receipts: Receipts::new(client.clone()),
        targets: Targets::new(client.clone()),
        claims: Claims::new(client.clone()),
        autoscalers: Autoscalers::new(client.clone()),
        secrets: Secrets::new(client.clone()),
        token_endpoints: config.oauth_token_endpoints.clone(),
        kafka,
        announcer: Announcer::new(client.clone(), config.instance.clone()),
        metrics,
        scopes: config.scopes(),
        backoff: Backoff::default(),
        clock: now,
        places: Places::new(config.concurrency),
        turns: Turns::default(),
        commits: Commits::default(),
        leadership,
    }
}

/// Waits until OffsetResets can be listed, in any of the namespaces that are watched: one that cannot be looked into, because it is not there
/// yet or its Role is not, is looked at again by its watch, and keeps nobody else waiting. False when it was stopped before.
async fn wait_for_crd(client: &Client, config: &Config, stop: &CancellationToken) -> bool {
    loop {
        let mut listed = false;
        for scope in config.scopes() {
            match api::<Guarded>(client, scope.as_deref()).list(&ListParams::default().limit(1)).await {
                Ok(_) => listed = true,
                Err(error) => {
                    tracing::warn!(namespace = scope, %error, "OffsetResets cannot be listed yet; is the definition installed, and may the operator list them?");
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
