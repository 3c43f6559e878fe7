//! The receipt: what outlives an `OffsetReset`, so that the same one, deleted and created again, never moves offsets twice.
//!
//! A GitOps tool deletes and creates on its own: hooks before each sync, a forced replacement after a conflict, a backup restored without
//! status. The receipt is written before the first commit, without an owner, under a name made of the reset's name and its spec. Runs
//! that ended before anything was committed leave none.
//!
//! | receipt | what a new run of the same name and spec does |
//! |---|---|
//! | none | it runs |
//! | over | nothing: it ends as the first one did, with reason `AlreadyApplied` |
//! | committing, and the consumers are still held since | it takes up the plan where it stood: the targets are never computed anew |
//! | committing, and the consumers have been back since | nothing: what was committed by then stands, and consumers have gone on from it |

use super::scaled_object;
use crate::api::{ConditionType, GroupStatus, PartitionOutcome, PartitionStatus, Phase, Reason, ReceiptStatus, TargetStatus};
use crate::machine::{
    decision::Decision,
    facts::{Claim, Hold, Receipt, RunState, Seen, Workload},
    pass::{Pass, UNSEEN_RETRY, new_hold},
    request::Request,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

/// How soon it looks again whether whoever works on the group is done.
const BLOCKED: SignedDuration = SignedDuration::from_secs(1);

/// What follows from a receipt that was there before this run: `None` when there is none, and the run may begin.
pub(in crate::machine) fn found(pass: &mut Pass<'_>, request: &Request) -> Option<Decision> {
    let receipt = match pass.seen.receipt.as_ref()? {
        Seen::Missing => return None,
        Seen::Unknown(why) => {
            let message =
                format!("it cannot be told whether the same reset has run before: {why}. Nothing was touched; it is tried again");
            return Some(pass.take().wait(Reason::ReportUnavailable, message, UNSEEN_RETRY));
        }
        Seen::Known(receipt) => receipt,
    };
    let run = if receipt.uid == pass.seen.uid {
        "this OffsetReset".to_owned()
    } else {
        format!("another one with uid {}", receipt.uid)
    };
    let again = "Nothing was stopped and no offset was changed. To run it again, delete it and create it with another runId, or under \
                 another name";
    let (phase, message) = match &receipt.state {
        RunState::Over { phase, at, message } => {
            let phase = *phase;
            let as_what = phase.as_str();
            (
                phase,
                format!("already applied: {run} of the same name and spec has ended as {as_what} at {at}: {message}. {again}"),
            )
        }
        RunState::Committing { .. } if pass.seen.blocker.is_some() => {
            let other =
                pass.seen.blocker.as_ref().map(|blocker| format!("{}, which works on the same {}", blocker.name, blocker.shared));
            let message = format!(
                "waits for OffsetReset {}; then it looks whether what an earlier run of the same name and spec had begun can be taken up",
                other.unwrap_or_default()
            );
            return Some(pass.take().wait(Reason::WaitingForOtherReset, message, BLOCKED));
        }
        // Not before it may begin; what keeps it from that is said as for any other.
        RunState::Committing { .. } if request.suspended => return None,
        RunState::Committing { final_plan_time, partitions, group } => {
            if let Some(decision) = take_up(pass, request, receipt, *final_plan_time, partitions, group.as_ref()) {
                return Some(decision);
            }
            let count = partitions.len();
            let message = format!(
                "{run} of the same name and spec had begun to commit {count} partitions at {final_plan_time} and was broken off; its \
                 consumers have been back since, so committing the rest now could move offsets twice. ConfigMap {} has its plan, with \
                 the offsets from before. {again}",
                request.receipt
            );
            (Phase::Failed, message)
        }
    };
    pass.status.receipt = Some(ReceiptStatus { config_map: request.receipt.clone(), settled: true });
    let phase = if phase == Phase::Succeeded { Phase::Succeeded } else { Phase::Failed };
    Some(pass.take().finish(phase, Reason::AlreadyApplied, message))
}

/// Goes on with a plan that a run of this name and spec had begun to commit, when its consumers have been held ever since: that run lost
/// its status, or was deleted without its finalizer and created again.
fn take_up(
    pass: &mut Pass<'_>,
    request: &Request,
    receipt: &Receipt,
    final_plan_time: Timestamp,
    partitions: &[PartitionStatus],
    group: Option<&GroupStatus>,
) -> Option<Decision> {
    // Whether consumers have been back is said for good, so it must be known.
    if let Some(why) = unseen(pass) {
        let message =
            format!("it cannot be told whether what an earlier run of the same name and spec had begun can be taken up: {why}");
        return Some(pass.take().wait(Reason::TargetUnreachable, message, UNSEEN_RETRY));
    }
    let mut targets = vec![];
    let mut since: Option<Timestamp> = None;
    for (index, target) in request.targets.iter().enumerate() {
        let Some(Seen::Known(workload)) = pass.seen.targets.get(index) else { return None };
        let mut was_stopped = false;
        let original_replicas = match pass.seen.holds.get(index) {
            Some(Seen::Known(hold)) if still_held(workload, hold, receipt, request) => {
                since = Some(since.map_or(hold.since, |earlier| earlier.min(hold.since)));
                was_stopped = true;
                hold.replicas
            }
            // It was at zero before the stop.
            Some(Seen::Missing) if workload.replicas == 0 => 0,
            Some(Seen::Known(_) | Seen::Missing | Seen::Unknown(_)) | None => return None,
        };
        let target = TargetStatus::new(target, &workload.uid);
        let autoscaler = scaled_object::recorded(pass.seen.autoscalers.get(index));
        targets.push(TargetStatus { original_replicas, stop_requested: was_stopped, stopped: was_stopped, autoscaler, ..target });
    }
    // Where nothing is held, nobody can tell whether consumers have been back.
    let since = since?;
    // A pause that is not known of would never be taken off.
    if let Some(decision) = scaled_object::unseen(pass) {
        return Some(decision);
    }
    pass.status.targets = targets;
    pass.status.group = group.cloned();
    pass.status.partitions = partitions.to_vec();
    for partition in &mut pass.status.partitions {
        if matches!(partition.outcome, PartitionOutcome::Planned | PartitionOutcome::Reset) {
            partition.outcome = PartitionOutcome::Unconfirmed;
            partition.after = None;
        }
    }
    pass.status.partitions_omitted = 0;
    pass.status.plan_time = Some(Time(final_plan_time));
    pass.status.final_plan_time = Some(MicroTime(final_plan_time));
    pass.status.commits = 1;
    pass.status.receipt = Some(ReceiptStatus { config_map: request.receipt.clone(), settled: false });
    pass.status.hold = Some(new_hold(since, request.hold_timeout));
    let count = partitions.len();
    let planned = format!("the plan of {count} partitions is that of an earlier run of the same name and spec");
    pass.condition(ConditionType::Planned, Some(true), Reason::PlanMade, planned);
    let message =
        "takes up the plan that an earlier run of the same name and spec had begun to commit; the consumers are held since";
    Some(pass.take().go_on(Phase::Stopping, Reason::PlanMade, message))
}

/// Why a target, or who holds it, could not be seen.
fn unseen(pass: &Pass<'_>) -> Option<String> {
    let targets = pass.seen.targets.iter().map(|seen| match seen {
        Seen::Unknown(why) => Some(why),
        Seen::Known(_) | Seen::Missing => None,
    });
    let holds = pass.seen.holds.iter().map(|seen| match seen {
        Seen::Unknown(why) => Some(why),
        Seen::Known(_) | Seen::Missing => None,
    });
    targets.chain(holds).flatten().next().cloned()
}

/// At zero ever since, for that run: by its UID, or by its name and spec when the receipt was written anew by one that took it up.
fn still_held(workload: &Workload, hold: &Hold, receipt: &Receipt, request: &Request) -> bool {
    let of_that_run = |claim: &Claim| claim.uid == receipt.uid || (claim.name == request.name && claim.key == request.key);
    workload.replicas == 0 && workload.uid == hold.uid && hold.claims.iter().any(of_that_run)
}
