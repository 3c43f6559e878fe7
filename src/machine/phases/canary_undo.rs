//! The undo after a canary that has failed: its consumers are stopped again, and the offsets from
//! before the reset are committed, through the same phases as those of the reset. Whatever ends
//! the undo early also restores all replicas, as for any reset.

use super::read_back::Attempts;
use crate::api::{CanaryState, ConditionType, OffsetResetStatus, PartitionOutcome, PartitionStatus, Phase, Reason, UndoneStatus};
use crate::machine::{
    decision::Decision,
    metadata,
    pass::Pass,
    text::{Message, count},
};

/// Begins it: the targets become the offsets from before, and the consumers are stopped again.
pub(super) fn begin(mut pass: Pass<'_>) -> Decision {
    let was_set =
        |planned: &&mut PartitionStatus| matches!(planned.outcome, PartitionOutcome::Reset | PartitionOutcome::Unconfirmed);
    for planned in pass.status.partitions.iter_mut().filter(was_set) {
        to_before(planned);
    }
    for target in &mut pass.status.targets {
        target.stopped = false;
    }
    let (commits, commits_refused) = (pass.status.commits, pass.status.commits_refused);
    let Some(canary) = &mut pass.status.canary else { return pass.again() };
    (canary.state, canary.commits_before_undo, canary.commits_refused_before_undo) =
        (CanaryState::Undoing, commits, commits_refused);
    let why = canary.message.clone();
    // It is decided again, and what was seen of the consumption is about other targets.
    (pass.status.outcome, pass.status.consumption) = (None, None);
    pass.status.conditions.retain(|condition| condition.type_ != ConditionType::ConsumptionProven.as_str());
    for (milestone, message) in [
        (ConditionType::ConsumersStopped, "The canary has failed and is being stopped"),
        (ConditionType::GroupEmpty, "The consumers of the canary may still be members of the group"),
        (
            ConditionType::OffsetsReset,
            "The offsets of the reset are replaced by those from before, because the canary has failed",
        ),
    ] {
        pass.condition(milestone, Some(false), Reason::CanaryUndoing, message);
    }
    let message =
        Message::new("The canary has failed and is stopped, and the offsets from before are committed next").detail(why);
    pass.go_on(Phase::Stopping, Reason::CanaryUndoing, message)
}

fn to_before(planned: &mut PartitionStatus) {
    planned.undone = Some(UndoneStatus { target_offset: planned.target_offset });
    planned.target_offset = planned.before;
    let before = metadata::before(planned);
    metadata::record_target(planned, &before);
    (planned.outcome, planned.after, planned.clamped, planned.message) = (PartitionOutcome::Planned, None, None, None);
    (planned.metadata_not_stored, planned.reason_not_stored) = (false, false);
    (planned.replayed, planned.skipped) = (0, 0);
}

/// The commits so far: of the undo, once it has begun.
pub(super) fn attempts(status: &OffsetResetStatus) -> Attempts {
    let (commits, refused) =
        status.canary.as_ref().map_or((0, 0), |canary| (canary.commits_before_undo, canary.commits_refused_before_undo));
    let (sent, refused) = (status.commits - commits, status.commits_refused - refused);
    Attempts { sent, may_have_landed: sent - refused }
}

/// Every partition is decided: the outcome of the run.
pub(super) fn conclude(mut pass: Pass<'_>) -> Decision {
    let undone = pass.status.partitions.iter().filter(|planned| planned.undone.is_some());
    let (all, failed) =
        undone.fold((0, 0), |(all, failed), planned| (all + 1, failed + i64::from(planned.outcome == PartitionOutcome::Failed)));
    let why = pass.status.canary.as_ref().map(|canary| canary.message.clone()).unwrap_or_default();
    if failed > 0 {
        let milestone =
            format!("{} of {all} offsets from before were committed again, because the canary had failed", all - failed);
        pass.condition(ConditionType::OffsetsReset, Some(false), Reason::CanaryFailed, milestone);
        let message = Message::new(format!(
            "The canary failed, and {failed} of {all} offsets from before could not be committed again"
        ))
        .detail(why)
        .detail("On those partitions the consumers continue from the offsets of the reset, or from the last commit of the canary")
        .advice("status.partitions has the error of each partition. Correct the cause, and create an OffsetReset with undo.name");
        return pass.finish(Phase::Failed, Reason::CanaryFailed, message);
    }
    if let Some(canary) = &mut pass.status.canary {
        canary.state = CanaryState::Undone;
    }
    let moved = pass.status.partitions.iter().filter(|planned| planned.undone.is_some() && planned.clamped.is_some()).count();
    let moved = match moved {
        0 => String::new(),
        moved => {
            format!("{moved} of them {} out of range and moved into the log's range", if moved == 1 { "was" } else { "were" })
        }
    };
    let offsets = count(all, "offset from before is", "offsets from before are");
    let milestone =
        Message::new(format!("The canary had failed: {offsets} committed again and read back")).detail(moved.as_str()).full();
    pass.condition(ConditionType::OffsetsReset, Some(false), Reason::CanaryUndone, milestone);
    let message = Message::new("The canary failed, and the offsets from before the reset are committed again")
        .detail(why)
        .detail(format!("{offsets} read back, and all replicas are restored"))
        .detail(moved)
        .detail("The canary's pods are gone, and so are their logs in the cluster; restore.canary.onFailure: Keep leaves both")
        .advice("Look at their logs where logs are collected, correct the cause, and create the reset again under a new name");
    pass.finish(Phase::Failed, Reason::CanaryUndone, message)
}

/// The run ends before the undo was complete.
pub(super) fn give_up(status: &mut OffsetResetStatus) {
    if status.is_undoing()
        && let Some(canary) = &mut status.canary
    {
        canary.state = CanaryState::Failed;
        canary.message.push_str(". Not all offsets from before could be committed again");
    }
}
