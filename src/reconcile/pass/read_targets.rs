//! Reads the targets of a reset, and what holds and scales them.

use futures::future::join_all;
use kube::ResourceExt;

use crate::reconcile::context::Context;
use crate::{
    api::{ActionKind, OffsetReset, OffsetResetStatus, Phase, Restored, TargetRef},
    machine::{
        facts::{Hold, Observed, ScaledObjectSeen, Seen, Workload},
        request::Request,
    },
};

/// How many times a target that keeps changing is read in a step.
const READS: u32 = 3;

/// The targets in the order of the status, or of the spec while the status lists none.
pub(super) fn targets_of(status: &OffsetResetStatus, request: Option<&Request>) -> Vec<TargetRef> {
    if status.targets.is_empty() {
        return request.map(|request| request.targets.clone()).unwrap_or_default();
    }
    status.targets.iter().map(TargetRef::from).collect()
}

/// Reads each target.
pub(super) async fn read_targets(
    context: &Context,
    reset: &OffsetReset,
    status: &OffsetResetStatus,
    request: Option<&Request>,
    phase: Phase,
) -> Vec<Seen<Workload>> {
    let namespace = reset.namespace().unwrap_or_default();
    let targets = targets_of(status, request);
    // What is stopped because its canary has failed was stopped before.
    let stopped = |index: usize| status.is_undoing() || status.targets.get(index).is_some_and(|target| target.stopped);
    let reads = targets.iter().enumerate();
    join_all(reads.map(|(index, target)| read_target(context, &namespace, target, phase, stopped(index)))).await
}

/// Reads a target as far as the phase needs it; `stopped` when it was seen at zero replicas before.
pub(super) async fn read_target(
    context: &Context,
    namespace: &str,
    target: &TargetRef,
    phase: Phase,
    stopped: bool,
) -> Seen<Workload> {
    let is_to_stop = phase == Phase::Stopping && !stopped;
    if is_to_stop && let Some(seen) = context.targets.look_with_rollout(namespace, target).await {
        return seen;
    }
    let mut seen = context.targets.look(namespace, target, phase != Phase::Restoring).await;
    if is_to_stop {
        return read_rollout(context, namespace, target, seen).await;
    }
    let Seen::Known(workload) = &mut seen else { return seen };
    if phase == Phase::Planning {
        if let Err(why) = context.targets.examine(namespace, target, workload).await {
            return Seen::Unknown(why);
        }
    } else if phase == Phase::Stopping && workload.replicas == 0 {
        context.targets.read_order(namespace, target, workload).await;
    } else if phase == Phase::Stopping {
        context.targets.read_scalers(namespace, target, workload).await;
    }
    seen
}

/// Reads the rollout of a target that is about to be stopped, and reads the target again when it changes meanwhile.
pub(super) async fn read_rollout(
    context: &Context,
    namespace: &str,
    target: &TargetRef,
    mut seen: Seen<Workload>,
) -> Seen<Workload> {
    for _ in 0..READS {
        let Seen::Known(workload) = &mut seen else { return seen };
        if workload.replicas == 0 {
            return seen;
        }
        match context.targets.read_rollout(namespace, target, workload).await {
            Ok(true) => return seen,
            Ok(false) => seen = context.targets.look(namespace, target, true).await,
            Err(why) => return Seen::Unknown(why),
        }
    }
    Seen::Unknown(format!("it changed {READS} times while it was read"))
}

/// Reads more of the targets whose count is not the restored one any more: what else scales them, and whether another reset holds them.
pub(super) async fn read_scaled(context: &Context, reset: &OffsetReset, status: &OffsetResetStatus, seen: &mut Observed) {
    let namespace = reset.namespace().unwrap_or_default();
    for (target, found) in status.targets.iter().zip(&mut seen.targets) {
        let reference = TargetRef::from(target);
        let was_restored = target.restored == Some(Restored::Original) && target.original_replicas > 0;
        let mut hold = Seen::Missing;
        if matches!(found, Seen::Known(workload) if workload.replicas == 0 && was_restored) {
            hold = context.claims.look(&namespace, &target.uid).await;
            // Another reset restores first and releases then: without a Lease, the count from before may be outdated.
            if hold == Seen::Missing {
                *found = context.targets.look(&namespace, &reference, true).await;
            }
        }
        if let Seen::Known(workload) = found
            && was_restored
            && !workload.is_as_before(target)
        {
            context.targets.read_scalers(&namespace, &reference, workload).await;
        }
        seen.holds.push(hold);
    }
}

/// As [`read_holds`], but not where nothing is to be done: a target that was stopped is at zero, and by the watch its Lease has our
/// claim and the recorded count. It does not read the Lease of a running target that the watch does not have either: the API server
/// refuses to create one that exists, and then it is read.
pub(super) async fn read_holds_to_stop(
    context: &Context,
    reset: &OffsetReset,
    status: &OffsetResetStatus,
    targets: &[Seen<Workload>],
) -> Vec<Seen<Hold>> {
    let (namespace, uid) = (reset.namespace().unwrap_or_default(), reset.uid().unwrap_or_default());
    let was_tried = status.last_action.as_ref().is_some_and(|action| action.kind == ActionKind::Claim);
    let held = status.targets.iter().zip(targets).map(|(target, seen)| {
        let Seen::Known(workload) = seen else { return None };
        if workload.uid != target.uid {
            return None;
        }
        let is_new = !target.stop_requested && workload.replicas != 0;
        if is_new && !was_tried && context.claims.is_missing(&namespace, &target.uid) {
            return Some(Seen::Missing);
        }
        let is_at_zero = target.stopped && workload.replicas == 0;
        let hold = context.claims.watched(&namespace, &target.uid).filter(|_| is_at_zero)?;
        let is_recorded = (hold.replicas, &hold.state) == (target.original_replicas, &target.original_state);
        (hold.is_claimed_by(&uid) && is_recorded).then_some(Seen::Known(hold))
    });
    match held.collect::<Option<Vec<_>>>() {
        Some(held) if held.len() == targets.len() && held.len() == status.targets.len() => held,
        Some(_) | None => read_holds(context, &namespace, status, targets).await,
    }
}

/// Reads the hold of each target: of the recorded workload, or else of the one that exists.
pub(super) async fn read_holds(
    context: &Context,
    namespace: &str,
    status: &OffsetResetStatus,
    targets: &[Seen<Workload>],
) -> Vec<Seen<Hold>> {
    let reads = (0..targets.len().max(status.targets.len())).map(|index| async move {
        match (status.targets.get(index), targets.get(index)) {
            (Some(target), _) => context.claims.look(namespace, &target.uid).await,
            (None, Some(Seen::Known(workload))) => context.claims.look(namespace, &workload.uid).await,
            (None, Some(Seen::Missing) | None) => Seen::Missing,
            (None, Some(Seen::Unknown(why))) => Seen::Unknown(why.clone()),
        }
    });
    join_all(reads).await
}

/// Finds the ScaledObject of each target by the workload that it scales, and whether it may be paused. One of a connector scales its
/// `tasksMax`, which starts nothing that is stopped.
pub(super) async fn find_scaled_objects(context: &Context, namespace: &str, targets: &[TargetRef]) -> Vec<ScaledObjectSeen> {
    let reads = targets.iter().map(|target| async move {
        if target.is_connector() {
            return ScaledObjectSeen::Absent;
        }
        let mut seen = context.scaled_objects.find(namespace, target).await;
        if let ScaledObjectSeen::Found(found) = &mut seen
            && !found.paused
        {
            found.refusal = context.scaled_objects.try_pause(namespace, found).await;
        }
        seen
    });
    join_all(reads).await
}

/// Reads again the ScaledObjects that were found before.
pub(super) async fn read_scaled_objects(context: &Context, namespace: &str, status: &OffsetResetStatus) -> Vec<ScaledObjectSeen> {
    let reads = status.targets.iter().map(|target| async move {
        match target.autoscaler.as_ref().filter(|own| !own.resumed && !own.left) {
            Some(own) => context.scaled_objects.look(namespace, &own.name).await,
            None => ScaledObjectSeen::Absent,
        }
    });
    join_all(reads).await
}
