//! One pass over one object, read top to bottom: observe, decide, record the intent, act, record.

mod act;
mod backoff;
mod observe;

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::{Resource, ResourceExt, core::DeserializeGuard, runtime::controller::Action};
use tokio::sync::Mutex;

use crate::{
    api::{OffsetReset, OffsetResetStatus, Phase},
    kafka::Connector,
    kubernetes::{Announcer, Resets, Stored, Targets},
    machine::{self, Decision, request::Request},
    observability::Metrics,
};

pub use backoff::Backoff;

/// How soon a pass that lost a race looks again.
const AFTER_CONFLICT: Duration = Duration::from_millis(50);

/// The least time between two passes of which the first changed nothing: a defect must not become a hot loop.
const AFTER_NOTHING: Duration = Duration::from_secs(1);

/// What every pass needs.
pub struct Context {
    /// The objects.
    pub resets: Resets,
    /// The workloads.
    pub targets: Targets,
    /// Kafka clusters.
    pub kafka: Arc<dyn Connector>,
    /// Events.
    pub announcer: Announcer,
    /// Measurements.
    pub metrics: Metrics,
    /// The namespace that is watched; all of them when absent.
    pub namespace: Option<String>,
    /// Consecutive failures, per object.
    pub backoff: Backoff,
    /// The time.
    pub clock: fn() -> Timestamp,
    /// One pass at a time may let a reset begin: who is under way is only seen by others once it is recorded.
    pub admission: Arc<Mutex<()>>,
}

/// Why a pass failed. Waiting is not failing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object could not be read.
    #[error("the OffsetReset could not be read")]
    Read(#[source] kube::Error),
    /// The others could not be read, so that nobody knows whose turn it is.
    #[error("the other OffsetResets could not be listed")]
    List(#[source] kube::Error),
    /// The status could not be written; nothing that relies on it was done.
    #[error("the status could not be written")]
    Record(#[source] kube::Error),
    /// The finalizer could not be set or removed.
    #[error("the finalizer could not be changed")]
    Finalizer(#[source] kube::Error),
    /// Nobody can tell whether a workload was scaled.
    #[error("the workload could not be scaled")]
    Scale(#[source] kube::Error),
    /// The object does not have the shape of its own definition.
    #[error("the OffsetReset cannot be decoded: {0}")]
    Undecodable(String),
}

impl Error {
    /// A stable word for metrics and logs.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Read(_) => "read",
            Self::List(_) => "list",
            Self::Record(_) => "record",
            Self::Finalizer(_) => "finalizer",
            Self::Scale(_) => "scale",
            Self::Undecodable(_) => "undecodable",
        }
    }
}

/// One pass.
///
/// # Errors
/// When something could not be read or written that must be; it is tried again, ever more slowly.
pub async fn reconcile(object: Arc<DeserializeGuard<OffsetReset>>, context: Arc<Context>) -> Result<Action, Error> {
    let action = pass(&object, &context).await?;
    context.backoff.reset(&uid(&object));
    Ok(action)
}

fn uid(object: &DeserializeGuard<OffsetReset>) -> String {
    object.meta().uid.clone().unwrap_or_default()
}

async fn pass(object: &DeserializeGuard<OffsetReset>, context: &Context) -> Result<Action, Error> {
    let cached = object.0.as_ref().map_err(|invalid| Error::Undecodable(invalid.error.clone()))?;
    let pass = context.metrics.reconcile_pass();
    // What is over is over: a cache may be behind, but nothing ever leads back from here.
    if cached.status.as_ref().is_some_and(is_over) && !cached.finalizers().iter().any(|name| name == crate::api::FINALIZER) {
        pass.completed();
        return Ok(Action::await_change());
    }
    let namespace = cached.namespace().unwrap_or_default();
    let Some(reset) = context.resets.get(&namespace, &cached.name_any()).await.map_err(Error::Read)? else {
        pass.completed();
        return Ok(Action::await_change());
    };
    let status = reset.status.clone().unwrap_or_default();
    let turn = match status.phase {
        None | Some(Phase::Pending) => Some(Arc::clone(&context.admission).lock_owned().await),
        Some(_) => None,
    };

    let request = Request::parse(&reset);
    let seen = observe::observe(context, &reset, &status, request.as_ref()).await?;
    let decision = machine::decide(request.as_ref(), &status, &seen, (context.clock)());

    let Some(reset) = record(context, reset, &status, &decision).await? else {
        pass.conflict();
        return Ok(Action::requeue(AFTER_CONFLICT));
    };
    drop(turn);
    let Some(effect) = &decision.effect else {
        pass.completed();
        return Ok(requeue(&decision, decision.status != status));
    };

    let answer = act::act(context, &reset, request.as_ref().ok(), effect).await?;
    let after = machine::after(&decision.status, effect, &answer, &seen, (context.clock)());
    if record(context, reset, &decision.status, &after).await?.is_none() {
        pass.conflict();
        return Ok(Action::requeue(AFTER_CONFLICT));
    }
    pass.completed();
    Ok(requeue(&after, true))
}

fn is_over(status: &OffsetResetStatus) -> bool {
    status.phase.is_some_and(Phase::is_terminal) && !machine::needs_a_look(status)
}

/// Writes the status if it has changed, and tells people then. `None` when the object has changed meanwhile: nothing may follow.
async fn record(
    context: &Context,
    reset: OffsetReset,
    old: &OffsetResetStatus,
    decision: &Decision,
) -> Result<Option<OffsetReset>, Error> {
    if decision.status == *old {
        return Ok(Some(reset));
    }
    let written = match context.resets.write_status(&reset, &decision.status).await.map_err(Error::Record)? {
        Stored::Written(written) => *written,
        Stored::Stale => return Ok(None),
    };
    if decision.status.phase != old.phase {
        report_phase(context, &written, &decision.status);
    }
    context.announcer.announce(&written, &decision.status.targets, &decision.notes).await;
    Ok(Some(written))
}

fn report_phase(context: &Context, reset: &OffsetReset, status: &OffsetResetStatus) {
    let Some(phase) = status.phase else { return };
    let (reason, message) = (status.reason.map_or("", |reason| reason.as_str()), status.message.as_deref().unwrap_or_default());
    tracing::info!(namespace = reset.namespace(), name = reset.name_any(), phase = phase.as_str(), reason, message, "phase");
    context.metrics.entered(phase);
    if phase.is_terminal() {
        context.metrics.finished(phase, reason);
        if let Some(hold) = &status.hold
            && let Some(end) = &hold.end_time
        {
            context.metrics.downtime(end.0.duration_since(hold.start_time.0).as_secs_f64());
        }
    }
}

fn requeue(decision: &Decision, changed: bool) -> Action {
    match decision.requeue {
        None => Action::await_change(),
        Some(SignedDuration::ZERO) if !changed => Action::requeue(AFTER_NOTHING),
        Some(after) => Action::requeue(Duration::try_from(after).unwrap_or_default()),
    }
}

/// What the controller does about a failed pass: nothing but wait, longer each time. It writes nothing.
#[must_use]
#[allow(clippy::needless_pass_by_value, reason = "the signature is the controller's")]
pub fn error_policy(object: Arc<DeserializeGuard<OffsetReset>>, error: &Error, context: Arc<Context>) -> Action {
    match error {
        Error::Undecodable(_) => Action::await_change(),
        Error::Read(_) | Error::List(_) | Error::Record(_) | Error::Finalizer(_) | Error::Scale(_) => {
            Action::requeue(context.backoff.next(&uid(&object)))
        }
    }
}
