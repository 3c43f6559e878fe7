//! Does the one thing that was decided. The only caller of anything that changes the world.

use kube::ResourceExt;

use super::{Context, Error, observe::connection};
use crate::{
    api::OffsetReset,
    kubernetes::{Scaled, Stored},
    machine::{Answer, Effect, request::Request, world::Committed},
};

/// Acts, and says how it ended. The status that the effect relies on has been written, as `reset`.
pub(super) async fn act(
    context: &Context,
    reset: &OffsetReset,
    request: Option<&Request>,
    effect: &Effect,
) -> Result<Answer, Error> {
    match effect {
        Effect::AddFinalizer | Effect::RemoveFinalizer => {
            let on = matches!(effect, Effect::AddFinalizer);
            match context.resets.set_finalizer(reset, on).await.map_err(Error::Finalizer)? {
                Stored::Written(_) => Ok(Answer::Done),
                Stored::Stale => Ok(Answer::Stale),
            }
        }
        Effect::Scale { target, resource_version, replicas, .. } => {
            let Some(target) = reset.status.as_ref().and_then(|status| status.targets.get(*target)) else {
                return Ok(Answer::Stale);
            };
            let namespace = reset.namespace().unwrap_or_default();
            match context.targets.scale(&namespace, &target.name, resource_version, *replicas).await.map_err(Error::Scale)? {
                Scaled::Accepted => Ok(Answer::Done),
                Scaled::Stale => Ok(Answer::Stale),
                Scaled::Refused(why) => Ok(Answer::Refused(why)),
            }
        }
        Effect::Commit(offsets) => {
            let Some(request) = request else { return Ok(Answer::Stale) };
            let offsets: Vec<_> = offsets
                .iter()
                .map(|(at, offset)| (at.clone(), Committed { offset: *offset, metadata: request.marker.clone() }))
                .collect();
            let admin = match context.kafka.connect(&connection(request)).await {
                Ok(admin) => admin,
                Err(error) => return Ok(Answer::CommitFailed(error)),
            };
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
