//! Looks at the world: only at what the phase needs, live, and Kafka never where a deadline must not wait for it.

use crate::machine::facts::brokers;
use std::{future::Future, time::Duration};

use futures::future::join_all;
use kube::ResourceExt;

use super::{
    Context, Error,
    connection::connect,
    places::Place,
    questions,
    store::{self, Picture},
    turns::Turn,
};
use crate::{
    api::{FINALIZER, OffsetReset, OffsetResetStatus, Phase, TargetRef},
    kubernetes::{ReportRead, report_name},
    machine::{
        self,
        coordination::queue,
        facts::{
            Hold, KafkaError, KafkaErrorKind, KafkaSeen, Observed, PeerReset, Receipt, RunState, ScaledObjectSeen, Seen, Undone,
            Workload,
        },
        request::{InvalidSpec, Request, Work},
    },
};

/// The longest that one look at Kafka may take; what is seen after that is "unknown", and the next pass looks again.
const LOOK_LIMIT: Duration = Duration::from_secs(30);

/// Whether our finalizer is on an object.
pub(super) fn has_finalizer(reset: &OffsetReset) -> bool {
    reset.finalizers().iter().any(|name| name == FINALIZER)
}

/// What is over is over, and nothing is held for it: what is read may be behind, but nothing ever leads back from here.
pub(super) fn is_done(reset: &OffsetReset) -> bool {
    let is_over = reset.status.as_ref().is_some_and(|status| machine::is_over(status, reset.spec.dry_run));
    is_over && !has_finalizer(reset)
}

/// Looks at everything that this pass needs. With it comes the turn that what was seen relies on, when it needs one of its own.
pub(super) async fn observe(
    context: &Context,
    reset: &OffsetReset,
    picture: &Picture,
    request: Result<&Request, &InvalidSpec>,
    place: &mut Place<'_>,
) -> Result<(Observed, Option<Turn>), Error> {
    let status = &picture.status;
    let mut seen = Observed {
        uid: reset.uid().unwrap_or_default(),
        group: reset.spec.group.clone(),
        deleting: reset.metadata.deletion_timestamp.is_some(),
        finalizer: has_finalizer(reset),
        generation: reset.metadata.generation,
        blocker: None,
        others: vec![],
        report_lost: picture.lost.clone(),
        receipt: None,
        targets: vec![],
        holds: vec![],
        unscalable: vec![],
        autoscalers: vec![],
        kafka: KafkaSeen::NotAsked,
    };
    let mut turn = None;
    let phase = status.phase.unwrap_or(Phase::Pending);
    if phase == Phase::Pending {
        let (own, now) = (PeerReset::from(reset), (context.clock)());
        // Whoever waits for one of many need not look at the others.
        let are_enough = |others: &[PeerReset]| queue::blocker(&own, others, now).is_some();
        seen.others = look_at_others(context, reset, &[], are_enough).await?;
        seen.blocker = queue::blocker(&own, &seen.others, now);
        if let Ok(request) = request
            && !request.dry_run
        {
            let receipt = context.receipts.look(&request.namespace, &request.receipt).await;
            if matches!(&receipt, Seen::Known(Receipt { state: RunState::Committing { .. }, .. })) {
                // What is taken up must not be brought back meanwhile.
                turn = Some(place.outside(context.turns.of_holds(&request.namespace)).await);
                seen.targets = look_at_targets(context, reset, status, Some(request), phase).await;
                seen.holds = look_at_holds(context, &request.namespace, status, &seen.targets).await;
                seen.others = look_at_others(context, reset, &seen.holds, |_| false).await?;
                seen.autoscalers = look_for_autoscalers(context, &request.namespace, &request.targets).await;
            }
            seen.receipt = Some(receipt);
        }
        return Ok((seen, turn));
    }
    // A cancellation, and a hold that is over, are decided without looking at anything else.
    if (seen.deleting || store::is_overdue(status, (context.clock)())) && phase != Phase::Restoring && !phase.is_terminal() {
        return Ok((seen, None));
    }
    if phase.is_terminal() && (seen.deleting || !machine::needs_a_look(status)) {
        return Ok((seen, None));
    }
    seen.targets = look_at_targets(context, reset, status, request.ok(), phase).await;
    match (phase, &request) {
        (Phase::Planning, Ok(request)) => {
            let barred = join_all(request.targets.iter().map(|target| context.targets.barred(target))).await;
            seen.unscalable = barred
                .into_iter()
                .zip(&mut seen.targets)
                .map(|(barred, target)| {
                    // Unknown is never taken for allowed.
                    barred.unwrap_or_else(|why| {
                        *target = Seen::Unknown(why);
                        None
                    })
                })
                .collect();
        }
        (Phase::Restoring, _) => {
            let targets = targets_of(status, request.ok());
            seen.unscalable = join_all(targets.iter().map(|target| context.targets.unscalable(target))).await;
        }
        _ => {}
    }
    if matches!(phase, Phase::Planning | Phase::Stopping | Phase::Restoring) {
        let namespace = reset.namespace().unwrap_or_default();
        seen.holds = look_at_holds(context, &namespace, status, &seen.targets).await;
        seen.others = look_at_others(context, reset, &seen.holds, |_| false).await?;
        seen.autoscalers = match (phase, &request) {
            (Phase::Planning, Ok(request)) => look_for_autoscalers(context, &namespace, &request.targets).await,
            _ => look_at_autoscalers(context, &namespace, status).await,
        };
    }
    if let Ok(request) = request {
        let look = look_at_kafka(context, reset, status, request, phase);
        // What a commit relies on is not to become older while somebody waits for a place.
        seen.kafka = if phase == Phase::Resetting { look.await } else { place.outside(look).await };
    }
    Ok((seen, None))
}

/// The resets that this one may meet, and those that have claims on what it meets; when there are many, and the first of them are enough,
/// those. The first are those that are under way, and then the oldest.
async fn look_at_others(
    context: &Context,
    own: &OffsetReset,
    holds: &[Seen<Hold>],
    are_enough: impl Fn(&[PeerReset]) -> bool,
) -> Result<Vec<PeerReset>, Error> {
    let namespace = own.namespace().unwrap_or_default();
    let claims = holds.iter().flat_map(|hold| if let Seen::Known(hold) = hold { hold.claims.as_slice() } else { &[] });
    let claimants = claims.filter(|claim| Some(&claim.uid) != own.metadata.uid.as_ref());
    let named = claimants.map(|claim| (namespace.clone(), claim.name.clone()));
    let wanted = |other: &OffsetReset| {
        let wanted = !is_done(other) && other.metadata.uid != own.metadata.uid && queue::may_meet(own, other);
        wanted.then(|| (!PeerReset::from(other).is_active(), other.creation_timestamp().map(|at| at.0)))
    };
    context.resets.rivals(&context.scopes, named, wanted, are_enough).await.map_err(Error::List)
}

/// The targets, in the order of the status, or of the spec while there is no status of them yet.
fn targets_of(status: &OffsetResetStatus, request: Option<&Request>) -> Vec<TargetRef> {
    if status.targets.is_empty() {
        return request.map(|request| request.targets.clone()).unwrap_or_default();
    }
    status.targets.iter().map(TargetRef::from).collect()
}

/// What was seen of each of them.
async fn look_at_targets(
    context: &Context,
    reset: &OffsetReset,
    status: &OffsetResetStatus,
    request: Option<&Request>,
    phase: Phase,
) -> Vec<Seen<Workload>> {
    let namespace = reset.namespace().unwrap_or_default();
    let targets = targets_of(status, request);
    let stopped = |index: usize| status.targets.get(index).is_some_and(|target| target.stopped);
    let looks = targets.iter().enumerate();
    join_all(looks.map(|(index, target)| look_at_target(context, &namespace, target, phase, stopped(index)))).await
}

/// A target with what its phase needs to know; `stopped` when it was seen at zero.
async fn look_at_target(context: &Context, namespace: &str, target: &TargetRef, phase: Phase, stopped: bool) -> Seen<Workload> {
    let mut seen = context.targets.look(namespace, target, phase != Phase::Restoring).await;
    let Seen::Known(workload) = &mut seen else { return seen };
    if phase == Phase::Planning {
        if let Err(why) = context.targets.examine(namespace, target, workload).await {
            return Seen::Unknown(why);
        }
    } else if phase == Phase::Stopping && workload.replicas == 0 {
        context.targets.look_at_order(namespace, target, workload).await;
    } else if phase == Phase::Stopping && stopped && workload.replicas != 0 {
        context.targets.look_at_scalers(namespace, target, workload).await;
    }
    seen
}

/// Who holds each of the targets, by the workload that was recorded, or else by the one that is there.
async fn look_at_holds(
    context: &Context,
    namespace: &str,
    status: &OffsetResetStatus,
    targets: &[Seen<Workload>],
) -> Vec<Seen<Hold>> {
    let looks = targets.iter().enumerate().map(|(index, seen)| async move {
        match (status.targets.get(index), seen) {
            (Some(target), _) => context.claims.look(namespace, &target.uid).await,
            (None, Seen::Known(workload)) => context.claims.look(namespace, &workload.uid).await,
            (None, Seen::Missing) => Seen::Missing,
            (None, Seen::Unknown(why)) => Seen::Unknown(why.clone()),
        }
    });
    join_all(looks).await
}

/// What scales each of the targets, looked for by what it scales, and whether it may be paused.
async fn look_for_autoscalers(context: &Context, namespace: &str, targets: &[TargetRef]) -> Vec<ScaledObjectSeen> {
    let looks = targets.iter().map(|target| async move {
        let mut seen = context.autoscalers.find(namespace, target).await;
        if let ScaledObjectSeen::Found(found) = &mut seen
            && !found.paused
        {
            found.refusal = context.autoscalers.try_pause(namespace, found).await;
        }
        seen
    });
    join_all(looks).await
}

/// Those that were found, as they are now. Where none was found there is nothing to look at.
async fn look_at_autoscalers(context: &Context, namespace: &str, status: &OffsetResetStatus) -> Vec<ScaledObjectSeen> {
    let looks = status.targets.iter().map(|target| async move {
        match target.autoscaler.as_ref().filter(|own| !own.resumed && !own.left) {
            Some(own) => context.autoscalers.look(namespace, &own.name).await,
            None => ScaledObjectSeen::Nobody,
        }
    });
    join_all(looks).await
}

/// What the phase needs of Kafka, over at the latest when the hold is: whatever hangs there, consumers do not wait for it.
async fn look_at_kafka(
    context: &Context,
    reset: &OffsetReset,
    status: &OffsetResetStatus,
    request: &Request,
    phase: Phase,
) -> KafkaSeen {
    if matches!(phase, Phase::Pending | Phase::Stopping | Phase::Restoring | Phase::Planned) {
        return KafkaSeen::NotAsked;
    }
    let now = (context.clock)();
    let hold = status.hold.as_ref().filter(|hold| hold.end_time.is_none());
    let left = hold.map_or(LOOK_LIMIT, |hold| Duration::try_from(hold.deadline.0.duration_since(now)).unwrap_or_default());
    // On the heap: what is asked of Kafka while planning is much.
    let look = Box::pin(async {
        let admin = connect(context, request, Some(status)).await?;
        let undone = if phase == Phase::Planning { look_at_undone(context, reset, request).await } else { None };
        questions::look(admin.as_ref(), phase, request, status, undone).await
    });
    within(left.min(LOOK_LIMIT), look).await.unwrap_or_else(KafkaSeen::Failed)
}

async fn within<T>(limit: Duration, look: impl Future<Output = Result<T, KafkaError>>) -> Result<T, KafkaError> {
    let too_long = |_| Err(KafkaError::new(KafkaErrorKind::Timeout, format!("no answer within {} seconds", limit.as_secs())));
    tokio::time::timeout(limit, look).await.unwrap_or_else(too_long)
}

/// The reset that is to be taken back, with all that it has recorded.
async fn look_at_undone(context: &Context, reset: &OffsetReset, request: &Request) -> Option<Seen<Undone>> {
    let Work::Undo(name) = &request.work else { return None };
    let look = async {
        let namespace = reset.namespace().unwrap_or_default();
        let Some(undone) = context.resets.get(&namespace, name).await.map_err(|error| error.to_string())? else {
            return Ok(Seen::Missing);
        };
        let status = undone.status.clone().unwrap_or_default();
        let partitions = if status.partitions_omitted == 0 {
            status.partitions
        } else {
            match context.reports.read(&undone).await.map_err(|error| error.to_string())? {
                ReportRead::Found(record) => record.partitions,
                ReportRead::Missing => return Err(format!("its report {} is gone", report_name(&undone))),
                ReportRead::Unreadable { why, .. } => return Err(why),
            }
        };
        let same_brokers = brokers(reset).iter().any(|broker| brokers(&undone).contains(broker));
        let cluster_id = status.group.and_then(|group| group.cluster_id);
        Ok(Seen::Known(Undone { name: name.clone(), group: undone.spec.group, cluster_id, same_brokers, partitions }))
    };
    Some(look.await.unwrap_or_else(Seen::Unknown))
}
