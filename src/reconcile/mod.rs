//! One pass over one `OffsetReset`: observe, decide, record the intent, act, record the result.

mod act;
mod aside;
mod backoff;
mod context;
mod credentials;
mod error;
mod in_use;
mod install;
mod kafka_queries;
mod observe;
mod orphans;
mod persist;
mod requests;
mod scheduler;
mod unserved;

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use kube::{
    Resource, ResourceExt,
    core::{DeserializeGuard, ObjectMeta},
    runtime::{controller::Action, reflector::ObjectRef},
};

use self::{
    aside::aside,
    observe::{has_finalizer, is_done, is_only_watched},
    persist::StoredState,
    scheduler::Rank,
};
use crate::{
    api::{FINALIZER, OffsetReset, OffsetResetStatus, Phase},
    kubernetes::{WriteOutcome, may_be_claimed_by},
    machine::{self, Decision, facts::Observed, request::Request},
};

pub use backoff::{Backoff, BackoffKey};
pub use context::Context;
pub use error::Error;
pub use in_use::keep_install;
pub use install::Install;
pub use kafka_queries::query_kafka;
pub use orphans::{error_policy as hold_error_policy, reconcile_hold};
pub use requests::Requests;
pub use scheduler::{CommitsInFlight, Locks, Looks, Slots};
pub use unserved::Unserved;

/// The wait after a conflict.
const AFTER_CONFLICT: Duration = Duration::from_millis(50);

/// The least wait after a pass that changed nothing, so that a defect does not become a hot loop.
const AFTER_NO_CHANGE: Duration = Duration::from_secs(1);

/// One pass over one `OffsetReset`, with at most one effect.
///
/// # Errors
/// When a read or a write failed; [`error_policy`] sets the wait before the next pass.
pub async fn reconcile(object: Arc<DeserializeGuard<OffsetReset>>, context: Arc<Context>) -> Result<Action, Error> {
    match Box::pin(pass(&object, &context)).await {
        Ok(action) => {
            context.backoff.reset(&backoff_key(&object));
            Ok(action)
        }
        Err(error) => {
            if matches!(error, Error::Undecodable(_)) {
                // Such an object never runs, and no later pass would drop its rank.
                context.slots.forget(&key_of(&object));
            } else {
                context.slots.has_failed(&key_of(&object));
            }
            Err(error)
        }
    }
}

/// Drops what is kept of a reset that is gone.
pub fn forget_reset(context: &Context, namespace: &str, name: &str) {
    context.slots.forget(&ObjectRef::new(name).within(namespace));
    context.looks.forget(&ObjectRef::new(name).within(namespace));
    context.backoff.reset(&BackoffKey::reset(namespace, name));
}

/// The key under which the scheduler keeps an object's rank.
fn key_of(object: &DeserializeGuard<OffsetReset>) -> ObjectRef<OffsetReset> {
    let meta = object.meta();
    ObjectRef::new(meta.name.as_deref().unwrap_or_default()).within(meta.namespace.as_deref().unwrap_or_default())
}

/// The rank of a pass before it begins. The cached object may be stale; only the order of passes relies on it.
async fn rank_before(context: &Context, object: &ObjectRef<OffsetReset>, cached: &OffsetReset) -> Rank {
    let known = context.slots.rank(object);
    if may_hold(cached, phase_of(cached)) || known == Some(Rank::Holding) {
        Rank::Holding
    } else if context.requests.parse(cached, false).await.is_err() {
        Rank::Refused
    } else {
        known.unwrap_or(Rank::New)
    }
}

/// The rank of the next pass.
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

fn backoff_key(object: &DeserializeGuard<OffsetReset>) -> BackoffKey {
    let meta = object.meta();
    BackoffKey::reset(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

async fn pass(object: &DeserializeGuard<OffsetReset>, context: &Context) -> Result<Action, Error> {
    let cached = match &object.0 {
        Ok(cached) => cached,
        Err(invalid) => {
            if let Some(action) = release_undecodable(object.meta(), context).await? {
                return Ok(action);
            }
            context.announcer.announce_undecodable(&object.object_ref(&()), &invalid.error);
            return Err(Error::Undecodable(invalid.error.clone()));
        }
    };
    let (namespace, key) = (cached.namespace().unwrap_or_default(), key_of(object));
    if is_done(cached) {
        context.slots.forget(&key);
        context.looks.forget(&key);
        context.metrics.reconcile_pass().completed();
        return Ok(Action::await_change());
    }
    // An event does not bring the next look at a finished reset forward without limit.
    if let Some(wait) = context.looks.wait(&key).filter(|_| is_only_watched(cached)) {
        return Ok(Action::requeue(wait));
    }
    let rank = rank_before(context, &key, cached).await;
    // Without a slot the operator is shutting down; the next leader begins with every reset.
    let Some(mut slot) = context.slots.acquire(rank, &namespace).await else { return Ok(Action::await_change()) };
    let _under_way = context.liveness.pass(format!("OffsetReset {namespace}/{}", cached.name_any()));
    let pass = context.metrics.reconcile_pass();
    let Some(first) = context.resets.get(&namespace, &cached.name_any()).await.map_err(Error::Read)? else {
        context.slots.forget(&key);
        pass.completed();
        return Ok(Action::await_change());
    };
    let held = (namespace.as_str(), first.spec.target_refs.as_slice());
    let lock = context.locks.acquire(phase_of(&first), has_finalizer(&first), held, &first.spec.group);
    let lock = slot.released_while(lock).await;
    let reset = if lock.is_some() {
        // What was read before the lock was acquired may be stale.
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

    let stored = persist::load(context, &reset).await?;
    let request = context.requests.parse(&reset, may_hold(&reset, stored.status.phase)).await;
    let request = request.as_ref();
    // From before the reads that a commit relies on until it has landed.
    let _commit = (stored.status.phase == Some(Phase::Resetting)).then(|| {
        let targets = stored.status.targets.iter();
        context.commits_in_flight.begin(targets.map(|target| target.uid.clone()).collect())
    });
    let (seen, lock_of_seen) = Box::pin(observe::observe(context, &reset, &stored, request.as_ref(), &mut slot)).await?;
    let decision = if stored.status.phase == Some(Phase::Planning) {
        // A plan takes as long as the user's patterns and the broker's answers are large.
        aside(has_finalizer(&reset), || machine::decide(request.as_ref(), &stored.status, &seen, (context.clock)())).await
    } else {
        machine::decide(request.as_ref(), &stored.status, &seen, (context.clock)())
    };

    let old = stored.status.clone();
    let Some((reset, stored, decision)) =
        Box::pin(record(context, reset, request.as_ref().ok(), stored, decision, &seen)).await?
    else {
        pass.conflict();
        return Ok(Action::requeue(AFTER_CONFLICT));
    };
    // Before the locks are released: other passes rely on it, see `observe::may_matter`.
    context.slots.remember(&key, rank_after(&reset, &old, &stored.status));
    drop(lock_of_seen);
    let lock = lock.filter(|lock| !lock.until_recorded);
    let Some(effect) = &decision.effect else {
        pass.completed();
        if let Some(next) = decision.requeue.filter(|_| is_only_watched(&reset)) {
            context.looks.looked(&key, Duration::try_from(next).unwrap_or_default());
        }
        return Ok(requeue(&decision, stored.status != old));
    };

    let answer = act::act(context, &reset, request.as_ref().ok(), effect).await?;
    let after = machine::after(&stored.status, effect, &answer, &seen, (context.clock)());
    let recorded = Box::pin(record(context, reset, request.as_ref().ok(), stored, after, &seen)).await?;
    drop(lock);
    let Some((_, _, after)) = recorded else {
        pass.conflict();
        return Ok(Action::requeue(AFTER_CONFLICT));
    };
    pass.completed();
    Ok(requeue(&after, true))
}

/// Lets an object go that cannot be decoded, is being deleted and has the operator's finalizer: once nothing is held for it any
/// more, which the controller of the Leases sees to. `None` when the object is not such a one.
async fn release_undecodable(meta: &ObjectMeta, context: &Context) -> Result<Option<Action>, Error> {
    let ours = meta.finalizers.iter().flatten().any(|name| name == FINALIZER);
    if meta.deletion_timestamp.is_none() || !ours {
        return Ok(None);
    }
    let (namespace, uid) = (meta.namespace.as_deref().unwrap_or_default(), meta.uid.as_deref().unwrap_or_default());
    // Without a lock: no pass makes a claim for an object that it cannot decode, so a claim only goes.
    let leases = context.claims.list(namespace).await.map_err(Error::ReadClaim)?;
    if leases.iter().any(|lease| may_be_claimed_by(lease, uid)) {
        return Ok(Some(Action::requeue(AFTER_NO_CHANGE)));
    }
    context.require_leadership()?;
    match context.resets.remove_finalizer(meta).await.map_err(Error::Finalizer)? {
        WriteOutcome::Done(()) => {
            tracing::info!(namespace, name = meta.name, "removed the finalizer of a deleted object that cannot be decoded");
            Ok(Some(Action::await_change()))
        }
        WriteOutcome::Stale => Ok(Some(Action::requeue(AFTER_NO_CHANGE))),
        WriteOutcome::NotAllowed(why) | WriteOutcome::Refused(why) => Err(Error::FinalizerRefused(why)),
    }
}

/// Writes what has changed, then logs and publishes it. `None` when the object has changed since it was read: the pass ends.
/// When the report is refused before the first commit, another decision replaces the one that relied on it.
async fn record(
    context: &Context,
    reset: OffsetReset,
    request: Option<&Request>,
    old: StoredState,
    decision: Decision,
    seen: &Observed,
) -> Result<Option<(OffsetReset, StoredState, Decision)>, Error> {
    let (outcome, decision) = match Box::pin(persist::persist(context, reset.clone(), request, &old, &decision)).await? {
        WriteOutcome::NotAllowed(why) if old.status.commits == 0 && decision.status.outcome.is_none() => {
            let decision = machine::report_not_allowed(&old.status, &why, seen, (context.clock)());
            (Box::pin(persist::persist(context, reset, request, &old, &decision)).await?, decision)
        }
        WriteOutcome::Refused(why) if old.status.commits == 0 && decision.status.outcome.is_none() => {
            let decision = machine::report_refused(&old.status, &why, seen, (context.clock)());
            (Box::pin(persist::persist(context, reset, request, &old, &decision)).await?, decision)
        }
        // After a commit the consumers must be restored, with or without a report.
        WriteOutcome::NotAllowed(why) | WriteOutcome::Refused(why) => {
            (Box::pin(persist::persist_without_report(context, reset, &old, &decision, &why)).await?, decision)
        }
        outcome @ (WriteOutcome::Done(_) | WriteOutcome::Stale) => (outcome, decision),
    };
    let (written, stored) = match outcome {
        WriteOutcome::Done(persisted) => *persisted,
        WriteOutcome::Stale => return Ok(None),
        WriteOutcome::NotAllowed(why) | WriteOutcome::Refused(why) => return Err(Error::Unrecordable(why)),
    };
    if stored.status.phase != old.status.phase {
        log_phase(&written, &stored.status);
        count_phase(context, &stored.status);
    }
    if stored.status != old.status {
        context.announcer.announce(&written, &stored.status.targets, &decision.notes);
    }
    Ok(Some((written, stored, decision)))
}

fn phase_of(reset: &OffsetReset) -> Option<Phase> {
    reset.status.as_ref().and_then(|status| status.phase)
}

/// The status message goes into the field `detail`: the text of the event has the key `message` in JSON.
fn log_phase(reset: &OffsetReset, status: &OffsetResetStatus) {
    let Some(phase) = status.phase else { return };
    let (reason, detail) = (status.reason.map_or("", |reason| reason.as_str()), status.explanation());
    tracing::info!(
        namespace = reset.namespace(),
        name = reset.name_any(),
        phase = phase.as_str(),
        reason,
        detail,
        "phase changed"
    );
}

fn count_phase(context: &Context, status: &OffsetResetStatus) {
    let Some(phase) = status.phase else { return };
    context.metrics.entered(phase);
    if phase.is_terminal() {
        context.metrics.finished(phase, status.reason.map_or("", |reason| reason.as_str()));
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
        Some(SignedDuration::ZERO) if !changed => Action::requeue(AFTER_NO_CHANGE),
        Some(after) => Action::requeue(Duration::try_from(after).unwrap_or_default()),
    }
}

/// The wait after a failed pass: longer each time, but never long while consumers are held at zero. It writes nothing.
#[must_use]
#[allow(clippy::needless_pass_by_value, reason = "the signature is the controller's")]
pub fn error_policy(object: Arc<DeserializeGuard<OffsetReset>>, error: &Error, context: Arc<Context>) -> Action {
    match error {
        Error::Undecodable(_) => Action::await_change(),
        Error::Read(_)
        | Error::List(_)
        | Error::WriteStatus(_)
        | Error::StatusRefused(_)
        | Error::ReadReport(_)
        | Error::WriteReport(_)
        | Error::Unrecordable(_)
        | Error::Finalizer(_)
        | Error::FinalizerRefused(_)
        | Error::Scale(_)
        | Error::ReadClaim(_)
        | Error::Claim(_)
        | Error::ScaledObject(_)
        | Error::Receipt(_)
        | Error::CommitInFlight
        | Error::NotLeading => {
            // The object may be behind; the rank is of the last pass that has begun.
            let holds = |reset: &OffsetReset| may_hold(reset, phase_of(reset));
            let holding = object.0.as_ref().is_ok_and(holds) || context.slots.rank(&key_of(&object)) == Some(Rank::Holding);
            Action::requeue(context.backoff.next(&backoff_key(&object), holding))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::Arc};

    use parking_lot::Mutex;
    use serde_json::json;

    use super::*;

    /// A log in memory.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_json_line_of_a_phase_has_each_key_once() {
        let reset: OffsetReset = serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "replay", "namespace": "shop"},
            "spec": {"kafka": {"bootstrapServers": "k:1"}, "group": "orders"},
            "status": {"observedGeneration": 1, "phase": "Draining", "reason": "WaitingForGroup", "message": "1 of 3 members"},
        }))
        .unwrap();
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || log_phase(&reset, reset.status.as_ref().unwrap()));
        let line = String::from_utf8(log.0.lock().clone()).unwrap();
        let keys = ["message", "detail", "phase", "reason", "namespace", "name"];
        assert!(keys.iter().all(|key| line.matches(&format!("\"{key}\":")).count() == 1), "{line}");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["message"], &line["detail"]), (&json!("phase changed"), &json!("1 of 3 members")));
    }
}
