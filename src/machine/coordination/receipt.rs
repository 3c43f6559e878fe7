//! The receipt outlives an `OffsetReset`, so that the same reset, deleted and created again, never
//! moves offsets twice.
//!
//! A GitOps tool deletes and creates on its own: hooks before each sync, a forced replacement after
//! a conflict, a backup restored without status. The receipt is written before the first commit,
//! without an owner, under a name made of the reset's name and its spec. Runs that ended before
//! anything was committed leave no receipt.
//!
//! | receipt | what a new run of the same name and spec does |
//! |---|---|
//! | none | it runs |
//! | over | nothing: it ends as the first one did, with reason `AlreadyApplied` |
//! | committing, and the consumers have been held since | it resumes the stored plan: the targets are never computed again |
//! | committing, and the consumers have run since | nothing: what was committed remains, and consumers have continued from it |

use super::scaled_object;
use crate::api::{ConditionType, GroupStatus, PartitionOutcome, PartitionStatus, Phase, Reason, ReceiptStatus, TargetStatus};
use crate::machine::{
    decision::Decision,
    facts::{Claim, Hold, Receipt, RunState, Seen, Workload, new_hold},
    guards::Guard,
    pass::{Pass, UNSEEN_RETRY},
    plan::{canary, export::quoted},
    request::Request,
    text::{Message, count},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

/// How soon it looks again whether the other reset of the group is done.
const BLOCKED: SignedDuration = SignedDuration::from_secs(1);

/// What follows from the receipt of an earlier run: `None` when there is no receipt and the run may
/// begin.
pub(in crate::machine) fn found(pass: &mut Pass<'_>, request: &Request) -> Option<Decision> {
    let receipt = match pass.seen.receipt.as_ref()? {
        Seen::Missing => return None,
        Seen::Unknown(why) => {
            let message = Message::new("The operator cannot see whether the same reset has run before")
                .detail(why)
                .detail("No consumer was stopped and no offset was changed; the operator tries again every second")
                .advice("Check that the operator may get ConfigMaps in this namespace");
            return Some(pass.take().wait(Reason::ReportUnavailable, message, UNSEEN_RETRY));
        }
        Seen::Known(receipt) => receipt,
    };
    let run = if receipt.uid == pass.seen.uid {
        "This OffsetReset".to_owned()
    } else {
        format!("An OffsetReset with uid {}", receipt.uid)
    };
    let (phase, message) = match &receipt.state {
        RunState::Over { phase, at, message } => {
            let message =
                Message::new(format!("A reset with the same name and spec has already run: it ended as {}", phase.as_str()))
                    .detail(format!("{run} ended at {at}: {message}"));
            (*phase, message)
        }
        RunState::Committing { .. } if pass.seen.blocker.is_some() => {
            let blocker = pass.seen.blocker.as_ref();
            let (name, shared) = blocker.map(|blocker| (blocker.name.as_str(), blocker.shared.as_str())).unwrap_or_default();
            let message = Message::naming([name], |[other]| format!("Waiting for OffsetReset {other}, which goes first"))
                .detail(format!("Both need the same {shared}"))
                .detail("Then the operator checks whether the interrupted run of the same name and spec can be resumed");
            return Some(pass.take().wait(Reason::WaitingForOtherReset, message, BLOCKED));
        }
        // Not before it may begin; what prevents that is reported as for any other.
        RunState::Committing { .. } if request.suspended => return None,
        RunState::Committing { final_plan_time, partitions, group } => {
            if let Some(decision) = take_up(pass, request, receipt, *final_plan_time, partitions, group.as_ref()) {
                return Some(decision);
            }
            let count = count(partitions.len(), "partition", "partitions");
            let message = Message::new("A reset with the same name and spec was interrupted, so this one does not run")
                .detail(format!(
                    "{run} was interrupted at {final_plan_time} while committing {count}, and its consumers have run since. To commit \
                     the rest now could move offsets twice"
                ))
                .detail(format!("ConfigMap {} has its plan, with the offsets from before", request.receipt));
            (Phase::Failed, message)
        }
    };
    let message = message
        .detail("This time nothing was stopped and no offset was changed")
        .advice("To run it again, delete it and create it with another runId, or under another name");
    pass.status.receipt = Some(ReceiptStatus { config_map: request.receipt.clone(), settled: true });
    // The plan of a dry run before it is not carried out.
    (pass.status.partitions, pass.status.partitions_omitted) = (vec![], 0);
    (pass.status.totals, pass.status.drift, pass.status.forecast) = (None, None, None);
    (pass.status.report, pass.status.equivalent_command) = (None, None);
    let phase = if phase == Phase::Succeeded { Phase::Succeeded } else { Phase::Failed };
    Some(pass.take().finish(phase, Reason::AlreadyApplied, message))
}

/// What a dry run warns of: the receipt of an earlier run decides what the run itself would do.
pub(in crate::machine) fn warning(seen: Option<&Seen<Receipt>>, request: &Request) -> Option<String> {
    let receipt = match seen? {
        Seen::Missing => return None,
        Seen::Unknown(why) => {
            return Some(format!("it could not be seen whether a reset of the same name and spec has run before: {why}"));
        }
        Seen::Known(receipt) => receipt,
    };
    let delete = format!("kubectl --namespace {} delete configmap {}", quoted(&request.namespace), quoted(&request.receipt));
    Some(match &receipt.state {
        RunState::Over { phase, at, .. } => format!(
            "with dryRun: false nothing would be reset: a reset of the same name and spec ended as {} at {at}, so this one would end as \
             AlreadyApplied. To run it again, set another runId, or delete the receipt of that run: {delete}",
            phase.as_str()
        ),
        RunState::Committing { final_plan_time, .. } => format!(
            "with dryRun: false this plan would not be carried out: a reset of the same name and spec was interrupted while it committed \
             the plan of {final_plan_time}. If its consumers have been at zero since, that plan would be resumed; otherwise this reset would \
             end as AlreadyApplied. To make a new plan then, set another runId, or delete the receipt of that run: {delete}"
        ),
    })
}

/// Resumes a plan that a run of this name and spec had begun to commit, when its consumers have
/// been held ever since: that run lost its status, or was deleted without its finalizer and created
/// again.
fn take_up(
    pass: &mut Pass<'_>,
    request: &Request,
    receipt: &Receipt,
    final_plan_time: Timestamp,
    partitions: &[PartitionStatus],
    group: Option<&GroupStatus>,
) -> Option<Decision> {
    // Whether consumers have run since is final, so it must be known.
    if let Some(why) = unseen(pass) {
        let message = Message::new("The operator cannot see whether an interrupted run can be resumed")
            .detail(why)
            .detail("A run of the same name and spec was interrupted while it committed; the operator tries again every second");
        return Some(pass.take().wait(Reason::TargetUnreachable, message, UNSEEN_RETRY));
    }
    let mut targets = vec![];
    let mut since: Option<Timestamp> = None;
    for (index, target) in request.targets.iter().enumerate() {
        let Some(Seen::Known(workload)) = pass.seen.targets.get(index) else { return None };
        let mut taken = TargetStatus::new(target, &workload.uid);
        match pass.seen.holds.get(index) {
            Some(Seen::Known(hold)) if still_held(workload, hold, receipt, request) => {
                since = Some(since.map_or(hold.since, |earlier| earlier.min(hold.since)));
                (taken.stop_requested, taken.stopped) = (true, true);
                taken.take_from(hold);
            }
            // It was at zero before the stop.
            Some(Seen::Missing) if workload.replicas == 0 => taken.found_as(workload),
            Some(Seen::Known(_) | Seen::Missing | Seen::Unknown(_)) | None => return None,
        }
        taken.autoscaler = scaled_object::recorded(pass.seen.autoscalers.get(index));
        targets.push(taken);
    }
    // Where nothing is held, it cannot be known whether consumers have run since.
    let since = since?;
    // A pause that the status does not know of would never be removed.
    if let Some(decision) = scaled_object::unseen(pass) {
        return Some(decision);
    }
    pass.status.canary = canary::planned(request, &targets);
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
    let count = count(partitions.len(), "partition", "partitions");
    let planned = format!("The plan of {count} is that of an interrupted run of the same name and spec");
    pass.condition(ConditionType::Planned, Some(true), Reason::PlanMade, planned);
    let message =
        Message::new("Resuming an interrupted run of the same name and spec").detail("The consumers have been at zero since");
    Some(pass.take().go_on(Phase::Stopping, Reason::PlanMade, message))
}

/// Why a target, or its Lease, could not be read.
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

/// Whether a workload has been at zero ever since, for that run: by its UID, or by its name and
/// spec when the receipt was written again by a run that resumed it.
fn still_held(workload: &Workload, hold: &Hold, receipt: &Receipt, request: &Request) -> bool {
    let of_that_run = |claim: &Claim| claim.uid == receipt.uid || (claim.name == request.name && claim.key == request.key);
    // The consumers of a canary have consumed since.
    let no_canary = Guard::NoCanarySince.allows(hold.canary.is_none());
    no_canary && workload.replicas == 0 && workload.uid == hold.uid && hold.claims.iter().any(of_that_run)
}
