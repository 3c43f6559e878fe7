//! PURE: decides what to do next, from the spec, the recorded status, what was seen and the time.
//! No client, no clock, no async.
//!
//! [`decide`] is the whole machine; each phase has its file in `phases`, and [`TRANSITIONS`] has every change of phase:
//!
//! | phase | file | leaves when |
//! |---|---|---|
//! | Pending | `pending` | the reset is the oldest for its group |
//! | Planning | `planning` | the plan is complete, or something in the spec is not possible |
//! | Stopping | `stopping` | every target is at zero and no container runs |
//! | Draining | `draining` | the broker reports the group as empty, or the time is over |
//! | Resetting | `resetting` | every partition was read back as planned, or failed |
//! | Canary | `canary` (and `canary_undo`, through Stopping to Resetting) | a few replicas have consumed past the targets, or have failed |
//! | Restoring | `restoring` | every target has its replicas again, or must be left alone |
//! | Succeeded, Failed, Cancelled | `finished` | – (it still watches whether the consumers resume: `comeback`, `consumption`; and it deletes the object at the end of its time to live) |
//! | Planned (a dry run) | – | dryRun is set to false: then it begins again |
//!
//! A decision holds at most one effect. What the effect relies on is in the decision's status, and
//! the caller writes that status before it acts, unless [`Decision::needs_no_record`]; [`after`] then
//! decides what the effect's answer means.

mod carried;
pub mod coordination;
mod decision;
pub mod facts;
mod guards;
mod limits;
mod metadata;
mod not_allowed;
mod pass;
mod phases;
pub mod plan;
pub mod refusal;
pub mod request;
pub mod text;
mod time;
mod topic_id;
pub mod totals;
mod transitions;

#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};

use self::{
    coordination::{receipt, scaled_object},
    facts::Observed,
    guards::Guard,
    pass::Pass,
    phases::{canary, draining, finished, pending, planning, resetting, restoring, stopping},
    request::{InvalidSpec, Request},
    text::Message,
};
use crate::api::{ActionKind, OffsetResetStatus, Phase, Reason};

pub use carried::Carried;
pub use decision::{Answer, Decision, Effect, Note};
pub use limits::MAX_REHOLDS;
pub use phases::{
    consumption::is_looked_at,
    draining::pause,
    finished::{expiry, first_look, needs_a_look, needs_offsets, until_expiry},
    planning::PLANNING_TIMEOUT,
    read_back::{MAX_COMMITS, is_read_back, stands},
    stopping::{awaited_pods, waits_at_zero},
};
pub use plan::replica_owners::{SCALERS, scaled_up_by};
pub use transitions::{TRANSITIONS, Transition};

/// Decides what to do next.
///
/// `request` is the parsed spec, or why it cannot be parsed; `status` is the recorded status,
/// `seen` what this pass saw, `now` the time.
#[must_use]
pub fn decide(request: Result<&Request, &InvalidSpec>, status: &OffsetResetStatus, seen: &Observed, now: Timestamp) -> Decision {
    if status.ended_elsewhere() {
        return leave_as_it_is(status, seen);
    }
    let mut pass = Pass::new(status, seen, now);
    if let Ok(request) = request
        && status.dry_run
        && !request.dry_run
        && !seen.deleting
    {
        return pass.begin_again();
    }
    let phase = pass.begin(request.is_ok_and(|request| request.dry_run));
    if !Guard::NotOver.allows(!phase.is_terminal()) {
        return finished::decide(pass, request.ok());
    }
    if phase == Phase::Restoring {
        return restoring::decide(pass, request.ok());
    }
    // Whatever ends a canary, the offsets are committed, and all replicas are restored.
    if phase == Phase::Canary {
        return canary::decide(pass, request.ok());
    }
    if seen.deleting {
        let message = Message::new("The OffsetReset was deleted before it was done")
            .detail(pass.offsets_changed())
            .advice("Nothing has to be done: the OffsetReset goes away once the replicas are restored");
        return pass.finish(Phase::Cancelled, Reason::Cancelled, message);
    }
    if phase == Phase::Unknown {
        let message = Message::new("Another version of the operator left the reset in a phase that this version does not know")
            .detail(pass.offsets_changed())
            .advice("Compare the offsets of the group with status.partitions, and create the reset under a new name");
        return pass.finish(Phase::Failed, Reason::OtherVersion, message);
    }
    let request = match request {
        Ok(request) => request,
        Err(invalid) => {
            // An earlier version of the operator may have accepted it and begun.
            let touched =
                if pass.status.hold.is_some() { pass.offsets_changed() } else { "The consumers were not touched".to_owned() };
            let message = Message::naming([&invalid.field], |[field]| format!("spec.{field} cannot be carried out"))
                .detail(invalid.to_string())
                .detail(touched)
                .advice("Correct it, and create the reset under a new name");
            return pass.finish(Phase::Failed, Reason::InvalidSpec, message);
        }
    };
    if let Some(outcome) = pass.hold_deadline_passed() {
        return pass.finish(Phase::Failed, Reason::HoldTimeout, outcome);
    }
    if seen.uninstalling && !request.dry_run {
        return uninstalling(pass);
    }
    if !Guard::NoReceipt.allows(phase != Phase::Pending || request.dry_run)
        && let Some(decision) = receipt::found(&mut pass, request)
    {
        return decision;
    }
    if matches!(phase, Phase::Pending | Phase::Planning)
        && let Some(why) = pending::not_now(&pass, request)
    {
        return pending::hold_back(pass, request, why);
    }
    match phase {
        Phase::Pending => pending::decide(pass, request),
        Phase::Planning => planning::decide(pass, request),
        Phase::Stopping => stopping::decide(pass, request),
        Phase::Draining => draining::decide(pass, request),
        Phase::Resetting => resetting::decide(pass, request),
        Phase::Canary
        | Phase::Restoring
        | Phase::Succeeded
        | Phase::Failed
        | Phase::Cancelled
        | Phase::Planned
        | Phase::Unknown => pass.wait_for_change(),
    }
}

/// How soon it looks again whether the operator is still being uninstalled.
const UNINSTALL_RETRY: SignedDuration = SignedDuration::from_secs(2);

/// Without the operator nothing restores the replicas: what it holds is restored while it still can,
/// and nothing more is stopped.
fn uninstalling(pass: Pass<'_>) -> Decision {
    if pass.status.phase.is_some_and(Phase::may_hold) {
        let message = Message::new("The operator is being uninstalled, so the consumers are restored")
            .detail(pass.offsets_changed())
            .advice("Install the operator again, and create the reset under a new name");
        return pass.finish(Phase::Failed, Reason::OperatorRemoved, message);
    }
    let message = Message::new("The operator is being uninstalled, so no consumers are stopped")
        .detail("The consumers keep running")
        .advice("Install the operator again with kubectl apply -k deploy/, and the reset goes on");
    pass.wait(Reason::OperatorRemoved, message, UNINSTALL_RETRY)
}

/// What another version of the operator has ended stays as that version wrote it.
fn leave_as_it_is(status: &OffsetResetStatus, seen: &Observed) -> Decision {
    let (effect, requeue) =
        if seen.finalizer { (Some(Effect::RemoveFinalizer), Some(SignedDuration::ZERO)) } else { (None, None) };
    Decision { status: status.clone(), effect, requeue, notes: vec![] }
}

/// Ends a run whose report could not be stored, and would not be the next time either: nothing is
/// done without it.
#[must_use]
pub fn report_refused(status: &OffsetResetStatus, why: &str, seen: &Observed, now: Timestamp) -> Decision {
    let pass = Pass::new(status, seen, now);
    let message = Message::new("The report of the plan could not be stored, and nothing is committed without it")
        .detail(why)
        .detail(pass.offsets_changed())
        .advice("Let the operator write ConfigMaps in this namespace, and create the reset under a new name");
    pass.finish(Phase::Failed, Reason::ReportUnavailable, message)
}

/// As [`report_refused`], where the API server has not allowed it: it is tried again for a while.
#[must_use]
pub fn report_not_allowed(status: &OffsetResetStatus, why: &str, seen: &Observed, now: Timestamp) -> Decision {
    not_allowed::wait_for_report(status, why, seen, now).unwrap_or_else(|| report_refused(status, why, seen, now))
}

/// Whether a reset is over and nothing follows, unless its spec is changed.
#[must_use]
pub fn is_over(status: &OffsetResetStatus, dry_run: bool) -> bool {
    has_ended(status, dry_run) && !needs_a_look(status)
}

/// Whether a reset stops and commits nothing any more, unless its spec is changed. Its consumers may
/// still be watched.
#[must_use]
pub fn has_ended(status: &OffsetResetStatus, dry_run: bool) -> bool {
    status.ended_elsewhere() || (status.phase.is_some_and(Phase::is_terminal) && (dry_run || !status.dry_run))
}

/// Decides what an effect's answer means: the status to write, and when to look again.
#[must_use]
pub fn after(status: &OffsetResetStatus, effect: &Effect, answer: &Answer, seen: &Observed, now: Timestamp) -> Decision {
    if status.ended_elsewhere() {
        // Only the finalizer was removed.
        return Decision { status: status.clone(), effect: None, requeue: Some(SignedDuration::ZERO), notes: vec![] };
    }
    let mut pass = Pass::new(status, seen, now);
    if let (Effect::Delete, Answer::NotAllowed(_) | Answer::Refused(_)) = (effect, answer) {
        return finished::not_deleted(pass);
    }
    if let Answer::NotAllowed(why) = answer {
        let wait = not_allowed::wait(&mut pass, effect, why);
        return wait.unwrap_or_else(|| after(&pass.status, effect, &Answer::Refused(why.clone()), seen, now));
    }
    pass.status.not_allowed_since = None;
    match (effect, answer) {
        (Effect::Commit(offsets), Answer::Committed(answers)) => resetting::committed(pass, offsets, answers),
        (Effect::RemoveOffsets(_), Answer::Committed(answers)) => resetting::committed(pass, &[], answers),
        (Effect::Commit(offsets), Answer::CommitFailed(error)) => {
            resetting::commit_failed(pass, offsets.iter().map(|(at, _)| at), error)
        }
        (Effect::RemoveOffsets(removed), Answer::CommitFailed(error)) => resetting::commit_failed(pass, removed.iter(), error),
        (Effect::Scale { target, kind, .. }, Answer::Refused(why)) => match kind {
            ActionKind::Restore => restoring::refused(pass, *target, why),
            ActionKind::Canary => canary::refused(pass, *target, None, why),
            ActionKind::Stop
            | ActionKind::RemoveMembers
            | ActionKind::Commit
            | ActionKind::Claim
            | ActionKind::Release
            | ActionKind::Pause
            | ActionKind::Resume
            | ActionKind::Settle
            | ActionKind::Unknown => stopping::refused(pass, *target, why),
        },
        (Effect::Scale { target, kind: ActionKind::Stop, .. }, Answer::Overridden(count)) => {
            stopping::overridden(pass, *target, *count)
        }
        (Effect::Scale { target, kind: ActionKind::Stop, .. }, Answer::Done) => stopping::accepted(pass, *target),
        (Effect::Scale { target, kind: ActionKind::Restore, .. }, Answer::Done) => restoring::accepted(pass, *target),
        (Effect::Scale { target, kind: ActionKind::Restore, replicas, .. }, Answer::Overridden(count)) => {
            let why = format!("an admission policy or a webhook changed the {replicas} replicas to {count}");
            restoring::refused(pass, *target, &why)
        }
        (Effect::Scale { target, kind: ActionKind::Canary, replicas, .. }, Answer::Overridden(count)) => {
            let why = format!("an admission policy or a webhook changed the {replicas} replicas to {count}");
            canary::refused(pass, *target, Some(*count), &why)
        }
        (Effect::Claim { target, .. }, Answer::Refused(why)) if status.phase == Some(Phase::Canary) => {
            canary::refused(pass, *target, None, why)
        }
        (Effect::Claim { target, .. }, Answer::Refused(why)) => stopping::claim_refused(pass, *target, why),
        (Effect::Release { target, .. }, Answer::Refused(why)) => restoring::release_refused(pass, *target, why),
        (Effect::Pause { target, .. }, Answer::Refused(why)) => scaled_object::pause_refused(pass, *target, why),
        (Effect::Resume { target, .. }, Answer::Refused(why)) => scaled_object::resume_refused(pass, *target, why),
        (Effect::RemoveMembers(_), Answer::Refused(why)) => draining::removal_refused(pass, why),
        (Effect::SettleReceipt { .. }, Answer::Done) => restoring::settled(pass, None),
        (Effect::SettleReceipt { .. }, Answer::Refused(why)) => restoring::settled(pass, Some(why)),
        // The next step sees by itself what the first line did; the second line cannot happen.
        (
            Effect::AddFinalizer
            | Effect::RemoveFinalizer
            | Effect::Delete
            | Effect::Scale { .. }
            | Effect::Claim { .. }
            | Effect::Release { .. }
            | Effect::Pause { .. }
            | Effect::Resume { .. }
            | Effect::RemoveMembers(_)
            | Effect::Commit(_)
            | Effect::RemoveOffsets(_)
            | Effect::SettleReceipt { .. },
            Answer::Done
            | Answer::Overridden(_)
            | Answer::Stale
            | Answer::Refused(_)
            | Answer::NotAllowed(_)
            | Answer::Committed(_)
            | Answer::CommitFailed(_),
        ) => pass.again(),
    }
}
