//! What is held at zero for nobody: an `OffsetReset` whose finalizer was taken off by hand and that was deleted, or that cannot be decoded.
//! Found by the Leases that say who holds what, at start-up and whenever a Lease or an OffsetReset changes.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{ResourceExt, runtime::controller::Action};

use super::{Context, Error};
use crate::{
    api::TargetRef,
    kubernetes::{Changed, Claimed, Scaled, hold_in},
    machine::{
        coordination::hold::{self, Care},
        facts::{Hold, ScaledObjectSeen, Seen},
    },
};

/// How soon something that could not be seen, or was refused, is looked at again.
const RETRY: Duration = Duration::from_secs(2);

/// One pass over one Lease: does at most one thing.
///
/// # Errors
/// When something could not be read or written that must be; it is tried again, ever more slowly.
pub async fn care_for(lease: Arc<Lease>, context: Arc<Context>) -> Result<Action, Error> {
    let (namespace, name) = (lease.namespace().unwrap_or_default(), lease.name_any());
    // Nobody stops or restores anything in this namespace meanwhile, and what was read before does not count.
    let _turn = context.turns.of_holds(&namespace).await;
    let action = pass(&context, &namespace, &name).await?;
    context.backoff.reset(&uid(&lease));
    Ok(action)
}

async fn pass(context: &Context, namespace: &str, name: &str) -> Result<Action, Error> {
    let Some(lease) = context.claims.get(namespace, name).await.map_err(Error::ReadClaim)? else {
        return Ok(Action::await_change());
    };
    let (target, hold) = match hold_in(&lease) {
        Ok(found) => found,
        Err(why) => {
            tracing::warn!(
                namespace,
                name,
                why,
                "a Lease that says who holds a workload cannot be read; put it right, or delete it"
            );
            return Ok(Action::await_change());
        }
    };
    let resets = match context.resets.of_names(namespace, hold.claims.iter().map(|claim| claim.name.as_str())).await {
        // All of them are there.
        Ok(named) if hold.claims.iter().all(|claim| named.iter().any(|reset| reset.uid == claim.uid)) => named,
        Ok(_) => context.resets.claimants(Some(namespace)).await.map_err(Error::List)?,
        Err(error) => return Err(Error::List(error)),
    };
    let now = (context.clock)();
    let seen = if hold.claims.iter().all(|claim| resets.iter().any(|reset| reset.uid == claim.uid)) {
        // Not needed while all is in order.
        Seen::Unknown("it was not looked at".into())
    } else {
        context.targets.look(namespace, &target, false).await
    };
    let care = match hold::care_for(&hold, &seen, &resets, now) {
        Care::Unseen(_) if matches!(seen, Seen::Unknown(_)) => {
            let seen = context.targets.look(namespace, &target, false).await;
            hold::care_for(&hold, &seen, &resets, now)
        }
        care => care,
    };
    match care {
        Care::Keep => {
            let left = hold.until.duration_since(now).max(SignedDuration::ZERO) + SignedDuration::from_secs(1);
            Ok(Action::requeue(Duration::try_from(left).unwrap_or(RETRY)))
        }
        Care::Keeping(claims) => write(context, namespace, &target, Hold { claims, ..hold }).await,
        // Of one whose object is gone: what it has begun must not land after the consumers are back.
        Care::Restore { .. } if context.commits.rely_on(&hold.uid) => Ok(Action::requeue(RETRY)),
        Care::Restore { resource_version } => restore(context, namespace, &target, &hold, &resource_version).await,
        Care::Forget(said) => {
            if let Some(action) = let_go(context, namespace, &target, &hold).await? {
                return Ok(action);
            }
            if let Some(said) = said {
                context.announcer.announce_orphan(namespace, &target, &hold, &said).await;
            }
            write(context, namespace, &target, Hold { claims: vec![], ..hold }).await
        }
        Care::Unseen(why) => {
            tracing::warn!(namespace, workload = hold.workload, why, "a workload that is held for nobody cannot be looked at");
            Ok(Action::requeue(RETRY))
        }
    }
}

async fn restore(
    context: &Context,
    namespace: &str,
    target: &TargetRef,
    hold: &Hold,
    resource_version: &str,
) -> Result<Action, Error> {
    context.leads()?;
    match context.targets.scale(namespace, target, resource_version, hold.replicas).await.map_err(Error::Scale)? {
        Scaled::Accepted(_) => {
            let said = format!(
                "put back to {} replicas: it was held at zero for OffsetReset {}, which is gone without having put it back",
                hold.replicas,
                hold.others("")
            );
            tracing::warn!(namespace, workload = hold.workload, said, "a workload was held for nobody");
            context.announcer.announce_orphan(namespace, target, hold, &said).await;
            Ok(Action::requeue(Duration::ZERO))
        }
        Scaled::Stale => Ok(Action::requeue(RETRY)),
        Scaled::Refused(why) => {
            let said = format!(
                "is held at zero for OffsetReset {}, which is gone, and could not be put back to {} replicas: {why}. It is tried \
                 again; to bring it back by hand, scale it to {}",
                hold.others(""),
                hold.replicas,
                hold.replicas
            );
            tracing::warn!(namespace, workload = hold.workload, said, "a workload is held for nobody");
            context.announcer.announce_orphan(namespace, target, hold, &said).await;
            Ok(Action::requeue(RETRY))
        }
    }
}

/// Lets go what scales a workload, when it was paused for somebody who is gone. `None` when there is nothing to let go: until then the Lease
/// stays. An operator that may not read KEDA's objects has paused none.
async fn let_go(context: &Context, namespace: &str, target: &TargetRef, hold: &Hold) -> Result<Option<Action>, Error> {
    let found = match context.autoscalers.find(namespace, target).await {
        ScaledObjectSeen::Found(found) if found.ours => found,
        ScaledObjectSeen::Found(_) | ScaledObjectSeen::Nobody | ScaledObjectSeen::Hidden(_) => return Ok(None),
        ScaledObjectSeen::Unknown(why) => {
            tracing::warn!(
                namespace,
                workload = hold.workload,
                why,
                "cannot see whether a ScaledObject is still paused for nobody"
            );
            return Ok(Some(Action::requeue(RETRY)));
        }
    };
    context.leads()?;
    match context.autoscalers.resume(namespace, &found.name, &found.resource_version).await.map_err(Error::Autoscaler)? {
        Changed::Done => {
            let said =
                format!("ScaledObject/{} was still paused for OffsetReset {}, and goes on now", found.name, hold.others(""));
            tracing::warn!(namespace, workload = hold.workload, said, "a ScaledObject was paused for nobody");
            context.announcer.announce_orphan(namespace, target, hold, &said).await;
            Ok(Some(Action::requeue(Duration::ZERO)))
        }
        Changed::Stale => Ok(Some(Action::requeue(Duration::ZERO))),
        Changed::Refused(why) => {
            tracing::warn!(
                namespace,
                workload = hold.workload,
                why,
                "a ScaledObject is paused for nobody and could not be let go"
            );
            Ok(Some(Action::requeue(RETRY)))
        }
    }
}

async fn write(context: &Context, namespace: &str, target: &TargetRef, hold: Hold) -> Result<Action, Error> {
    context.leads()?;
    match context.claims.write(namespace, target, &hold).await.map_err(Error::Claim)? {
        Claimed::Written => Ok(Action::requeue(Duration::ZERO)),
        Claimed::Stale => Ok(Action::requeue(RETRY)),
        Claimed::Refused(why) => {
            tracing::warn!(
                namespace,
                workload = hold.workload,
                why,
                "a Lease that says who holds a workload could not be written"
            );
            Ok(Action::requeue(RETRY))
        }
    }
}

/// What the controller does about a failed pass: nothing but wait, longer each time.
#[must_use]
#[allow(clippy::needless_pass_by_value, reason = "the signature is the controller's")]
pub fn error_policy(lease: Arc<Lease>, _: &Error, context: Arc<Context>) -> Action {
    Action::requeue(context.backoff.next(&uid(&lease)))
}

fn uid(lease: &Lease) -> String {
    lease.uid().unwrap_or_default()
}
