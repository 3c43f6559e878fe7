//! Reads what the phase needs, live. Where a deadline must not wait for Kafka, it does not query Kafka.

use std::{future::Future, time::Duration};

use futures::future::join_all;
use jiff::Timestamp;
use kube::{ResourceExt, runtime::reflector::ObjectRef};

use super::{
    kafka_queries::query_kafka,
    persist::{self, StoredState},
    read_targets::{
        find_scaled_objects, read_holds, read_holds_to_stop, read_scaled, read_scaled_objects, read_targets, targets_of,
    },
};
use crate::reconcile::{
    context::Context,
    credentials::connect,
    error::Error,
    object::{has_ended, has_finalizer, time_to_live},
    scheduler::{Lock, Rank, Slot},
};
use crate::{
    api::{OffsetReset, OffsetResetStatus, Phase, TargetRef},
    kubernetes::{ReportRead, report_name},
    machine::{
        self, Carried,
        coordination::queue,
        facts::{Hold, KafkaError, KafkaErrorKind, KafkaSeen, Observed, PeerReset, Receipt, RunState, Seen, Undone, brokers},
        plan,
        request::{InvalidSpec, Request, Work},
    },
};

/// The time limit for all Kafka queries of a step. After it their results are unknown, and a later step queries again.
const QUERY_LIMIT: Duration = Duration::from_secs(30);

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

/// Reads everything that this step needs. Also returns the lock that the result relies on, when it needs one of its own. The slot and
/// `step_lock`, the lock that the step holds, are released where the step waits for Kafka.
pub(super) async fn observe(
    context: &Context,
    reset: &OffsetReset,
    stored: &StoredState,
    request: Result<&Request, &InvalidSpec>,
    no_file: Option<KafkaError>,
    carried: Option<Carried>,
    (slot, step_lock): (&mut Slot<'_>, Option<&mut Lock>),
) -> Result<(Observed, Option<Lock>), Error> {
    let status = &stored.status;
    let mut seen = nothing_read(context, reset, stored);
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
                // No other pass may restore the workloads of the run that this one continues, and none that holds them may wait for
                // this one to get a slot.
                slot.raise();
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
    // After the end the finalizer is removed first. In the first second after the restore there is nothing to read.
    let looks = machine::needs_a_look(status) && machine::first_look(status, (context.clock)()).is_none();
    if phase.is_terminal() && (seen.finalizer || seen.deleting || expired || !looks) {
        return Ok((seen, None));
    }
    if phase == Phase::Stopping && !seen.finalizer {
        // The finalizer comes first; whether it may depends on other resets only.
        seen.others = read_others(context, reset, phase, &[], |_| false).await?;
        return Ok((seen, None));
    }
    if matches!(phase, Phase::Draining | Phase::Resetting | Phase::Restoring) {
        Box::pin(read_at_zero(context, reset, status, request, carried, slot, &mut seen)).await?;
        return Ok((seen, None));
    }
    if phase == Phase::Canary {
        Box::pin(read_canary(context, reset, status, request, (slot, step_lock), &mut seen)).await?;
        return Ok((seen, None));
    }
    let carried_holds = if let Some(carried) = carried.filter(|_| phase == Phase::Stopping) {
        seen.targets = carried.targets;
        Some(carried.holds)
    } else {
        seen.targets = read_targets(context, reset, status, request.ok(), phase).await;
        None
    };
    if let (Phase::Planning, Ok(request)) = (phase, &request) {
        read_for_plan(context, request, &mut seen).await;
    }
    if matches!(phase, Phase::Planning | Phase::Stopping) {
        let namespace = reset.namespace().unwrap_or_default();
        seen.holds = match carried_holds {
            Some(holds) => holds,
            None if phase == Phase::Stopping => read_holds_to_stop(context, reset, status, &seen.targets).await,
            None => read_holds(context, &namespace, status, &seen.targets).await,
        };
        seen.others = read_others(context, reset, phase, &seen.holds, |_| false).await?;
        seen.autoscalers = match (phase, &request) {
            (Phase::Planning, Ok(request)) => find_scaled_objects(context, &namespace, &request.targets).await,
            _ => read_scaled_objects(context, &namespace, status).await,
        };
    }
    if phase.is_terminal() {
        Box::pin(read_scaled(context, reset, status, &mut seen)).await;
        let ended = status.completion_time.as_ref().map(|time| time.0);
        seen.undo = context.resets.undo_of(&reset.namespace().unwrap_or_default(), &reset.name_any(), ended);
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

/// Reads what a plan needs of its targets beside their scale: whether they can be scaled. For a dry run also the receipt of an earlier run.
async fn read_for_plan(context: &Context, request: &Request, seen: &mut Observed) {
    if request.dry_run {
        // The run itself looks for it before it begins.
        seen.receipt = Some(context.receipts.look(&request.namespace, &request.receipt).await);
    }
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

/// What is known of a step before anything else is read.
fn nothing_read(context: &Context, reset: &OffsetReset, stored: &StoredState) -> Observed {
    Observed {
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
        undo: None,
    }
}

/// Reads what the phases at zero need. Reads that do not depend on each other run at the same time, because consumers wait.
async fn read_at_zero(
    context: &Context,
    reset: &OffsetReset,
    status: &OffsetResetStatus,
    request: Result<&Request, &InvalidSpec>,
    carried: Option<Carried>,
    slot: &mut Slot<'_>,
    seen: &mut Observed,
) -> Result<(), Error> {
    let phase = status.phase.unwrap_or(Phase::Pending);
    let targets = read_targets(context, reset, status, request.ok(), phase);
    if phase == Phase::Restoring {
        let (references, namespace) = (targets_of(status, request.ok()), reset.namespace().unwrap_or_default());
        let targets_and_holds = async {
            if let Some(carried) = carried {
                (carried.targets, carried.holds)
            } else {
                // The holds of the recorded workloads.
                tokio::join!(targets, read_holds(context, &namespace, status, &[]))
            }
        };
        ((seen.targets, seen.holds), seen.unscalable, seen.autoscalers) = tokio::join!(
            targets_and_holds,
            join_all(references.iter().map(|target| context.targets.unscalable(target))),
            read_scaled_objects(context, &namespace, status)
        );
        seen.others = read_others(context, reset, phase, &seen.holds, |_| false).await?;
        return Ok(());
    }
    let queried = || async {
        match request {
            Ok(request) => query_kafka_within_hold(context, reset, status, request, phase).await,
            Err(_) => KafkaSeen::NotAsked,
        }
    };
    let _at_kafka = (phase == Phase::Resetting).then(|| slot.waits_for_kafka());
    if phase == Phase::Resetting && status.commits > 0 {
        // The commit has landed as planned, as a rule: then nothing more is committed, and the workloads do not matter.
        seen.kafka = queried().await;
        if request.is_ok_and(|request| machine::is_read_back(status, request, &seen.kafka)) {
            return Ok(());
        }
        // To commit again, everything has to be as fresh as the first time.
    }
    let targets = async {
        match carried.filter(|_| phase == Phase::Draining) {
            Some(carried) => carried.targets,
            None => targets.await,
        }
    };
    let both = futures::future::join(targets, queried());
    // The data for a commit must not age while the pass waits for a slot.
    (seen.targets, seen.kafka) = if phase == Phase::Resetting { both.await } else { slot.released_while(both).await };
    Ok(())
}

/// Reads what a canary needs: until it has started, the Leases of the targets and the other resets; from then on what its consumers
/// have committed, and after that its pods, so that a crash that came before a commit is seen together with it.
///
/// While Kafka is asked, the locks of the workloads are released: no other pass waits for a broker that does not answer before it
/// stops or restores them. They are held again before the workloads are read, and until the decision is recorded.
async fn read_canary(
    context: &Context,
    reset: &OffsetReset,
    status: &OffsetResetStatus,
    request: Result<&Request, &InvalidSpec>,
    (slot, step_lock): (&mut Slot<'_>, Option<&mut Lock>),
    seen: &mut Observed,
) -> Result<(), Error> {
    let namespace = reset.namespace().unwrap_or_default();
    if status.canary.as_ref().is_some_and(|canary| canary.start_time.is_some()) {
        if let Ok(request) = request {
            let queried = query_kafka_within_hold(context, reset, status, request, Phase::Canary);
            let queried = async {
                match step_lock {
                    Some(lock) => lock.released_while(queried).await,
                    None => queried.await,
                }
            };
            seen.kafka = slot.released_while(queried).await;
        }
        seen.targets = read_targets(context, reset, status, request.ok(), Phase::Canary).await;
    } else {
        let targets = read_targets(context, reset, status, request.ok(), Phase::Canary);
        (seen.targets, seen.holds) = tokio::join!(targets, read_holds(context, &namespace, status, &[]));
        seen.others = read_others(context, reset, Phase::Canary, &seen.holds, |_| false).await?;
    }
    for (target, found) in status.targets.iter().zip(&mut seen.targets) {
        if let Seen::Known(workload) = found
            && workload.replicas != 0
            && Some(workload.replicas) != target.canary_replicas
        {
            context.targets.read_scalers(&namespace, &TargetRef::from(target), workload).await;
        }
    }
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
