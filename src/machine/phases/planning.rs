//! Planning, while the consumers run: everything that can fail is tried here, so that nothing is stopped for a reset that cannot be.

use crate::machine::totals::totals;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::{ConditionType, GroupStatus, MAX_WARNINGS, PartitionOutcome, PartitionStatus, Phase, Reason, TargetStatus};
use crate::machine::{
    coordination::{queue, scaled_object},
    decision::Decision,
    facts::{KafkaSeen, PlanSeen, Seen, group},
    pass::{Pass, new_hold},
    plan::{
        self, acl_hints, drift,
        membership::{self, Membership},
        stoppable, warnings, workloads,
    },
    refusal::Refusal,
    request::Request,
    text::name,
    time::later,
};

/// How long something that may heal by itself is tried again before the reset is refused.
pub const PLANNING_TIMEOUT: SignedDuration = SignedDuration::from_secs(30);

/// How soon it is tried again.
const RETRY: SignedDuration = SignedDuration::from_secs(2);

/// How soon it looks again whether another reset's plan stands: planning takes a fraction of a second.
const SIBLING: SignedDuration = SignedDuration::from_millis(200);

pub(in crate::machine) fn decide(mut pass: Pass<'_>, request: &Request) -> Decision {
    let targets = match targets(&pass, request) {
        Ok(targets) => targets,
        Err(refusals) => return refuse(pass, &refusals, None),
    };
    let seen = match &pass.seen.kafka {
        KafkaSeen::ForPlan(seen) => seen,
        KafkaSeen::Failed(error) => {
            let refusal = Refusal::from_kafka(error, "");
            let advice = acl_hints::advice(request, &pass.seen.kafka);
            return refuse(pass, &[refusal], advice);
        }
        KafkaSeen::NotAsked | KafkaSeen::Group(_) | KafkaSeen::ForCommit(_) => return pass.again(),
    };
    if request.kafka.binding.is_some() && seen.cluster_id.is_none() {
        // What a binding names no other reset can know: only by the cluster's id are two of one group told to be on one cluster.
        let message = "no broker says the cluster's id, which is needed with spec.kafka.binding: without it nobody could tell whether \
                       another OffsetReset works on the same group of the same cluster";
        return refuse(pass, &[Refusal::passing(Reason::BrokerUnreachable, message.to_owned())], None);
    }
    let plan = match plan::plan(request, seen) {
        Ok(plan) => plan,
        Err(refusals) => {
            let advice = acl_hints::advice(request, &pass.seen.kafka);
            return refuse(pass, &refusals, advice);
        }
    };

    let refusals = membership::refusals(request, &seen.group, &pass.seen.targets, pass.now);
    // A dry run stops nothing, so it tells and does not wait.
    if !refusals.is_empty() && !request.dry_run {
        return refuse(pass, &refusals, None);
    }
    let warnings = warnings::warnings(request, &plan, seen, &pass.seen.targets, &pass.pods(), pass.now);
    let first = pass.status.plan_time.is_none();
    if let Some(drift) = pass.status.drift.as_mut().filter(|_| first) {
        *drift = drift::compare(drift, &pass.status.partitions, &plan.partitions);
    }
    let group = group::status(&seen.group, None, &pass.pods());
    let expected = i32::try_from(Membership::of(&seen.group, &pass.seen.targets).expected()).unwrap_or(i32::MAX);
    pass.status.group = Some(GroupStatus { cluster_id: seen.cluster_id.clone(), expected_members: Some(expected), ..group });
    pass.status.targets = targets;
    pass.status.partitions = plan.partitions;
    pass.status.partitions_omitted = 0;
    pass.status.warnings = warnings;
    pass.status.warnings.extend(refusals.into_iter().map(|refusal| refusal.message));
    pass.status.warnings.extend(membership::warning(request, &seen.group, &pass.seen.targets));
    pass.status.warnings.extend(stoppable::warnings(request, &pass.seen.targets));
    let hidden = scaled_object::warnings(&pass);
    pass.status.warnings.extend(hidden);
    pass.status.warnings.truncate(MAX_WARNINGS);
    pass.status.plan_time = Some(Time(pass.now));
    let message = summary(&pass, seen);
    pass.condition(ConditionType::Planned, Some(true), Reason::PlanMade, &message);
    if request.dry_run {
        let message = format!("dry run: {message}. Nothing was touched; to run it, set dryRun to false");
        return pass.finish(Phase::Planned, Reason::DryRun, message);
    }
    if let Some(decision) = nothing_to_do(&mut pass) {
        return decision;
    }
    if let Some(other) = queue::waits_for(&pass) {
        return pass.go_on(Phase::Pending, Reason::WaitingForOtherReset, other);
    }
    let workloads: Vec<String> = pass.status.targets.iter().map(name).collect();
    if let Some(other) = queue::planning_too(&pass.seen.uid, &request.namespace, &workloads, &pass.seen.others, pass.now)
        && pass.now < later(pass.phase_start(), PLANNING_TIMEOUT)
    {
        let message = format!(
            "{message}. Waits for the plan of OffsetReset {}/{}, so that one stop serves both; the consumers run",
            other.namespace, other.name
        );
        return pass.wait(Reason::WaitingForOtherReset, message, SIBLING);
    }
    pass.status.hold = Some(new_hold(pass.now, request.hold_timeout));
    pass.note(false, Reason::PlanMade, &message, None);
    for warning in pass.status.warnings.clone() {
        pass.note(true, Reason::PlanMade, warning, None);
    }
    pass.go_on(Phase::Stopping, Reason::PlanMade, format!("{message}. The consumers are being stopped"))
}

/// The end without a stop, when no partition would be changed.
fn nothing_to_do(pass: &mut Pass<'_>) -> Option<Decision> {
    let left_alone =
        |planned: &PartitionStatus| matches!(planned.outcome, PartitionOutcome::Skipped | PartitionOutcome::Unchanged);
    let partitions = &pass.status.partitions;
    if !partitions.iter().all(left_alone) {
        return None;
    }
    let count = partitions.len();
    if partitions.iter().all(|planned| planned.outcome == PartitionOutcome::Unchanged) {
        let message = format!("all {count} committed offsets are in range: there is nothing to repair, and nothing was stopped");
        return Some(pass.take().finish(Phase::Succeeded, Reason::AlreadyInRange, message));
    }
    let message = format!(
        "refused: no partition would be reset, because the targets of all {count} are out of range or need no repair, and \
         outOfRange is Skip. Nothing was stopped and no offset was changed"
    );
    Some(pass.take().finish(Phase::Failed, Reason::NothingToReset, message))
}

/// The targets with their replicas, as read live.
fn targets(pass: &Pass<'_>, request: &Request) -> Result<Vec<TargetStatus>, Vec<Refusal>> {
    let mut targets = vec![];
    let mut refusals: Vec<Refusal> = workloads::named_twice(&request.targets, &pass.seen.targets).into_iter().collect();
    for (index, (target, seen)) in request.targets.iter().zip(&pass.seen.targets).enumerate() {
        let unscalable = pass.seen.unscalable.get(index).and_then(Option::as_ref);
        refusals.extend(workloads::refusal(target, seen, unscalable));
        refusals.extend(stoppable::cannot_stop(target, seen, request));
        if let Seen::Known(workload) = seen {
            // One that is held at zero already has the replicas that its Lease says.
            let held = match pass.seen.holds.get(index) {
                Some(Seen::Unknown(why)) => {
                    let message = format!("the Lease that says who holds {}/{} cannot be read: {why}", target.kind, target.name);
                    refusals.push(Refusal::passing(Reason::TargetUnreachable, message));
                    continue;
                }
                Some(Seen::Known(hold)) if workload.replicas == 0 && hold.uid == workload.uid => Some(hold.replicas),
                Some(Seen::Known(_) | Seen::Missing) | None => None,
            };
            let original_replicas = held.unwrap_or(workload.replicas);
            let autoscaler = pass.seen.autoscalers.get(index);
            let name = format!("{}/{}", target.kind, target.name);
            refusals.extend(scaled_object::refusal(autoscaler, &name, original_replicas != 0));
            let autoscaler = scaled_object::recorded(autoscaler);
            targets.push(TargetStatus { original_replicas, autoscaler, ..TargetStatus::new(target, &workload.uid) });
        }
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    if targets.len() < request.targets.len() {
        let message = "not every target was looked at".to_owned();
        return Err(vec![Refusal::passing(Reason::TargetUnreachable, message)]);
    }
    Ok(targets)
}

/// No plan: tried again for a while when it may heal, refused otherwise. The reasons that will not heal come first; `advice` is said at
/// the end, for it may hold a command.
fn refuse(mut pass: Pass<'_>, refusals: &[Refusal], advice: Option<String>) -> Decision {
    let lasting = refusals.iter().find(|refusal| !refusal.transient);
    let Some(first) = lasting.or_else(|| refusals.first()) else { return pass.again() };
    let message = refusals.iter().map(|refusal| refusal.message.as_str()).collect::<Vec<_>>().join("; ");
    let message = shorten(message);
    let patience = refusals.iter().filter_map(|refusal| refusal.patience).max();
    let give_up = later(pass.phase_start(), patience.unwrap_or(PLANNING_TIMEOUT));
    if lasting.is_some() || pass.now >= give_up {
        let refused = if lasting.is_some() { "refused" } else { "refused after several attempts" };
        let advice = advice.map(|advice| format!(". {advice}")).unwrap_or_default();
        let message = format!("{refused}: {message}. Nothing was stopped and no offset was changed{advice}");
        pass.condition(ConditionType::Planned, Some(false), first.reason, &message);
        return pass.finish(Phase::Failed, first.reason, message);
    }
    let message = format!("{message}. It is tried again; the consumers run");
    pass.condition(ConditionType::Planned, Some(false), first.reason, &message);
    pass.wait(first.reason, message, RETRY)
}

fn summary(pass: &Pass<'_>, seen: &PlanSeen) -> String {
    let totals = totals(&pass.status.partitions);
    let clamped = if totals.clamped > 0 { format!(", {} of them clamped into the log", totals.clamped) } else { String::new() };
    let left_alone = if totals.left_alone > 0 { format!(", {} left as they are", totals.left_alone) } else { String::new() };
    let members = group::members(&seen.group);
    let warnings = match pass.status.warnings.len() {
        0 => String::new(),
        1 => "; 1 warning".to_owned(),
        many => format!("; {many} warnings"),
    };
    let drift = pass.status.drift.as_ref().map(|drift| format!("; {}", drift::words(drift))).unwrap_or_default();
    format!(
        "planned {} partitions{clamped}{left_alone}: {} records to be consumed again, {} skipped; the group is {} with {members} \
         members{warnings}{drift}",
        totals.partitions,
        totals.replayed,
        totals.skipped,
        group::state_name(&seen.group),
    )
}

/// A condition's message has its bounds; the first thousands of characters say enough.
fn shorten(mut message: String) -> String {
    const MOST: usize = 4_000;
    if message.len() > MOST {
        message.truncate(message.floor_char_boundary(MOST));
        message.push('…');
    }
    message
}
