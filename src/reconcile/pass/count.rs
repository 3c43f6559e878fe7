//! Counts for the metrics what a pass has recorded.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::{
    api::{ConditionType, OffsetReset, OffsetResetStatus, Phase, Reason},
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
            count_end(context, phase, new);
        }
    }
    count_scale_ups(context, old, new, seen);
    let not_resumed =
        |status: &OffsetResetStatus| status.is_condition(ConditionType::ConsumersResumed, Reason::ConsumersNotReady);
    if not_resumed(new) && !not_resumed(old) {
        context.metrics.not_resumed();
    }
}

fn count_end(context: &Context, phase: Phase, status: &OffsetResetStatus) {
    if let Some(reason) = status.reason {
        context.metrics.finished(phase, reason);
    }
    if phase != Phase::Planned
        && let Some(totals) = &status.totals
        && status.commits > 0
    {
        context.metrics.effect(totals);
    }
    if let Some(hold) = &status.hold
        && let Some(end) = &hold.end_time
    {
        context.metrics.downtime(end.0.duration_since(hold.start_time.0).as_secs_f64());
    }
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
