//! Orphaned holds: workloads at zero replicas whose `OffsetReset` was deleted after its finalizer was removed by hand, or cannot
//! be decoded. The Leases of the holds reveal them, at start-up and whenever a Lease or an `OffsetReset` changes.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{ResourceExt, runtime::controller::Action};

use super::{backoff::BackoffKey, context::Context, error::Error, unserved::CRD_GONE};
use crate::{
    api::TargetRef,
    kubernetes::{WriteOutcome, hold_in, is_not_found},
    machine::{
        coordination::hold::{HoldAction, decide_hold},
        facts::{Hold, PeerReset, ScaledObjectSeen, Seen},
        text::restore_command,
    },
};

/// The wait after a read that failed or a write that was refused.
const RETRY: Duration = Duration::from_secs(2);

/// For how long after the end of a hold the replicas stay as they are in a namespace that this operator does not watch: another
/// one that does restores them at the end of the hold.
pub(super) const UNWATCHED: SignedDuration = SignedDuration::from_secs(30);

/// One pass over the Lease of one hold, with at most one write.
///
/// # Errors
/// When a read or a write failed; the pass is retried with backoff.
pub async fn reconcile_hold(lease: Arc<Lease>, context: Arc<Context>) -> Result<Action, Error> {
    let (namespace, name) = (lease.namespace().unwrap_or_default(), lease.name_any());
    if let Some(left) = in_use_until(&context, &namespace, &lease, (context.clock)()) {
        context.backoff.reset(&lease_key(&lease));
        context.refused_orphans.set(&lease, false);
        return Ok(Action::requeue(left));
    }
    // No other pass stops or restores this workload meanwhile. What was read before the lock may be stale, except for the
    // workload's name.
    let targets: Vec<TargetRef> = hold_in(&lease).map(|(target, _)| target).into_iter().collect();
    let _lock = context.locks.holds_of(&namespace, &targets).await;
    let _under_way = context.liveness.pass(format!("Lease {namespace}/{name}"));
    let action = pass(&context, &lease, &targets).await?;
    context.backoff.reset(&lease_key(&lease));
    Ok(action)
}

/// How long nothing has to be read for a Lease: by the watches every claim is in use, and the hold is not over. Each change of one
/// of the resets brings the next look, and what is done then relies on what was read for it.
fn in_use_until(context: &Context, namespace: &str, lease: &Lease, now: Timestamp) -> Option<Duration> {
    let (_, hold) = hold_in(lease).ok().filter(|(_, hold)| now < hold.until)?;
    let resets = context.resets.watched(namespace, hold.claims.iter().map(|claim| claim.name.as_str()))?;
    let not_read = Seen::Unknown("it was not read".to_owned());
    (decide_hold(&hold, &not_read, &resets, now) == HoldAction::Keep).then(|| until_over(&hold, now))
}

/// How long a hold lasts at most, and a second.
fn until_over(hold: &Hold, now: Timestamp) -> Duration {
    let left = hold.until.duration_since(now).max(SignedDuration::ZERO) + SignedDuration::from_secs(1);
    Duration::try_from(left).unwrap_or(RETRY)
}

async fn pass(context: &Context, watched: &Lease, locked: &[TargetRef]) -> Result<Action, Error> {
    let (namespace, name) = (&*watched.namespace().unwrap_or_default(), &*watched.name_any());
    let Some(lease) = context.claims.get(namespace, name).await.map_err(Error::ReadClaim)? else {
        context.refused_orphans.set(watched, false);
        return Ok(Action::await_change());
    };
    let (target, hold) = match hold_in(&lease) {
        Ok(found) => found,
        Err(why) => {
            tracing::warn!(namespace, name, why, "the Lease of a held workload cannot be read; repair or delete it");
            return Ok(Action::await_change());
        }
    };
    if locked != [target.clone()] {
        // The Lease was changed since the event, and the next pass locks its workload.
        return Ok(Action::requeue(RETRY));
    }
    let now = (context.clock)();
    let resets = match context.resets.of_names(namespace, hold.claims.iter().map(|claim| claim.name.as_str())).await {
        Ok(_) if !context.watches(namespace) && now.duration_since(hold.until) >= UNWATCHED => vec![],
        // Every claim's reset exists.
        Ok(named) if hold.claims.iter().all(|claim| named.iter().any(|reset| reset.uid == claim.uid)) => named,
        Err(error) if !is_not_found(&error) => return Err(Error::List(error)),
        // Some are gone; or the whole kind is, and then the API server's answer for one of them is an error.
        Ok(_) | Err(_) => match all_resets(context, namespace, now).await? {
            Some(resets) => resets,
            None => return Ok(Action::requeue(RETRY)),
        },
    };
    let seen = if hold.claims.iter().all(|claim| resets.iter().any(|reset| reset.uid == claim.uid)) {
        // The workload is needed only when a reset is gone.
        Seen::Unknown("it was not read".into())
    } else {
        context.targets.look(namespace, &target, false).await
    };
    let action = match decide_hold(&hold, &seen, &resets, now) {
        HoldAction::Unseen(_) if matches!(seen, Seen::Unknown(_)) => {
            let seen = context.targets.look(namespace, &target, false).await;
            decide_hold(&hold, &seen, &resets, now)
        }
        action => action,
    };
    if !matches!(action, HoldAction::Restore { .. } | HoldAction::Unseen(_)) {
        context.refused_orphans.set(&lease, false);
    }
    match action {
        HoldAction::Keep => Ok(Action::requeue(until_over(&hold, now))),
        HoldAction::Keeping(claims) => write(context, namespace, &target, Hold { claims, ..hold }).await,
        // A commit of the deleted reset must not land after the restore.
        HoldAction::Restore { .. } if context.commits_in_flight.any_for(&hold.uid) => Ok(Action::requeue(RETRY)),
        HoldAction::Restore { resource_version } => {
            let (action, refused) = restore(context, namespace, &target, &hold, &resource_version).await?;
            context.refused_orphans.set(&lease, refused);
            Ok(action)
        }
        HoldAction::Forget(message) => {
            if let Some(action) = resume(context, namespace, &target, &hold).await? {
                return Ok(action);
            }
            if let Some(message) = message {
                context.announcer.announce_orphan(namespace, &target, &hold, &message);
            }
            write(context, namespace, &target, Hold { claims: vec![], ..hold }).await
        }
        HoldAction::Unseen(why) => {
            tracing::warn!(namespace, workload = hold.workload, why, "a workload of an orphaned hold cannot be read");
            Ok(Action::requeue(RETRY))
        }
    }
}

/// Every reset of a namespace; none once the API server has not served their kind for a while, and `None` before.
async fn all_resets(context: &Context, namespace: &str, now: Timestamp) -> Result<Option<Vec<PeerReset>>, Error> {
    match context.resets.peers(Some(namespace)).await {
        Ok(resets) => {
            context.unserved.served();
            Ok(Some(resets))
        }
        Err(error) if is_not_found(&error) => {
            let gone = context.unserved.is_gone(now);
            tracing::warn!(
                namespace,
                gone,
                "the API server does not serve OffsetResets. After {} s without the CRD, the workloads held at zero are restored; to \
                 continue the resets, install it: kubectl apply -k deploy/crd",
                CRD_GONE.as_secs()
            );
            Ok(gone.then(Vec::new))
        }
        Err(error) => Err(Error::List(error)),
    }
}

/// The next look, and whether the API server refused to restore the workload.
async fn restore(
    context: &Context,
    namespace: &str,
    target: &TargetRef,
    hold: &Hold,
    resource_version: &str,
) -> Result<(Action, bool), Error> {
    context.require_leadership()?;
    let (replicas, state) = (hold.replicas, hold.state.as_deref());
    match context.targets.scale(namespace, target, resource_version, replicas, state).await.map_err(Error::Scale)? {
        WriteOutcome::Done(_) => {
            let message = format!(
                "restored to {}: it was held for OffsetReset {}, {}",
                hold.size(),
                hold.others(""),
                why_not_restored(context, namespace)
            );
            if context.watches(namespace) {
                context.metrics.orphan_restored();
            }
            report(context, namespace, target, hold, "restored a workload that its OffsetReset had not restored", &message);
            Ok((Action::requeue(Duration::ZERO), false))
        }
        WriteOutcome::Stale => Ok((Action::requeue(RETRY), false)),
        WriteOutcome::NotAllowed(why) | WriteOutcome::Refused(why) => {
            let message = format!(
                "is still held for OffsetReset {}, {}: it could not be restored to {}: {why}. \
                 Retrying. To restore it yourself: {}",
                hold.others(""),
                why_not_restored(context, namespace),
                hold.size(),
                restore_command(target, hold.replicas, hold.state.as_deref(), Some(namespace))
            );
            report(
                context,
                namespace,
                target,
                hold,
                "failed to restore a workload that its OffsetReset had not restored",
                &message,
            );
            Ok((Action::requeue(RETRY), true))
        }
    }
}

/// Why the OffsetReset of an orphaned hold has not restored the workload.
fn why_not_restored(context: &Context, namespace: &str) -> &'static str {
    if context.watches(namespace) {
        "which is gone and had not restored it"
    } else {
        "whose namespace this operator no longer watches and whose hold is over"
    }
}

/// Logs what was done with an orphaned hold, and publishes an Event about it on the workload.
fn report(context: &Context, namespace: &str, target: &TargetRef, hold: &Hold, what: &str, detail: &str) {
    tracing::warn!(namespace, workload = hold.workload, detail, "{what}");
    context.announcer.announce_orphan(namespace, target, hold, detail);
}

/// Resumes the ScaledObject of a workload that a deleted reset has paused. `None` when none is paused; the Lease stays until
/// then. An operator that may not read KEDA's objects has paused none.
async fn resume(context: &Context, namespace: &str, target: &TargetRef, hold: &Hold) -> Result<Option<Action>, Error> {
    let found = match context.scaled_objects.find(namespace, target).await {
        ScaledObjectSeen::Found(found) if found.ours => found,
        ScaledObjectSeen::Found(_) | ScaledObjectSeen::Absent | ScaledObjectSeen::Hidden(_) => return Ok(None),
        ScaledObjectSeen::Unknown(why) => {
            tracing::warn!(
                namespace,
                workload = hold.workload,
                why,
                "cannot read whether a ScaledObject of an orphaned hold is still paused"
            );
            return Ok(Some(Action::requeue(RETRY)));
        }
    };
    context.require_leadership()?;
    match context.scaled_objects.resume(namespace, &found.name, &found.resource_version).await.map_err(Error::ScaledObject)? {
        WriteOutcome::Done(()) => {
            let message =
                format!("resumed ScaledObject/{}, which was still paused for OffsetReset {}", found.name, hold.others(""));
            tracing::warn!(
                namespace,
                workload = hold.workload,
                detail = message,
                "resumed a ScaledObject whose OffsetReset no longer exists"
            );
            context.announcer.announce_orphan(namespace, target, hold, &message);
            Ok(Some(Action::requeue(Duration::ZERO)))
        }
        WriteOutcome::Stale => Ok(Some(Action::requeue(Duration::ZERO))),
        WriteOutcome::NotAllowed(why) | WriteOutcome::Refused(why) => {
            tracing::warn!(
                namespace,
                workload = hold.workload,
                why,
                "failed to resume a ScaledObject whose OffsetReset no longer exists"
            );
            Ok(Some(Action::requeue(RETRY)))
        }
    }
}

async fn write(context: &Context, namespace: &str, target: &TargetRef, hold: Hold) -> Result<Action, Error> {
    context.require_leadership()?;
    match context.claims.write(namespace, target, &hold).await.map_err(Error::Claim)? {
        WriteOutcome::Done(()) => Ok(Action::requeue(Duration::ZERO)),
        WriteOutcome::Stale => Ok(Action::requeue(RETRY)),
        WriteOutcome::NotAllowed(why) | WriteOutcome::Refused(why) => {
            tracing::warn!(namespace, workload = hold.workload, why, "failed to write the Lease of a held workload");
            Ok(Action::requeue(RETRY))
        }
    }
}

/// The wait after a failed pass: longer each time.
#[must_use]
#[allow(clippy::needless_pass_by_value, reason = "the signature is the controller's")]
pub fn error_policy(lease: Arc<Lease>, _: &Error, context: Arc<Context>) -> Action {
    Action::requeue(context.backoff.next(&lease_key(&lease), true))
}

fn lease_key(lease: &Lease) -> BackoffKey {
    BackoffKey::lease(&lease.namespace().unwrap_or_default(), &lease.name_any())
}
