//! After the end: whether the consumers resumed, in which number, and whether they consume from the
//! offsets of the reset.

mod comeback;
mod offsets;

use super::*;
use crate::{
    api::{AutoscalerStatus, ConditionType, OverwriteEvidence, OverwrittenStatus, UndoneStatus},
    machine::{
        decide,
        decision::{Decision, Effect},
        facts::{FieldOwner, Hpa, UndoSeen},
        first_look, needs_a_look, needs_offsets,
    },
};

const MINUTE: i64 = 60;

fn run(status: &OffsetResetStatus, seen: &Observed, now: i64) -> Decision {
    decide(Ok(&request()), status, seen, at(now))
}

fn stable() -> Group {
    group_in(GroupState::Stable, 3)
}

fn empty() -> Group {
    group_in(GroupState::Empty, 0)
}

/// Restored at 30 s, from three replicas.
fn finished_with(request: &Request, change: impl FnOnce(&mut OffsetResetStatus)) -> OffsetResetStatus {
    let mut status = status_in(Phase::Restoring);
    status.group = Some(crate::machine::facts::group::status(&stable(), None, &[]));
    change(&mut status);
    let back = Observed { holds: vec![Seen::Missing], ..seen(running(), KafkaSeen::NotAsked) };
    decide(Ok(request), &status, &back, at(30)).status
}

fn finished() -> OffsetResetStatus {
    finished_with(&request(), |_| {})
}

/// The same with both offsets reset, from 50 to 10.
fn reset() -> OffsetResetStatus {
    finished_with(&request(), all_reset)
}

fn all_reset(status: &mut OffsetResetStatus) {
    for partition in &mut status.partitions {
        (partition.outcome, partition.after) = (PartitionOutcome::Reset, partition.target_offset);
    }
}

fn look(target: Seen<Workload>, kafka: KafkaSeen) -> Observed {
    Observed { finalizer: false, holds: vec![Seen::Missing], ..seen(target, kafka) }
}

/// Status, reason and message of a condition.
fn said(status: &OffsetResetStatus, kind: ConditionType) -> (&str, &str, &str) {
    let condition = status.conditions.iter().find(|condition| condition.type_ == kind.as_str()).unwrap();
    (&condition.status, &condition.reason, &condition.message)
}

fn resumed(status: &OffsetResetStatus) -> (&str, &str) {
    let (status, reason, _) = said(status, ConditionType::ConsumersResumed);
    (status, reason)
}

fn proven(status: &OffsetResetStatus) -> (&str, &str) {
    let (status, reason, _) = said(status, ConditionType::ConsumptionProven);
    (status, reason)
}
