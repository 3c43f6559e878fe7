//! Carries out the one effect of a decision. Together with `persist` and `orphans`, this is all that writes.

use kube::ResourceExt;

use crate::reconcile::{context::Context, credentials::connect, error::Error};
use crate::{
    api::{ActionKind, OffsetReset, TargetRef},
    kubernetes::{RunEnd, WriteOutcome},
    machine::{Answer, Effect, request::Request},
};

/// Carries out an effect and returns its result. The status that the effect relies on has been written, as `reset`, which
/// becomes the changed object where the effect changes the object itself. `receipt` is the version of the receipt, where it is known.
/// The version of a workload that it scales is added to `scaled_to`.
pub(super) async fn act(
    context: &Context,
    reset: &mut OffsetReset,
    request: Option<&Request>,
    effect: &Effect,
    receipt: Option<&str>,
    scaled_to: &mut Vec<String>,
) -> Result<Answer, Error> {
    context.require_leadership()?;
    let namespace = reset.namespace().unwrap_or_default();
    let status_of = |target: usize| reset.status.as_ref().and_then(|status| status.targets.get(target));
    match effect {
        Effect::AddFinalizer | Effect::RemoveFinalizer => {
            let on = matches!(effect, Effect::AddFinalizer);
            let outcome = context.resets.set_finalizer(reset, on).await.map_err(Error::Finalizer)?;
            match outcome {
                WriteOutcome::Done(changed) => {
                    *reset = changed;
                    Ok(Answer::Done)
                }
                WriteOutcome::Stale => Ok(Answer::Stale),
                WriteOutcome::NotAllowed(why) | WriteOutcome::Refused(why) => Err(Error::FinalizerRefused(why)),
            }
        }
        Effect::Delete => {
            let deleted = context.resets.delete(reset).await.map_err(Error::Delete)?;
            match &deleted {
                WriteOutcome::Done(()) => {
                    tracing::info!(
                        namespace,
                        name = reset.name_any(),
                        uid = reset.uid(),
                        "deleted an OffsetReset: its ttlSecondsAfterFinished has passed"
                    );
                }
                WriteOutcome::Stale => {}
                WriteOutcome::NotAllowed(why) | WriteOutcome::Refused(why) => {
                    tracing::warn!(
                        namespace,
                        name = reset.name_any(),
                        uid = reset.uid(),
                        why,
                        "the API server refused to delete a finished OffsetReset whose ttlSecondsAfterFinished has passed"
                    );
                    context.announcer.announce_not_deleted(reset, why);
                }
            }
            Ok(answer(deleted))
        }
        Effect::Scale { target, resource_version, replicas, state, kind } => {
            let Some(target) = status_of(*target) else { return Ok(Answer::Stale) };
            // The commit of another reset that shared the stop, and is gone.
            if matches!(kind, ActionKind::Canary | ActionKind::Restore) && context.commits_in_flight.any_for(&target.uid) {
                return Err(Error::CommitInFlight);
            }
            let reference = TargetRef::from(target);
            let scaled = context.targets.scale(&namespace, &reference, resource_version, *replicas, state.as_deref()).await;
            Ok(match scaled.map_err(Error::Scale)? {
                WriteOutcome::Done(stored) if stored.replicas != *replicas => Answer::Overridden(stored.replicas),
                outcome => answer(outcome.map(|stored| scaled_to.extend(stored.version))),
            })
        }
        Effect::Claim { target, hold } | Effect::Release { target, hold } => {
            let Some(target) = status_of(*target) else { return Ok(Answer::Stale) };
            // Until the Lease is written the record must not be taken away.
            let _recorded = match &context.install.in_use {
                Some(in_use) if matches!(effect, Effect::Claim { .. }) => {
                    Some(in_use.begin(&namespace).await.map_err(Error::Claim)?)
                }
                Some(_) | None => None,
            };
            let claimed = context.claims.write(&namespace, &TargetRef::from(target), hold).await;
            Ok(answer(claimed.map_err(Error::Claim)?))
        }
        Effect::Pause { target, resource_version } | Effect::Resume { target, resource_version } => {
            let Some(own) = status_of(*target).and_then(|target| target.autoscaler.as_ref()) else {
                return Ok(Answer::Stale);
            };
            let changed = if matches!(effect, Effect::Pause { .. }) {
                context.scaled_objects.pause(&namespace, &own.name, resource_version, &reset.name_any()).await
            } else {
                context.scaled_objects.resume(&namespace, &own.name, resource_version).await
            };
            Ok(answer(changed.map_err(Error::ScaledObject)?))
        }
        Effect::SettleReceipt { keep } => settle_receipt(context, reset, *keep, receipt).await,
        Effect::RemoveMembers(members) => {
            let Some(request) = request else { return Ok(Answer::Stale) };
            let removed =
                async { connect(context, request, reset.status.as_ref()).await?.remove_members(&request.group, members).await };
            Ok(removed.await.map_or_else(|error| Answer::Refused(error.to_string()), |()| Answer::Done))
        }
        Effect::Commit(_) | Effect::RemoveOffsets(_) => {
            let Some(request) = request else { return Ok(Answer::Stale) };
            commit(context, reset, request, effect).await
        }
    }
}

/// Commits offsets, or removes them.
async fn commit(context: &Context, reset: &OffsetReset, request: &Request, effect: &Effect) -> Result<Answer, Error> {
    let admin = match connect(context, request, reset.status.as_ref()).await {
        Ok(admin) => admin,
        Err(error) => return Ok(Answer::CommitFailed(error)),
    };
    // Connecting may have taken long. The client checks again before it sends commit requests, see `kafka::Allowance`.
    context.require_leadership()?;
    // Awaited to its end: a commit must not land after the restore.
    let answers = match effect {
        Effect::RemoveOffsets(removed) => admin.delete_offsets(&request.group, removed).await,
        Effect::Commit(offsets) => admin.commit(&request.group, offsets).await,
        _ => return Ok(Answer::Stale),
    };
    Ok(answers.map_or_else(Answer::CommitFailed, Answer::Committed))
}

fn answer(outcome: WriteOutcome<()>) -> Answer {
    match outcome {
        WriteOutcome::Done(()) => Answer::Done,
        WriteOutcome::Stale => Answer::Stale,
        WriteOutcome::NotAllowed(why) => Answer::NotAllowed(why),
        WriteOutcome::Refused(why) => Answer::Refused(why),
    }
}

/// Records the end of the run in its receipt, or deletes the receipt.
async fn settle_receipt(context: &Context, reset: &OffsetReset, keep: bool, version: Option<&str>) -> Result<Answer, Error> {
    let status = reset.status.as_ref();
    let (Some(receipt), Some(outcome)) =
        (status.and_then(|status| status.receipt.as_ref()), status.and_then(|status| status.outcome.as_ref()))
    else {
        return Ok(Answer::Stale);
    };
    let settled = if keep {
        let end = RunEnd { phase: outcome.phase, at: (context.clock)(), message: &outcome.happened() };
        context.receipts.close(reset, &receipt.config_map, version, end).await
    } else {
        context.receipts.delete(reset, &receipt.config_map).await
    };
    Ok(answer(settled.map_err(Error::Receipt)?))
}
