//! Reads what the phase needs, live. Where a deadline must not wait for Kafka, it does not query Kafka.

use std::{future::Future, time::Duration};

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use kube::{ResourceExt, runtime::reflector::ObjectRef};

use super::{
    context::Context,
    credentials::connect,
    error::Error,
    kafka_queries::query_kafka,
    persist::{self, StoredState},
    scheduler::{Lock, Rank, Slot},
};
use crate::{
    api::{FINALIZER, OffsetReset, OffsetResetStatus, Phase, Restored, TargetRef},
    kubernetes::{ReportRead, report_name},
    machine::{
        self,
        coordination::queue,
        facts::{
            Hold, KafkaError, KafkaErrorKind, KafkaSeen, Observed, PeerReset, Receipt, RunState, ScaledObjectSeen, Seen, Undone,
            Workload, brokers,
        },
        plan,
        request::{InvalidSpec, Request, Work},
    },
};

/// The time limit for all Kafka queries of a step. After it their results are unknown, and a later step queries again.
const QUERY_LIMIT: Duration = Duration::from_secs(30);

/// How many times a target that keeps changing is read in a pass.
const READS: u32 = 3;

/// Whether the operator's finalizer is on an object.
pub(super) fn has_finalizer(reset: &OffsetReset) -> bool {
    reset.finalizers().iter().any(|name| name == FINALIZER)
}

/// Whether a reset is finished, holds nothing, and its status describes the spec as it is. A stale object is enough to tell,
/// because only a change of the spec leads out of this state.
pub(super) fn is_done(reset: &OffsetReset) -> bool {
    let is_over = reset.status.as_ref().is_some_and(|status| {
        let observed = status.observed_generation == reset.metadata.generation || status.ended_elsewhere();
        machine::is_over(status, reset.spec.dry_run) && observed
    });
    is_over && !has_finalizer(reset)
}

/// How long after its end a reset is to be deleted.
fn time_to_live(reset: &OffsetReset) -> Option<SignedDuration> {
    reset.spec.ttl_seconds_after_finished.map(|seconds| SignedDuration::from_secs(seconds.max(0).into()))
}

/// When a finished reset is to be deleted; `None` when it is kept, or is being deleted already.
pub(super) fn expiry(reset: &OffsetReset) -> Option<Timestamp> {
    let status = reset.status.as_ref().filter(|_| reset.metadata.deletion_timestamp.is_none())?;
    machine::expiry(status, time_to_live(reset))
}

/// Whether a reset has ended and holds nothing, though its consumers may still be watched.
fn has_ended(reset: &OffsetReset) -> bool {
    let has_ended = reset.status.as_ref().is_some_and(|status| machine::has_ended(status, reset.spec.dry_run));
    has_ended && !has_finalizer(reset)
}

/// Whether a reset has ended and only its consumers are watched, with nothing else to do.
pub(super) fn is_only_watched(reset: &OffsetReset) -> bool {
    let status = reset.status.as_ref();
    let seen = status.and_then(|status| status.observed_generation) == reset.metadata.generation;
    has_ended(reset) && seen && reset.metadata.deletion_timestamp.is_none() && status.is_some_and(machine::needs_a_look)
}

/// Whether a reset, as the watch has it, can be one that this phase of another one depends on. Not one that waits or is
/// suspended while a reset is under way: it stops and commits nothing before a pass of it begins, whose rank is known here at
/// once, though the watch may be behind.
fn may_matter(context: &Context, phase: Phase, other: &OffsetReset) -> bool {
    let key = ObjectRef::new(&other.name_any()).within(&other.namespace().unwrap_or_default());
    let has_begun = other.status.as_ref().and_then(|status| status.phase).is_some_and(|phase| phase != Phase::Pending)
        || matches!(context.slots.rank(&key), Some(Rank::Holding | Rank::Begun));
    // Planning waits for resets of the same workloads that were just created.
    let is_new = || {
        let created = other.creation_timestamp().map_or(Timestamp::MAX, |at| at.0);
        phase == Phase::Planning && (context.clock)().duration_since(created) < queue::FRESH
    };
    has_begun || has_finalizer(other) || (phase == Phase::Pending && !other.spec.suspend) || is_new()
}

/// Reads everything that this step needs. Also returns the lock that the result relies on, when it needs one of its own.
pub(super) async fn observe(
    context: &Context,
    reset: &OffsetReset,
    stored: &StoredState,
    request: Result<&Request, &InvalidSpec>,
    no_file: Option<KafkaError>,
    slot: &mut Slot<'_>,
) -> Result<(Observed, Option<Lock>), Error> {
    let status = &stored.status;
    let mut seen = Observed {
        uid: reset.uid().unwrap_or_default(),
        group: reset.spec.group.clone(),
        deleting: reset.metadata.deletion_timestamp.is_some(),
        finalizer: has_finalizer(reset),
        generation: reset.metadata.generation,
        time_to_live: time_to_live(reset),
        uninstalling: context.install.is_being_removed(),
        blocker: None,
        others: vec![],
        report_lost: stored.report_lost.clone(),
        receipt: None,
        targets: vec![],
        holds: vec![],
        unscalable: vec![],
        autoscalers: vec![],
        kafka: KafkaSeen::NotAsked,
        foreign_pods: vec![],
    };
    let mut lock = None;
    let phase = status.phase.unwrap_or(Phase::Pending);
    if phase == Phase::Pending {
        let (own, now) = (PeerReset::from(reset), (context.clock)());
        // One blocker is enough to wait for.
        let is_enough = |others: &[PeerReset]| queue::blocker(&own, others, now).is_some();
        seen.others = read_others(context, reset, phase, &[], is_enough).await?;
        seen.blocker = queue::blocker(&own, &seen.others, now);
        if let Ok(request) = request
            && !request.dry_run
        {
            let receipt = context.receipts.look(&request.namespace, &request.receipt).await;
            if matches!(&receipt, Seen::Known(Receipt { state: RunState::Committing { .. }, .. })) {
                // No other pass may restore the workloads of the run that this one continues.
                let held = context.locks.holds_of(&request.namespace, &request.targets);
                lock = Some(slot.released_while(held).await);
                seen.targets = read_targets(context, reset, status, Some(request), phase).await;
                seen.holds = read_holds(context, &request.namespace, status, &seen.targets).await;
                seen.others = read_others(context, reset, phase, &seen.holds, |_| false).await?;
                seen.autoscalers = find_scaled_objects(context, &request.namespace, &request.targets).await;
            }
            seen.receipt = Some(receipt);
        }
        return Ok((seen, lock));
    }
    // A cancellation, an expired hold and an unknown phase are decided without any other read.
    if phase == Phase::Unknown {
        return Ok((seen, None));
    }
    if (seen.deleting || persist::is_overdue(status, (context.clock)())) && phase != Phase::Restoring && !phase.is_terminal() {
        return Ok((seen, None));
    }
    let expired = machine::expiry(status, seen.time_to_live).is_some_and(|at| at <= (context.clock)());
    if phase.is_terminal() && (seen.deleting || expired || !machine::needs_a_look(status)) {
        return Ok((seen, None));
    }
    if matches!(phase, Phase::Draining | Phase::Resetting | Phase::Restoring) {
        Box::pin(read_at_zero(context, reset, status, request, slot, &mut seen)).await?;
        return Ok((seen, None));
    }
    seen.targets = read_targets(context, reset, status, request.ok(), phase).await;
    if let (Phase::Planning, Ok(request)) = (phase, &request) {
        let checked = join_all(request.targets.iter().map(|target| context.targets.not_scalable_for_user(target))).await;
        seen.unscalable = checked
            .into_iter()
            .zip(&mut seen.targets)
            .map(|(checked, target)| {
                // Unknown never counts as allowed.
                checked.unwrap_or_else(|why| {
                    *target = Seen::Unknown(why);
                    None
                })
            })
            .collect();
    }
    if matches!(phase, Phase::Planning | Phase::Stopping) {
        let namespace = reset.namespace().unwrap_or_default();
        seen.holds = read_holds(context, &namespace, status, &seen.targets).await;
        seen.others = read_others(context, reset, phase, &seen.holds, |_| false).await?;
        seen.autoscalers = match (phase, &request) {
            (Phase::Planning, Ok(request)) => find_scaled_objects(context, &namespace, &request.targets).await,
            _ => read_scaled_objects(context, &namespace, status).await,
        };
    }
    if phase.is_terminal() {
        Box::pin(read_scaled(context, reset, status, &mut seen)).await;
    }
    if let Some(why) = no_file {
        seen.kafka = KafkaSeen::Failed(why);
    } else if let Ok(request) = request {
        let queried = query_kafka_within_hold(context, reset, status, request, phase);
        seen.kafka = slot.released_while(queried).await;
    }
    if let KafkaSeen::ForPlan(plan) = &seen.kafka {
        let addresses = plan::unmatched_addresses(&plan.group, &seen.targets);
        let namespace = reset.namespace().unwrap_or_default();
        seen.foreign_pods = context.targets.foreign_pods(&namespace, &addresses, &seen.targets).await;
    }
    Ok((seen, None))
}

/// Reads what the phases at zero need. Reads that do not depend on each other run at the same time, because consumers wait.
async fn read_at_zero(
    context: &Context,
    reset: &OffsetReset,
    status: &OffsetResetStatus,
    request: Result<&Request, &InvalidSpec>,
    slot: &mut Slot<'_>,
    seen: &mut Observed,
) -> Result<(), Error> {
    let phase = status.phase.unwrap_or(Phase::Pending);
    let targets = read_targets(context, reset, status, request.ok(), phase);
    if phase == Phase::Restoring {
        let (references, namespace) = (targets_of(status, request.ok()), reset.namespace().unwrap_or_default());
        (seen.targets, seen.unscalable, seen.holds, seen.autoscalers) = tokio::join!(
            targets,
            join_all(references.iter().map(|target| context.targets.unscalable(target))),
            // The holds of the recorded workloads.
            read_holds(context, &namespace, status, &[]),
            read_scaled_objects(context, &namespace, status)
        );
        seen.others = read_others(context, reset, phase, &seen.holds, |_| false).await?;
        return Ok(());
    }
    let queried = async {
        match request {
            Ok(request) => query_kafka_within_hold(context, reset, status, request, phase).await,
            Err(_) => KafkaSeen::NotAsked,
        }
    };
    let both = futures::future::join(targets, queried);
    // The data for a commit must not age while the pass waits for a slot.
    (seen.targets, seen.kafka) = if phase == Phase::Resetting { both.await } else { slot.released_while(both).await };
    Ok(())
}

/// The resets that may conflict with this one, and those with claims on the same workloads; first those in progress, then the
/// oldest. Where there are many, only the first few if `is_enough` of them.
async fn read_others(
    context: &Context,
    own: &OffsetReset,
    phase: Phase,
    holds: &[Seen<Hold>],
    is_enough: impl Fn(&[PeerReset]) -> bool,
) -> Result<Vec<PeerReset>, Error> {
    let namespace = own.namespace().unwrap_or_default();
    let claims = holds.iter().flat_map(|hold| if let Seen::Known(hold) = hold { hold.claims.as_slice() } else { &[] });
    let named = claims.filter(|claim| Some(&claim.uid) != own.metadata.uid.as_ref());
    let named = named.map(|claim| (namespace.clone(), claim.name.clone()));
    let wanted = |other: &OffsetReset| {
        let wanted = !has_ended(other)
            && other.metadata.uid != own.metadata.uid
            && queue::may_meet(own, other)
            && may_matter(context, phase, other);
        wanted.then(|| (!PeerReset::from(other).is_active(), other.creation_timestamp().map(|at| at.0)))
    };
    context.resets.conflicting_resets(&context.scopes, named, wanted, is_enough).await.map_err(Error::List)
}

/// The targets in the order of the status, or of the spec while the status lists none.
fn targets_of(status: &OffsetResetStatus, request: Option<&Request>) -> Vec<TargetRef> {
    if status.targets.is_empty() {
        return request.map(|request| request.targets.clone()).unwrap_or_default();
    }
    status.targets.iter().map(TargetRef::from).collect()
}

/// Reads each target.
async fn read_targets(
    context: &Context,
    reset: &OffsetReset,
    status: &OffsetResetStatus,
    request: Option<&Request>,
    phase: Phase,
) -> Vec<Seen<Workload>> {
    let namespace = reset.namespace().unwrap_or_default();
    let targets = targets_of(status, request);
    let stopped = |index: usize| status.targets.get(index).is_some_and(|target| target.stopped);
    let reads = targets.iter().enumerate();
    join_all(reads.map(|(index, target)| read_target(context, &namespace, target, phase, stopped(index)))).await
}

/// Reads a target as far as the phase needs it; `stopped` when it was seen at zero replicas.
async fn read_target(context: &Context, namespace: &str, target: &TargetRef, phase: Phase, stopped: bool) -> Seen<Workload> {
    let mut seen = context.targets.look(namespace, target, phase != Phase::Restoring).await;
    if phase == Phase::Stopping && !stopped {
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
async fn read_rollout(context: &Context, namespace: &str, target: &TargetRef, mut seen: Seen<Workload>) -> Seen<Workload> {
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
async fn read_scaled(context: &Context, reset: &OffsetReset, status: &OffsetResetStatus, seen: &mut Observed) {
    let namespace = reset.namespace().unwrap_or_default();
    for (target, found) in status.targets.iter().zip(&mut seen.targets) {
        let (count, reference) = (target.original_replicas, TargetRef::from(target));
        let was_restored = target.restored == Some(Restored::Original) && count > 0;
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
            && workload.replicas != count
        {
            context.targets.read_scalers(&namespace, &reference, workload).await;
        }
        seen.holds.push(hold);
    }
}

/// Reads the hold of each target: of the recorded workload, or else of the one that exists.
async fn read_holds(
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

/// Finds the ScaledObject of each target by the workload that it scales, and whether it may be paused.
async fn find_scaled_objects(context: &Context, namespace: &str, targets: &[TargetRef]) -> Vec<ScaledObjectSeen> {
    let reads = targets.iter().map(|target| async move {
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
async fn read_scaled_objects(context: &Context, namespace: &str, status: &OffsetResetStatus) -> Vec<ScaledObjectSeen> {
    let reads = status.targets.iter().map(|target| async move {
        match target.autoscaler.as_ref().filter(|own| !own.resumed && !own.left) {
            Some(own) => context.scaled_objects.look(namespace, &own.name).await,
            None => ScaledObjectSeen::Absent,
        }
    });
    join_all(reads).await
}

/// Queries Kafka for the phase, at most until the end of the hold, so that consumers never wait for a hanging cluster.
async fn query_kafka_within_hold(
    context: &Context,
    reset: &OffsetReset,
    status: &OffsetResetStatus,
    request: &Request,
    phase: Phase,
) -> KafkaSeen {
    if matches!(phase, Phase::Pending | Phase::Stopping | Phase::Restoring | Phase::Planned | Phase::Unknown) {
        return KafkaSeen::NotAsked;
    }
    let now = (context.clock)();
    let hold = status.hold.as_ref().filter(|hold| hold.end_time.is_none());
    let left = hold.map_or(QUERY_LIMIT, |hold| Duration::try_from(hold.deadline.0.duration_since(now)).unwrap_or_default());
    // On the heap, because the future of planning is large.
    let look = Box::pin(async {
        let admin = connect(context, request, Some(status)).await?;
        let undone = if phase == Phase::Planning { read_undone(context, reset, request).await } else { None };
        query_kafka(admin.as_ref(), phase, request, status, undone, now).await
    });
    within(left.min(QUERY_LIMIT), look).await.unwrap_or_else(KafkaSeen::Failed)
}

async fn within<T>(limit: Duration, look: impl Future<Output = Result<T, KafkaError>>) -> Result<T, KafkaError> {
    let too_long = |_| Err(KafkaError::new(KafkaErrorKind::Timeout, format!("no answer within {} s", limit.as_secs())));
    tokio::time::timeout(limit, look).await.unwrap_or_else(too_long)
}

/// The reset to undo, with every partition that it recorded.
async fn read_undone(context: &Context, reset: &OffsetReset, request: &Request) -> Option<Seen<Undone>> {
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
                ReportRead::Found(report) => report.partitions,
                ReportRead::Missing => return Err(format!("its report, ConfigMap {}, is gone", report_name(&undone))),
                ReportRead::Unreadable { why, .. } => return Err(why.to_string()),
            }
        };
        let same_brokers = brokers(reset).iter().any(|broker| brokers(&undone).contains(broker));
        let cluster_id = status.group.and_then(|group| group.cluster_id);
        Ok(Seen::Known(Undone { name: name.clone(), group: undone.spec.group, cluster_id, same_brokers, partitions }))
    };
    Some(look.await.unwrap_or_else(Seen::Unknown))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::as_it_ended(json!({}), json!({}), json!({}), true)]
    #[case::suspended_after_the_end(json!({"generation": 2}), json!({"suspend": true}), json!({}), false)]
    #[case::observed_since(json!({"generation": 2}), json!({"suspend": true}), json!({"observedGeneration": 2}), true)]
    #[case::holding(json!({"finalizers": [FINALIZER]}), json!({}), json!({}), false)]
    #[case::running(json!({}), json!({}), json!({"phase": "Planning"}), false)]
    #[case::ended_by_another_version(
        json!({"generation": 2}),
        json!({"suspend": true}),
        json!({"phase": "Verified", "completionTime": "2026-11-24T18:00:00Z"}),
        true
    )]
    #[case::begun_by_another_version(json!({}), json!({}), json!({"phase": "Verifying"}), false)]
    #[case::a_dry_run_that_is_to_run(json!({"generation": 2}), json!({}), json!({"phase": "Planned", "dryRun": true}), false)]
    fn a_reset_is_done_when_nothing_follows_and_its_spec_was_observed(
        #[case] metadata: serde_json::Value,
        #[case] spec: serde_json::Value,
        #[case] status: serde_json::Value,
        #[case] done: bool,
    ) {
        let mut reset = json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset",
            "metadata": {"name": "replay", "namespace": "shop", "generation": 1},
            "spec": {"kafka": {"bootstrapServers": "k:1"}, "group": "orders"},
            "status": {"observedGeneration": 1, "phase": "Succeeded"},
        });
        for (part, change) in [("metadata", metadata), ("spec", spec), ("status", status)] {
            reset[part].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        }
        let reset: OffsetReset = serde_json::from_value(reset).unwrap();
        assert_eq!(is_done(&reset), done);
    }
}
