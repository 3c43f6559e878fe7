//! Planning, while the consumers run: everything that can fail is tried here, so that no consumer
//! is stopped for a reset that cannot succeed.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::{ConditionType, GroupStatus, MAX_WARNINGS, PartitionOutcome, PartitionStatus, Phase, Reason, TargetStatus};
use crate::machine::{
    coordination::{queue, scaled_object},
    decision::Decision,
    facts::{KafkaSeen, PlanSeen, Seen, group},
    pass::{Pass, new_hold},
    plan::{
        self, acl_hints, drift, export,
        membership::{self, Membership},
        stoppable, warnings, workloads,
    },
    refusal::Refusal,
    request::Request,
    text::{Message, count, name, name_ref},
    time::later,
    totals::totals,
};

/// How long something that may heal by itself is tried again before the reset is refused.
pub const PLANNING_TIMEOUT: SignedDuration = SignedDuration::from_secs(30);

/// How soon it is tried again.
const RETRY: SignedDuration = SignedDuration::from_secs(2);

/// How soon it looks again whether another reset's plan is complete: planning takes a fraction of a
/// second.
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
        // Other resets cannot know the brokers that a binding names: only the cluster's id shows
        // that two work on one cluster.
        let message = Message::new("No broker reports the cluster's id, which spec.kafka.binding needs").detail(
            "Without it the operator cannot tell whether another OffsetReset works on the same group of the same cluster",
        );
        return refuse(pass, &[Refusal::passing(Reason::BrokerUnreachable, message)], None);
    }
    let plan = match plan::plan(request, seen) {
        Ok(plan) => plan,
        Err(refusals) => {
            let pending = refusals.iter().any(|refusal| refusal.reason == Reason::TransactionPending);
            let advice = acl_hints::advice(request, &pass.seen.kafka);
            let advice = advice.or_else(|| pending.then(|| export::end_transaction(request)));
            return refuse(pass, &refusals, advice);
        }
    };

    let refusals = membership::refusals(request, &seen.group, &pass.seen.targets, pass.now);
    // A dry run stops nothing, so it warns of what may heal and does not wait for it.
    if refusals.iter().any(|refusal| !(request.dry_run && refusal.transient)) {
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
    pass.status.warnings.extend(refusals.into_iter().map(|refusal| refusal.message.happened()));
    pass.status.warnings.extend(membership::warning(request, &seen.group, &pass.seen.targets));
    pass.status.warnings.extend(stoppable::warnings(request, &pass.seen.targets));
    let hidden = scaled_object::warnings(&pass);
    pass.status.warnings.extend(hidden);
    pass.status.warnings.truncate(MAX_WARNINGS);
    pass.status.plan_time = Some(Time(pass.now));
    let message = summary(&pass, seen);
    pass.condition(ConditionType::Planned, Some(true), Reason::PlanMade, planned(&pass, seen));
    if request.dry_run {
        let message = Message::new(format!("Dry run: {}", message.summary()))
            .detail(message.details().unwrap_or_default())
            .detail("Nothing was changed, and the consumers keep running")
            .advice("To run the reset, set dryRun to false; the plan is then made again");
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
        let other = format!("{}/{}", other.namespace, other.name);
        let message = Message::naming([&other], |[other]| format!("Waiting for the plan of OffsetReset {other}"))
            .detail("One stop of the consumers then serves both; until then they keep running")
            .and(&message);
        return pass.wait(Reason::WaitingForOtherReset, message, SIBLING);
    }
    pass.status.hold = Some(new_hold(pass.now, request.hold_timeout));
    pass.note(false, Reason::PlanMade, message.full(), None);
    for warning in pass.status.warnings.clone() {
        pass.note(true, Reason::PlanMade, warning, None);
    }
    let message = Message::new("The plan is complete, and the consumers are being stopped").and(&message);
    pass.go_on(Phase::Stopping, Reason::PlanMade, message)
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
        let message = Message::new(match count {
            1 => "The committed offset is already as requested, so there was nothing to change".to_owned(),
            _ => format!("All {count} committed offsets are already as requested, so there was nothing to change"),
        })
        .detail("No offset was changed and no consumer was stopped; those that run continue from their own position");
        return Some(pass.take().finish(Phase::Succeeded, Reason::NothingToChange, message));
    }
    let message = Message::new("No partition would be reset, because outOfRange: Skip leaves all as they are")
        .detail(format!("The targets of all {count} partitions are out of range or already committed"))
        .detail(NOTHING_TOUCHED)
        .advice("Look at the plan with dryRun: true, then correct resets and create the reset under a new name");
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
            let recorded_hold = match pass.seen.holds.get(index) {
                Some(Seen::Unknown(why)) => {
                    let message = Message::naming([&name_ref(target)], |[name]| format!("The Lease of {name} cannot be read"))
                        .detail("It shows which resets hold the workload at zero")
                        .detail(why);
                    refusals.push(Refusal::passing(Reason::TargetUnreachable, message));
                    continue;
                }
                Some(Seen::Known(hold)) if workload.replicas == 0 && hold.uid == workload.uid => Some(hold),
                Some(Seen::Known(_) | Seen::Missing) | None => None,
            };
            let mut planned = TargetStatus::new(target, &workload.uid);
            match recorded_hold {
                Some(hold) => planned.take_from(hold),
                None => planned.found_with(workload.replicas),
            }
            let autoscaler = pass.seen.autoscalers.get(index);
            refusals.extend(scaled_object::refusal(autoscaler, &name_ref(target), planned.original_replicas != 0));
            planned.autoscaler = scaled_object::recorded(autoscaler);
            targets.push(planned);
        }
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    if targets.len() < request.targets.len() {
        return Err(vec![Refusal::passing(Reason::TargetUnreachable, "Not every target could be read")]);
    }
    Ok(targets)
}

/// What a refusal in planning means for the consumers.
const NOTHING_TOUCHED: &str = "Nothing was stopped and no offset was changed";

/// No plan: tried again for a while when it may heal, refused otherwise. The reasons that will not
/// heal come first; `advice` comes last, for it may be a command.
fn refuse(mut pass: Pass<'_>, refusals: &[Refusal], advice: Option<String>) -> Decision {
    let (lasting, passing): (Vec<&Refusal>, Vec<&Refusal>) = refusals.iter().partition(|refusal| !refusal.transient);
    let mut in_order = lasting.iter().chain(&passing);
    let Some(first) = in_order.next() else { return pass.again() };
    let message = in_order.fold(first.message.clone(), |message, other| message.and(&other.message));
    let rollout = refusals.iter().find(|refusal| refusal.reason == Reason::WaitingForRollout);
    // While a rollout is in progress nothing else has to be well; what is wrong then gets its own time.
    let since = if rollout.is_some() { pass.phase_start() } else { pass.rollout_end() };
    let patience = refusals.iter().map(|refusal| refusal.patience.unwrap_or(PLANNING_TIMEOUT)).max().unwrap_or(PLANNING_TIMEOUT);
    if lasting.is_empty() && pass.now < later(since, patience) {
        pass.status.rollout_seen_time = rollout.map(|_| pass.instant()).or(pass.status.rollout_seen_time.take());
        let planned = format!("There is no plan yet ({}); it is made again every two seconds", first.reason);
        pass.condition(ConditionType::Planned, Some(false), first.reason, planned);
        return pass.wait(first.reason, message.detail("The operator tries again, and the consumers keep running"), RETRY);
    }
    let planned = match lasting.len() {
        0 => format!("There is no plan: the operator tried for {} seconds", patience.as_secs()),
        1 => "There is no plan: one problem has to be corrected".to_owned(),
        many => format!("There is no plan: {many} problems have to be corrected"),
    };
    pass.condition(ConditionType::Planned, Some(false), first.reason, planned);
    let tried = if lasting.is_empty() { "Several attempts had the same result" } else { "" };
    let message = message.detail(tried).detail(NOTHING_TOUCHED).advice(advice.unwrap_or_default());
    let what_to_do = if message.what_to_do().is_some() { "" } else { "Correct the cause and create the reset under a new name" };
    pass.finish(Phase::Failed, first.reason, message.advice(what_to_do))
}

/// The effect of the plan, in numbers.
fn summary(pass: &Pass<'_>, seen: &PlanSeen) -> Message {
    let totals = totals(&pass.status.partitions);
    let planned = count(totals.partitions - totals.left_alone, "partition", "partitions");
    let message = Message::new(format!("{planned}: {} records to replay, {} to skip", totals.replayed, totals.skipped));
    let clamped = count(totals.clamped, "target offset was moved", "target offsets were moved");
    let message = if totals.clamped > 0 { message.detail(format!("{clamped} into the log's range")) } else { message };
    let left_alone = count(totals.left_alone, "partition is", "partitions are");
    let message = if totals.left_alone > 0 { message.detail(format!("{left_alone} left unchanged")) } else { message };
    let members = count(group::members(&seen.group), "member", "members");
    let message = message.detail(format!("The group is {} with {members}", group::state_name(&seen.group)));
    let drift = pass.status.drift.as_ref().map(drift::describe).unwrap_or_default();
    let warnings = match pass.status.warnings.len() {
        0 => String::new(),
        many => format!("{} in status.warnings", count(many, "warning is", "warnings are")),
    };
    message.detail(drift).detail(warnings)
}

/// The milestone: what was planned from.
fn planned(pass: &Pass<'_>, seen: &PlanSeen) -> String {
    let all = count(pass.status.partitions.len(), "partition", "partitions");
    let members = count(group::members(&seen.group), "member", "members");
    format!("The plan covers {all}; when it was made, the group was {} with {members}", group::state_name(&seen.group))
}
