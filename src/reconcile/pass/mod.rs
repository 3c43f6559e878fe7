//! A pass: steps that follow each other at once. Each observes, decides, records the intent and acts.
//!
//! Between two steps the object itself is not read again, and the status is written only where an effect relies on it, where the
//! pass waits, and where other passes rely on it. Until then the status is in memory only. To lose it is the same as a crash
//! right after the effect, or before the decision: the next pass begins with the status that is stored. Each write is bound to
//! the version of the object that the pass has read or written last, so that nothing is done for an object that has changed
//! meanwhile. A claim, a release and the end of the receipt are bound to the version of the Lease or the receipt instead.

mod act;
mod begin;
mod count;
mod entered;
mod forecast;
mod kafka_queries;
mod observe;
mod persist;
mod read_targets;

use jiff::{SignedDuration, Timestamp};
use kube::{
    Resource, ResourceExt,
    core::{DeserializeGuard, ObjectMeta},
    runtime::{controller::Action, reflector::ObjectRef},
};
use tracing::Instrument;

use self::{
    begin::{Begin, begin, lock_of},
    entered::{Entered, entered, log_phase, trace_phase},
    persist::StoredState,
};
use super::{
    aside::aside,
    context::Context,
    error::Error,
    object::{expiry, has_finalizer, is_done, is_only_watched, key_of, may_hold, phase_of},
    requests,
    scheduler::{Left, Lock, Need, Rank, Slot},
};
use crate::{
    api::{FINALIZER, OffsetReset, OffsetResetStatus, Phase},
    kubernetes::{WriteOutcome, may_be_claimed_by},
    machine::{self, Answer, Carried, Decision, Effect, Note, facts::Observed, request::Request},
    observability::traces,
};
use std::time::Duration;

/// The wait after a conflict.
const AFTER_CONFLICT: Duration = Duration::from_millis(50);

/// The least wait after a pass that changed nothing, so that a defect does not become a hot loop.
const AFTER_NO_CHANGE: Duration = Duration::from_secs(1);

/// The most steps of a pass, so that a defect does not become a hot loop.
const MAX_STEPS: usize = 32;

pub use kafka_queries::query_kafka;

/// A reset during a pass.
struct Course {
    /// The object as it is stored.
    reset: OffsetReset,
    /// The versions of it that this pass has read or written, the latest last.
    versions: Vec<String>,
    /// It was read from the API server, or written over the version that the watch has delivered: it is no older than that.
    confirmed: bool,
    /// The status as it is stored; with all partitions, once they were read.
    written: OffsetResetStatus,
    /// The status that the steps have come to, and the report.
    state: StoredState,
    /// What the last step has read, where this one need not read it again.
    carried: Option<Carried>,
    /// The versions of the workloads that the pass has scaled.
    scaled_to: Vec<String>,
    /// The Events of the steps that are not recorded.
    notes: Vec<Note>,
    /// The phases that were entered and are not recorded.
    entered: Vec<Entered>,
}

/// What follows a step.
enum Next {
    /// Another step.
    Step(Box<Course>),
    /// The end of the pass, and what it leaves.
    End(Left),
    /// The object has changed: the pass ends, and another one reads it.
    Conflict,
}

/// One pass over one `OffsetReset`.
pub(super) async fn pass(object: &DeserializeGuard<OffsetReset>, context: &Context) -> Result<Action, Error> {
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
    let (expiry, now) = (expiry(cached), (context.clock)());
    let expired = expiry.is_some_and(|at| at <= now);
    if is_done(cached) && !expired {
        forget(context, &key);
        let left = expiry.and_then(|at| Duration::try_from(machine::until_expiry(at, now)).ok());
        return Ok(left.map_or_else(Action::await_change, Action::requeue));
    }
    // An event does not bring the next look at a finished reset forward without limit.
    if let Some(wait) = context.looks.wait(&key).filter(|_| is_only_watched(cached) && !expired) {
        return Ok(Action::requeue(wait));
    }
    // Nor does the pass's own write, which comes back from the watch.
    if let (Need::Nothing(next), false) = (context.visits.need(&key, cached.resource_version().as_deref()), expired) {
        return Ok(next.map_or_else(Action::await_change, Action::requeue));
    }
    let rank = rank_before(context, &key, cached).await;
    // Without a slot the operator is shutting down; the next leader begins with every reset.
    let Some(mut slot) = context.slots.acquire(rank, &namespace).await else { return Ok(Action::await_change()) };
    let _under_way = context.liveness.pass(format!("OffsetReset {namespace}/{}", cached.name_any()));
    let pass = context.metrics.reconcile_pass();
    let (reset, files, lock, confirmed) = match begin(context, &key, &mut slot, cached).await? {
        Begin::With(reset, files, lock, confirmed) => (*reset, files, lock, confirmed),
        Begin::Gone => {
            forget(context, &key);
            pass.completed();
            return Ok(Action::await_change());
        }
        Begin::Conflict => {
            pass.conflict();
            return Ok(Action::requeue(AFTER_CONFLICT));
        }
    };
    let (state, versions) = (StoredState::of(&reset, files), reset.resource_version().into_iter().collect());
    let course = Course::new(reset, versions, confirmed, state);
    let mut next = traced_step(context, &key, &mut slot, lock, course, true).await?;
    let mut steps = 1;
    loop {
        let course = match next {
            Next::Step(course) => course,
            Next::End(left) => {
                let next = left.next;
                context.visits.end(&key, left);
                pass.completed();
                return Ok(next.map_or_else(Action::await_change, Action::requeue));
            }
            Next::Conflict => {
                pass.conflict();
                return Ok(Action::requeue(AFTER_CONFLICT));
            }
        };
        let lock = slot.released_while(lock_of(context, &course.reset, course.state.status.phase)).await;
        steps += 1;
        next = traced_step(context, &key, &mut slot, lock, *course, steps < MAX_STEPS).await?;
    }
}

/// Drops what is kept of a reset that is finished or gone.
pub(super) fn forget(context: &Context, key: &ObjectRef<OffsetReset>) {
    context.slots.forget(key);
    context.looks.forget(key);
    context.visits.forget(key);
    context.announcer.forget(key);
}

/// A step in its span.
async fn traced_step(
    context: &Context,
    key: &ObjectRef<OffsetReset>,
    slot: &mut Slot<'_>,
    lock: Option<Lock>,
    course: Course,
    may_go_on: bool,
) -> Result<Next, Error> {
    let span = traces::step(&course.reset, &course.state.status);
    Box::pin(step(context, key, slot, lock, course, may_go_on)).instrument(span).await
}

/// One step of a pass, with at most one effect. Without `may_go_on` no step follows at once.
async fn step(
    context: &Context,
    key: &ObjectRef<OffsetReset>,
    slot: &mut Slot<'_>,
    mut lock: Option<Lock>,
    mut course: Course,
    may_go_on: bool,
) -> Result<Next, Error> {
    course.read_report(context).await?;
    let phase = course.state.status.phase;
    let parsed = context.requests.parse(&course.reset, may_hold(&course.reset, phase)).await;
    let (planned, no_file) = requests::with_file(&context.config_maps, &parsed, phase).await;
    let (request, planned) = (parsed.as_ref(), planned.as_ref());
    let carried = course.carried.take();
    // From before the reads that a commit relies on until it has landed.
    let _commit = (phase == Some(Phase::Resetting)).then(|| {
        let targets = course.state.status.targets.iter();
        context.commits_in_flight.begin(targets.map(|target| target.uid.clone()).collect())
    });
    let released = (&mut *slot, lock.as_mut());
    let (seen, lock_of_seen) =
        Box::pin(observe::observe(context, &course.reset, &course.state, planned.as_ref(), no_file, carried, released)).await?;
    let decision = if phase == Some(Phase::Planning) {
        // A plan takes as long as the user's patterns and the broker's answers are large.
        aside(has_finalizer(&course.reset), || machine::decide(planned.as_ref(), &course.state.status, &seen, (context.clock)()))
            .await
    } else {
        machine::decide(planned.as_ref(), &course.state.status, &seen, (context.clock)())
    };

    let changed = decision.status != course.state.status;
    let rank = rank_after(&course.reset, &course.state.status, &decision.status);
    if may_go_on && changed && decision.goes_on_unwritten(phase) {
        context.slots.remember(key, rank);
        course.carried = Carried::into(phase, decision.status.phase, seen);
        return Ok(Next::Step(Box::new(course.ahead(decision, (context.clock)()))));
    }
    let recorded = if course.confirmed && decision.needs_no_record(&course.written) {
        Some((course.ahead(decision.clone(), (context.clock)()), decision))
    } else {
        Box::pin(record(context, course, request.as_ref().ok(), decision, &seen)).await?
    };
    let Some((course, decision)) = recorded else { return Ok(Next::Conflict) };
    // Before the locks are released: other passes rely on it, see `observe::may_matter`.
    context.slots.remember(key, rank);
    drop(lock_of_seen);
    let lock = lock.filter(|lock| !lock.until_recorded);
    let Some(effect) = &decision.effect else {
        if let Some(next) = decision.requeue.filter(|_| is_only_watched(&course.reset)) {
            context.looks.looked(key, Duration::try_from(next).unwrap_or_default());
        }
        if may_go_on && changed && decision.goes_on(phase) {
            return Ok(Next::Step(Box::new(course)));
        }
        let awaited = machine::awaited_pods(&course.state.status, &seen);
        return Ok(course.end(requeue(&decision, changed), awaited));
    };

    let mut course = course;
    if !course.confirmed && !effect.is_on_the_object() {
        // Nothing was written, so nothing tells that the object is still as the watch has it.
        return Ok(Next::Conflict);
    }
    let receipt = course.state.take_receipt(effect);
    let (reset, scaled_to) = (&mut course.reset, &mut course.scaled_to);
    let at_kafka = effect.is_on_kafka().then(|| slot.waits_for_kafka());
    let answer = act::act(context, reset, request.as_ref().ok(), effect, receipt.as_deref(), scaled_to).await?;
    drop(at_kafka);
    course.saw_version();
    if effect.is_on_the_object() {
        if matches!(answer, Answer::Stale) {
            return Ok(Next::Conflict);
        }
        course.confirmed |= matches!(answer, Answer::Done);
    }
    let after = machine::after(&course.state.status, effect, &answer, &seen, (context.clock)());
    // The object is not stored as it was read, so the next step would be a conflict.
    let reread = matches!(answer, Answer::Stale) || matches!(effect, Effect::RemoveFinalizer | Effect::Delete);
    if may_go_on && !reread && after.goes_on_unwritten(course.state.status.phase) {
        course.carried = Carried::after(effect, &answer, seen);
        return Ok(Next::Step(Box::new(course.ahead(after, (context.clock)()))));
    }
    let recorded = Box::pin(record(context, course, request.as_ref().ok(), after, &seen)).await?;
    drop(lock);
    let Some((course, after)) = recorded else { return Ok(Next::Conflict) };
    Ok(course.end(requeue(&after, true), vec![]))
}

/// The rank of a pass before it begins. The cached object may be stale; only the order of passes relies on it.
async fn rank_before(context: &Context, object: &ObjectRef<OffsetReset>, cached: &OffsetReset) -> Rank {
    let known = context.slots.rank(object);
    // The Lease of an earlier run of this name.
    let is_claimed = || {
        matches!(phase_of(cached), None | Some(Phase::Pending))
            && context.claims.are_of(&cached.namespace().unwrap_or_default(), &cached.name_any())
    };
    if may_hold(cached, phase_of(cached)) || known == Some(Rank::Holding) || is_claimed() {
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

impl Course {
    /// With the state that is stored, and nothing done yet.
    fn new(reset: OffsetReset, versions: Vec<String>, confirmed: bool, state: StoredState) -> Self {
        Self {
            reset,
            versions,
            confirmed,
            written: state.status.clone(),
            state,
            carried: None,
            scaled_to: vec![],
            notes: vec![],
            entered: vec![],
        }
    }

    /// Goes on with a decision's status, which is not written yet.
    fn ahead(mut self, decision: Decision, now: Timestamp) -> Self {
        self.entered.extend(entered(&self.state.status, &decision.status, now));
        self.notes.extend(decision.notes);
        self.state.status = decision.status;
        self
    }

    /// Ends the pass.
    fn end(mut self, next: Option<Duration>, awaited: Vec<String>) -> Next {
        let at_zero = machine::waits_at_zero(&self.state.status);
        // What was neither read nor written is in the watch.
        let object = self.confirmed.then(|| {
            self.reset.metadata.managed_fields = None;
            Box::new(self.reset)
        });
        let files = self.state.into_files();
        Next::End(Left { versions: self.versions, next, awaited, scaled_to: self.scaled_to, at_zero, object, files })
    }

    /// Records the version of the object as it is stored now.
    fn saw_version(&mut self) {
        let version = self.reset.resource_version().filter(|version| self.versions.last() != Some(version));
        self.versions.extend(version);
    }

    /// Reads the report, once, where a step needs it.
    async fn read_report(&mut self, context: &Context) -> Result<(), Error> {
        if self.state.report_read() || !persist::needs_report(&self.reset, &self.state.status, (context.clock)()) {
            return Ok(());
        }
        let omitted = self.state.status.partitions_omitted;
        self.state.read_report(context, &self.reset).await?;
        if omitted > 0 && self.state.status.partitions_omitted == 0 {
            self.written.partitions.clone_from(&self.state.status.partitions);
            self.written.partitions_omitted = 0;
        }
        Ok(())
    }
}

/// Removes the operator's finalizer from an object that cannot be decoded and is being deleted, once the controller of the Leases
/// has released all that is held for it. `None` when the object is not being deleted, or does not have the finalizer.
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
            tracing::info!(namespace, name = meta.name, uid, "removed the finalizer of a deleted object that cannot be decoded");
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
    course: Course,
    request: Option<&Request>,
    decision: Decision,
    seen: &Observed,
) -> Result<Option<(Course, Decision)>, Error> {
    let Course { reset, versions, mut confirmed, written: old, state, carried: _, scaled_to, mut notes, entered: mut phases } =
        course;
    let read_version = reset.resource_version();
    let nothing_committed = old.commits == 0 && decision.status.outcome.is_none();
    let (outcome, decision) = match Box::pin(persist::persist(context, reset.clone(), request, &old, &state, &decision)).await? {
        WriteOutcome::NotAllowed(why) if nothing_committed => {
            let decision = machine::report_not_allowed(&state.status, &why, seen, (context.clock)());
            (Box::pin(persist::persist(context, reset, request, &old, &state, &decision)).await?, decision)
        }
        WriteOutcome::Refused(why) if nothing_committed => {
            let decision = machine::report_refused(&state.status, &why, seen, (context.clock)());
            (Box::pin(persist::persist(context, reset, request, &old, &state, &decision)).await?, decision)
        }
        // After a commit the consumers must be restored, with or without a report.
        WriteOutcome::NotAllowed(why) | WriteOutcome::Refused(why) => {
            (Box::pin(persist::persist_without_report(context, reset, &state, &decision, &why)).await?, decision)
        }
        outcome @ (WriteOutcome::Done(_) | WriteOutcome::Stale) => (outcome, decision),
    };
    let (reset, stored) = match outcome {
        WriteOutcome::Done(persisted) => *persisted,
        WriteOutcome::Stale => return Ok(None),
        WriteOutcome::NotAllowed(why) | WriteOutcome::Refused(why) => return Err(Error::Unrecordable(why)),
    };
    phases.extend(entered(&state.status, &stored.status, (context.clock)()));
    for phase in &phases {
        log_phase(&reset, phase);
        trace_phase(&reset, phase);
    }
    count::count(context, &reset, phases.iter().map(|entered| (entered.phase, entered.at)), &old, &stored.status, seen);
    notes.extend(decision.notes.iter().cloned());
    if stored.status != old {
        context.announcer.announce(&reset, &stored.status.targets, &notes);
        let has_ended = |status| machine::has_ended(status, reset.spec.dry_run);
        if has_ended(&stored.status) && !has_ended(&old) {
            context.announcer.forget(&ObjectRef::from_obj(&reset));
        }
    }
    confirmed |= reset.resource_version() != read_version;
    let mut course = Course { scaled_to, ..Course::new(reset, versions, confirmed, stored) };
    course.saw_version();
    Ok(Some((course, decision)))
}

/// When the next pass is due; `None` when none is without a change.
fn requeue(decision: &Decision, changed: bool) -> Option<Duration> {
    match decision.requeue? {
        SignedDuration::ZERO if !changed => Some(AFTER_NO_CHANGE),
        after => Some(Duration::try_from(after).unwrap_or_default()),
    }
}
