//! One pass over one object, read top to bottom: observe, decide, record the intent, act, record.

mod act;
mod backoff;
mod binding;
mod commits;
mod connection;
mod found;
mod lines;
mod observe;
mod orphans;
mod places;
mod questions;
mod store;
mod turns;

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::{
    Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{controller::Action, reflector::ObjectRef},
};

use self::{
    lines::Rank,
    observe::{has_finalizer, is_done},
    store::{Outcome, Picture},
};
use crate::{
    api::{OffsetReset, OffsetResetStatus, Phase},
    kafka::Connector,
    kubernetes::{Announcer, Autoscalers, Claims, Receipts, Reports, Resets, Secrets, Targets, leader::Leadership},
    machine::{self, Decision, facts::Observed, request::Request},
    observability::Metrics,
};

pub use backoff::Backoff;
pub use commits::Commits;
pub use orphans::{care_for, error_policy as orphan_error_policy};
pub use places::Places;
pub use questions::look;
pub use turns::Turns;

/// How soon a pass that lost a race looks again.
const AFTER_CONFLICT: Duration = Duration::from_millis(50);

/// The least time between two passes of which the first changed nothing: a defect must not become a hot loop.
const AFTER_NOTHING: Duration = Duration::from_secs(1);

/// What every pass needs.
pub struct Context {
    /// The objects.
    pub resets: Resets,
    /// Their records.
    pub reports: Reports,
    /// What outlives them.
    pub receipts: Receipts,
    /// The workloads.
    pub targets: Targets,
    /// Who holds which of them at zero.
    pub claims: Claims,
    /// What scales them.
    pub autoscalers: Autoscalers,
    /// What the specs name to reach Kafka.
    pub secrets: Secrets,
    /// The token endpoints that may be asked, each by its exact address.
    pub token_endpoints: Vec<String>,
    /// Kafka clusters.
    pub kafka: Arc<dyn Connector>,
    /// Events.
    pub announcer: Announcer,
    /// Measurements.
    pub metrics: Metrics,
    /// The namespaces that are watched; all of them together where one is absent.
    pub scopes: Vec<Option<String>>,
    /// Consecutive failures, per object.
    pub backoff: Backoff,
    /// The time.
    pub clock: fn() -> Timestamp,
    /// Which passes are made at once.
    pub places: Places,
    /// One pass at a time where others must see what is recorded.
    pub turns: Turns,
    /// The commits that are under way.
    pub commits: Commits,
    /// Whether this operator is the one that works.
    pub leadership: Leadership,
}

impl Context {
    /// Asked right before everything that changes the world: what is begun while another leads would be done over its head.
    fn leads(&self) -> Result<(), Error> {
        if self.leadership.is_certain() { Ok(()) } else { Err(Error::NotLeading) }
    }
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
    WriteStatus(#[source] kube::Error),
    /// The report could not be read.
    #[error("the report could not be read")]
    ReadReport(#[source] kube::Error),
    /// The report could not be written; nothing that relies on it was done.
    #[error("the report could not be written")]
    WriteReport(#[source] kube::Error),
    /// Neither the report nor a status without it can be written.
    #[error("neither the report nor a status without it can be made: {0}")]
    Unrecordable(String),
    /// The finalizer could not be set or removed.
    #[error("the finalizer could not be changed")]
    Finalizer(#[source] kube::Error),
    /// Nobody can tell whether a workload was scaled.
    #[error("the workload could not be scaled")]
    Scale(#[source] kube::Error),
    /// A workload's Lease could not be read.
    #[error("the Lease of a workload could not be read")]
    ReadClaim(#[source] kube::Error),
    /// Nobody can tell whether a workload's Lease was written.
    #[error("the Lease of a workload could not be written")]
    Claim(#[source] kube::Error),
    /// Nobody can tell whether a ScaledObject was changed.
    #[error("the ScaledObject of a workload could not be changed")]
    Autoscaler(#[source] kube::Error),
    /// Nobody can tell whether the receipt was written.
    #[error("the receipt could not be written")]
    Receipt(#[source] kube::Error),
    /// Somebody else's commit relies on the workload's being at zero.
    #[error("the replicas do not come back yet: a commit of an OffsetReset that is gone is still under way")]
    CommitUnderWay,
    /// The lease could not be renewed in time, so another operator may be at work.
    #[error("this operator does not lead for certain any more: nothing was begun, whoever leads goes on")]
    NotLeading,
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
            Self::WriteStatus(_) => "write-status",
            Self::ReadReport(_) => "read-report",
            Self::WriteReport(_) => "write-report",
            Self::Unrecordable(_) => "unrecordable",
            Self::Finalizer(_) => "finalizer",
            Self::Scale(_) => "scale",
            Self::ReadClaim(_) => "read-claim",
            Self::Claim(_) => "claim",
            Self::Autoscaler(_) => "autoscaler",
            Self::Receipt(_) => "receipt",
            Self::NotLeading => "not-leading",
            Self::CommitUnderWay => "commit-under-way",
            Self::Undecodable(_) => "undecodable",
        }
    }
}

/// One pass.
///
/// # Errors
/// When something could not be read or written that must be; it is tried again, ever more slowly.
pub async fn reconcile(object: Arc<DeserializeGuard<OffsetReset>>, context: Arc<Context>) -> Result<Action, Error> {
    match Box::pin(pass(&object, &context)).await {
        Ok(action) => {
            context.backoff.reset(&uid(&object));
            Ok(action)
        }
        Err(error) => {
            if matches!(error, Error::Undecodable(_)) {
                // Nobody carries it out, and nothing says when it goes.
                context.places.forget(&place_of(&object));
            } else {
                context.places.has_failed(&place_of(&object));
            }
            Err(error)
        }
    }
}

/// Under which an object's place in the order of passes is kept.
fn place_of(object: &DeserializeGuard<OffsetReset>) -> ObjectRef<OffsetReset> {
    let meta = object.meta();
    ObjectRef::new(meta.name.as_deref().unwrap_or_default()).within(meta.namespace.as_deref().unwrap_or_default())
}

/// What a pass is for, as far as that is known before it begins; what is read here may be behind, and nothing but the order relies on it.
fn rank_before(context: &Context, object: &ObjectRef<OffsetReset>, cached: &OffsetReset) -> Rank {
    let known = context.places.rank(object);
    if may_hold(cached, phase_of(cached)) || known == Some(Rank::Holding) {
        Rank::Holding
    } else if Request::parse(cached).is_err() {
        Rank::Refused
    } else {
        known.unwrap_or(Rank::New)
    }
}

/// What the next pass is for.
fn rank_after(reset: &OffsetReset, old: &OffsetResetStatus, status: &OffsetResetStatus) -> Rank {
    if may_hold(reset, status.phase) {
        Rank::Holding
    } else if status.phase != old.phase || status.plan_time != old.plan_time {
        Rank::Begun
    } else {
        Rank::Again
    }
}

fn may_hold(reset: &OffsetReset, phase: Option<Phase>) -> bool {
    phase.is_some_and(Phase::may_hold) || has_finalizer(reset)
}

fn uid(object: &DeserializeGuard<OffsetReset>) -> String {
    object.meta().uid.clone().unwrap_or_default()
}

async fn pass(object: &DeserializeGuard<OffsetReset>, context: &Context) -> Result<Action, Error> {
    let cached = match &object.0 {
        Ok(cached) => cached,
        Err(invalid) => {
            context.announcer.announce_undecodable(&object.object_ref(&()), &invalid.error).await;
            return Err(Error::Undecodable(invalid.error.clone()));
        }
    };
    let (namespace, own) = (cached.namespace().unwrap_or_default(), place_of(object));
    if is_done(cached) {
        context.places.forget(&own);
        context.metrics.reconcile_pass().completed();
        return Ok(Action::await_change());
    }
    let rank = rank_before(context, &own, cached);
    // The operator ends: whoever takes over begins with all of them.
    let Some(mut place) = context.places.take(rank, &namespace).await else { return Ok(Action::await_change()) };
    let pass = context.metrics.reconcile_pass();
    let Some(first) = context.resets.get(&namespace, &cached.name_any()).await.map_err(Error::Read)? else {
        context.places.forget(&own);
        pass.completed();
        return Ok(Action::await_change());
    };
    let turn = context.turns.take(phase_of(&first), has_finalizer(&first), &namespace, &first.spec.group);
    let turn = place.outside(turn).await;
    let reset = if turn.is_some() {
        // What was read before the turn came does not count.
        match context.resets.get(&namespace, &cached.name_any()).await.map_err(Error::Read)? {
            Some(reset) if phase_of(&reset) == phase_of(&first) => reset,
            Some(_) | None => {
                pass.conflict();
                return Ok(Action::requeue(AFTER_CONFLICT));
            }
        }
    } else {
        first
    };

    let picture = store::load(context, &reset).await?;
    let request = Request::parse(&reset);
    // From before the look that a commit relies on until it has landed.
    let _commits = (picture.status.phase == Some(Phase::Resetting)).then(|| {
        let targets = picture.status.targets.iter();
        context.commits.begin(targets.map(|target| target.uid.clone()).collect())
    });
    let (seen, seen_in_turn) = Box::pin(observe::observe(context, &reset, &picture, request.as_ref(), &mut place)).await?;
    let decision = machine::decide(request.as_ref(), &picture.status, &seen, (context.clock)());

    let old = picture.status.clone();
    let Some((reset, picture, decision)) =
        Box::pin(record(context, reset, request.as_ref().ok(), picture, decision, &seen)).await?
    else {
        pass.conflict();
        return Ok(Action::requeue(AFTER_CONFLICT));
    };
    drop(seen_in_turn);
    let turn = turn.filter(|turn| !turn.until_recorded);
    context.places.remember(&own, rank_after(&reset, &old, &picture.status));
    let Some(effect) = &decision.effect else {
        pass.completed();
        return Ok(requeue(&decision, picture.status != old));
    };

    let answer = act::act(context, &reset, request.as_ref().ok(), effect).await?;
    let after = machine::after(&picture.status, effect, &answer, &seen, (context.clock)());
    let recorded = Box::pin(record(context, reset, request.as_ref().ok(), picture, after, &seen)).await?;
    drop(turn);
    let Some((_, _, after)) = recorded else {
        pass.conflict();
        return Ok(Action::requeue(AFTER_CONFLICT));
    };
    pass.completed();
    Ok(requeue(&after, true))
}

/// Writes what has changed, and tells people then. `None` when the object has changed meanwhile: nothing may follow.
/// Where the report is refused, another decision takes the place of the one that relied on it.
async fn record(
    context: &Context,
    reset: OffsetReset,
    request: Option<&Request>,
    old: Picture,
    decision: Decision,
    seen: &Observed,
) -> Result<Option<(OffsetReset, Picture, Decision)>, Error> {
    let (kept, decision) = match Box::pin(store::keep(context, reset.clone(), request, &old, &decision)).await? {
        Outcome::Refused(why) if old.status.commits == 0 && decision.status.outcome.is_none() => {
            let decision = machine::report_refused(&old.status, &why, seen, (context.clock)());
            (Box::pin(store::keep(context, reset, request, &old, &decision)).await?, decision)
        }
        // What was committed stands, and the consumers are to come back: that is not kept up by a report.
        Outcome::Refused(why) => (store::keep_without_report(context, reset, &old, &decision, &why).await?, decision),
        kept @ (Outcome::Stands(..) | Outcome::Stale) => (kept, decision),
    };
    let (written, picture) = match kept {
        Outcome::Stands(written, picture) => (*written, *picture),
        Outcome::Stale => return Ok(None),
        Outcome::Refused(why) => return Err(Error::Unrecordable(why)),
    };
    if picture.status.phase != old.status.phase {
        report_phase(context, &written, &picture.status);
    }
    if picture.status != old.status {
        context.announcer.announce(&written, &picture.status.targets, &decision.notes).await;
    }
    Ok(Some((written, picture, decision)))
}

fn phase_of(reset: &OffsetReset) -> Option<Phase> {
    reset.status.as_ref().and_then(|status| status.phase)
}

fn report_phase(context: &Context, reset: &OffsetReset, status: &OffsetResetStatus) {
    let Some(phase) = status.phase else { return };
    let (reason, message) = (status.reason.map_or("", |reason| reason.as_str()), status.explanation());
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
        Error::Read(_)
        | Error::List(_)
        | Error::WriteStatus(_)
        | Error::ReadReport(_)
        | Error::WriteReport(_)
        | Error::Unrecordable(_)
        | Error::Finalizer(_)
        | Error::Scale(_)
        | Error::ReadClaim(_)
        | Error::Claim(_)
        | Error::Autoscaler(_)
        | Error::Receipt(_)
        | Error::CommitUnderWay
        | Error::NotLeading => Action::requeue(context.backoff.next(&uid(&object))),
    }
}
