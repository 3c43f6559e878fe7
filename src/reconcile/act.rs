//! Does the one thing that was decided. The only caller of anything that changes the world.

use kube::ResourceExt;

use super::{Context, Error, connection::connect};
use crate::{
    api::{ActionKind, OffsetReset, TargetRef},
    kubernetes::{Changed, Claimed, End, ReportWrite, Scaled, Stored},
    machine::{Answer, Effect, facts::Committed, request::Request},
};

/// Acts, and says how it ended. The status that the effect relies on has been written, as `reset`.
pub(super) async fn act(
    context: &Context,
    reset: &OffsetReset,
    request: Option<&Request>,
    effect: &Effect,
) -> Result<Answer, Error> {
    context.leads()?;
    match effect {
        Effect::AddFinalizer | Effect::RemoveFinalizer => {
            let on = matches!(effect, Effect::AddFinalizer);
            match context.resets.set_finalizer(reset, on).await.map_err(Error::Finalizer)? {
                Stored::Written(_) => Ok(Answer::Done),
                Stored::Stale => Ok(Answer::Stale),
            }
        }
        Effect::Scale { target, resource_version, replicas, kind } => {
            let Some(target) = reset.status.as_ref().and_then(|status| status.targets.get(*target)) else {
                return Ok(Answer::Stale);
            };
            // Of somebody who shared the stop, and is gone.
            if *kind == ActionKind::Restore && context.commits.rely_on(&target.uid) {
                return Err(Error::CommitUnderWay);
            }
            let workload = TargetRef::from(target);
            let namespace = reset.namespace().unwrap_or_default();
            match context.targets.scale(&namespace, &workload, resource_version, *replicas).await.map_err(Error::Scale)? {
                Scaled::Accepted(stored) if stored != *replicas => Ok(Answer::Overridden(stored)),
                Scaled::Accepted(_) => Ok(Answer::Done),
                Scaled::Stale => Ok(Answer::Stale),
                Scaled::Refused(why) => Ok(Answer::Refused(why)),
            }
        }
        Effect::Claim { target, hold } | Effect::Release { target, hold } => {
            let Some(target) = reset.status.as_ref().and_then(|status| status.targets.get(*target)) else {
                return Ok(Answer::Stale);
            };
            let workload = TargetRef::from(target);
            let namespace = reset.namespace().unwrap_or_default();
            match context.claims.write(&namespace, &workload, hold).await.map_err(Error::Claim)? {
                Claimed::Written => Ok(Answer::Done),
                Claimed::Stale => Ok(Answer::Stale),
                Claimed::Refused(why) => Ok(Answer::Refused(why)),
            }
        }
        Effect::Pause { target, resource_version } | Effect::Resume { target, resource_version } => {
            let status = reset.status.as_ref().and_then(|status| status.targets.get(*target));
            let Some(own) = status.and_then(|target| target.autoscaler.as_ref()) else { return Ok(Answer::Stale) };
            let namespace = reset.namespace().unwrap_or_default();
            let changed = if matches!(effect, Effect::Pause { .. }) {
                context.autoscalers.pause(&namespace, &own.name, resource_version, &reset.name_any()).await
            } else {
                context.autoscalers.resume(&namespace, &own.name, resource_version).await
            };
            match changed.map_err(Error::Autoscaler)? {
                Changed::Done => Ok(Answer::Done),
                Changed::Stale => Ok(Answer::Stale),
                Changed::Refused(why) => Ok(Answer::Refused(why)),
            }
        }
        Effect::SettleReceipt { keep } => settle(context, reset, *keep).await,
        Effect::RemoveMembers(members) => {
            let Some(request) = request else { return Ok(Answer::Stale) };
            let evicted =
                async { connect(context, request, reset.status.as_ref()).await?.remove_members(&request.group, members).await };
            Ok(evicted.await.map_or_else(|error| Answer::Refused(error.to_string()), |()| Answer::Done))
        }
        Effect::Commit(offsets) => {
            let Some(request) = request else { return Ok(Answer::Stale) };
            let offsets: Vec<_> = offsets
                .iter()
                .map(|(at, offset)| (at.clone(), Committed { offset: *offset, metadata: request.marker.clone() }))
                .collect();
            let admin = match connect(context, request, reset.status.as_ref()).await {
                Ok(admin) => admin,
                Err(error) => return Ok(Answer::CommitFailed(error)),
            };
            // Connecting may have taken a while. Asked again for each request that commits, see `kafka::Allowance`.
            context.leads()?;
            // Awaited to its end: a commit that was begun must not land after the consumers are back.
            match admin.commit(&request.group, &offsets).await {
                Ok(answers) => {
                    let accepted = answers.values().filter(|answer| answer.is_ok()).count();
                    context.metrics.partitions_committed(accepted as u64);
                    Ok(Answer::Committed(answers))
                }
                Err(error) => Ok(Answer::CommitFailed(error)),
            }
        }
    }
}

/// Says in the receipt how the run has ended, or deletes it.
async fn settle(context: &Context, reset: &OffsetReset, keep: bool) -> Result<Answer, Error> {
    let status = reset.status.as_ref();
    let (Some(receipt), Some(outcome)) =
        (status.and_then(|status| status.receipt.as_ref()), status.and_then(|status| status.outcome.as_ref()))
    else {
        return Ok(Answer::Stale);
    };
    let settled = if keep {
        let end = End { phase: outcome.phase, at: (context.clock)(), message: &outcome.message };
        context.receipts.close(reset, &receipt.config_map, end).await
    } else {
        context.receipts.delete(reset, &receipt.config_map).await
    };
    match settled.map_err(Error::Receipt)? {
        ReportWrite::Written(_) => Ok(Answer::Done),
        ReportWrite::Stale => Ok(Answer::Stale),
        ReportWrite::Refused(why) => Ok(Answer::Refused(why)),
    }
}
