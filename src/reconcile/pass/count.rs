//! Counts for the metrics what a pass has recorded.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::{
    api::{ConditionType, OffsetReset, OffsetResetStatus, PartitionOutcome, Phase, Reason, Totals},
    machine::{
        self,
        facts::{Observed, Seen},
    },
    reconcile::context::Context,
};

/// Counts the phases that were entered, and what else differs between a status and the one that was recorded after it.
pub(super) fn count(
    context: &Context,
    reset: &OffsetReset,
    entered: impl Iterator<Item = (Phase, Timestamp)>,
    old: &OffsetResetStatus,
    new: &OffsetResetStatus,
    seen: &Observed,
) {
    let name = format!("{}/{}", reset.namespace().unwrap_or_default(), reset.name_any());
    for (phase, at) in entered {
        context.metrics.entered(&name, phase, at);
        if phase.is_terminal() {
            count_end(context, reset, phase, new);
        }
    }
    count_scale_ups(context, old, new, seen);
    let not_resumed =
        |status: &OffsetResetStatus| status.is_condition(ConditionType::ConsumersResumed, Reason::ConsumersNotReady);
    if not_resumed(new) && !not_resumed(old) {
        context.metrics.not_resumed();
    }
    if first_commit(old).is_none()
        && let Some(first) = first_commit(new)
        && let Some(start) = new.consumes_since()
    {
        context.metrics.first_commit(first.duration_since(start).as_secs_f64());
    }
}

fn first_commit(status: &OffsetResetStatus) -> Option<Timestamp> {
    Some(status.consumption.as_ref()?.first_commit_time.as_ref()?.0)
}

fn count_end(context: &Context, reset: &OffsetReset, phase: Phase, status: &OffsetResetStatus) {
    // A refused plan has failed for the person who asked for it, and for nobody who is on call.
    if reset.spec.dry_run {
        return context.metrics.dry_run(phase == Phase::Planned);
    }
    if let Some(reason) = status.reason {
        context.metrics.finished(phase, reason);
    }
    if let Some(totals) = status.totals.as_ref().filter(|_| status.commits > 0) {
        let (replayed, skipped) = records(totals, status);
        context.metrics.effect(totals, replayed, skipped);
    }
    if let Some(hold) = &status.hold
        && let Some(end) = &hold.end_time
    {
        context.metrics.downtime(end.0.duration_since(hold.start_time.0).as_secs_f64());
    }
}

/// The records that are replayed and skipped on the partitions that were reset. Where the status does not list all partitions, those
/// of the plan without the failed ones.
fn records(totals: &Totals, status: &OffsetResetStatus) -> (i64, i64) {
    if status.partitions_omitted > 0 {
        return (totals.replayed, totals.skipped);
    }
    let reset = status.partitions.iter().filter(|partition| partition.outcome == PartitionOutcome::Reset);
    reset.fold((0, 0), |(replayed, skipped), partition| {
        (i64::saturating_add(replayed, partition.replayed), i64::saturating_add(skipped, partition.skipped))
    })
}

fn count_scale_ups(context: &Context, old: &OffsetResetStatus, new: &OffsetResetStatus, seen: &Observed) {
    let held_since = new.hold.as_ref().map_or_else(|| (context.clock)(), |hold| hold.start_time.0);
    for (index, target) in new.targets.iter().enumerate() {
        let before = old.targets.get(index).map_or(0, |target| target.scaled_up_by_others);
        let manager = match seen.targets.get(index) {
            Some(Seen::Known(workload)) => machine::scaled_up_by(&workload.details, held_since),
            Some(_) | None => machine::SCALERS[machine::SCALERS.len() - 1],
        };
        for _ in before..target.scaled_up_by_others {
            context.metrics.scaled_up_by(manager);
        }
    }
}
