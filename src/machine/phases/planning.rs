//! Planning, while the consumers run: everything that can fail is tried here, so that no consumer
//! is stopped for a reset that cannot succeed.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

use super::resetting::name_receipt;
use crate::api::{
    ConditionType, ForecastStatus, ForecastUnknown, GroupStatus, PartitionOutcome, PartitionStatus, Phase, Position, Reason,
    TargetStatus,
};
use crate::machine::{
    coordination::{queue, receipt, scaled_object},
    decision::Decision,
    facts::{KafkaSeen, PlanSeen, Pod, Seen, group, new_hold},
    pass::Pass,
    plan::{
        self, acl_hints, canary, drift, export, forecast,
        members::Membership,
        membership, stoppable,
        warnings::{self, Findings},
        workloads,
    },
    refusal::Refusal,
    request::Request,
    text::{Message, count, dry_run, name, name_ref},
    time::{clock, later},
    totals::totals,
};

/// How long something that may heal by itself is tried again before the reset is refused.
pub const PLANNING_TIMEOUT: SignedDuration = SignedDuration::from_secs(30);

/// How soon it is tried again: soon at first, and less often the longer it takes. A session or a rollout may take half an hour, and each
/// attempt reads the whole plan.
const RETRY: SignedDuration = SignedDuration::from_secs(2);
const SLOWEST_RETRY: SignedDuration = SignedDuration::from_secs(10);

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
            let refusal = Refusal::of_cluster(error, "", &request.kafka);
            let advice = acl_hints::advice(request, &pass.seen.kafka);
            return refuse(pass, &[refusal], advice);
        }
        KafkaSeen::NotAsked | KafkaSeen::Group(_) | KafkaSeen::ForCommit(_) | KafkaSeen::AfterReset(_) => return pass.again(),
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

    let forecast = forecast::forecast(request, &plan.partitions, seen, pass.now);
    // A run that does not measure keeps what its dry run has measured.
    let is_measured = |known: &ForecastStatus| known.total.unknown != Some(ForecastUnknown::NotMeasured);
    if forecast::measures(request) || !pass.status.forecast.as_ref().is_some_and(is_measured) {
        pass.status.forecast = forecast.status;
    }
    let mut refusals =
        membership::refusals(request, &seen.group, &pass.seen.targets, &pass.seen.foreign_pods, seen.session_timeout, pass.now);
    refusals.extend(forecast.refusal);
    // A dry run stops nothing, so it warns of what may heal and does not wait for it.
    if refusals.iter().any(|refusal| !(request.dry_run && refusal.transient)) {
        return refuse(pass, &refusals, None);
    }
    let first = pass.status.plan_time.is_none();
    if let Some(drift) = pass.status.drift.as_mut().filter(|_| first) {
        *drift = drift::compare(drift, &pass.status.partitions, &plan.partitions);
    }
    let group = group::status(&seen.group, None, &pass.pods());
    let expected = Membership::of(&seen.group, &pass.seen.targets).expected(&pass.seen.targets, request.settling(), pass.now);
    let expected = i32::try_from(expected).unwrap_or(i32::MAX);
    let replicas = targets.iter().map(|target| target.original_replicas).fold(0, i32::saturating_add);
    pass.status.group = Some(GroupStatus {
        cluster_id: seen.cluster_id.clone(),
        session_timeout_ms: seen.session_timeout.and_then(|timeout| i64::try_from(timeout.as_millis()).ok()),
        expected_members: Some(expected),
        expected_of_replicas: Some(replicas),
        ..group
    });
    pass.status.canary = canary::planned(request, &targets);
    pass.status.targets = targets;
    let hidden = scaled_object::warnings(&pass);
    let autoscalers = [hidden, warnings::canary::of_autoscalers(request, &pass.status.targets, &pass.seen.targets)].concat();
    let earlier_run = receipt::warning(pass.seen.receipt.as_ref(), request);
    let findings = Findings { passing: &refusals, earlier_run, autoscalers, forecast: forecast.warnings };
    pass.status.warnings = warnings::warnings(request, &plan, seen, pass.seen, findings, pass.now);
    pass.status.partitions = plan.partitions;
    pass.status.partitions_omitted = 0;
    pass.status.plan_time = Some(Time(pass.now));
    let message = summary(&pass, seen).detail(forecast.summary);
    pass.condition(ConditionType::Planned, Some(true), Reason::PlanMade, planned(&pass, seen));
    if request.dry_run {
        let message = Message::new(dry_run(pass.status.warnings.len(), message.summary()))
            .detail(message.details().unwrap_or_default())
            .detail("Nothing was changed, and the consumers keep running")
            .advice("To run the reset, set dryRun to false; the plan is then made again");
        return pass.finish(Phase::Planned, Reason::DryRun, message);
    }
    if !may_have_moved_on(&pass, seen)
        && let Some(decision) = nothing_to_do(&mut pass)
    {
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
    // Recorded long before there is a receipt: one that was made right before the object changed is then settled all the same.
    name_receipt(&mut pass, request);
    pass.note(false, Reason::PlanMade, message.full(), None);
    for warning in pass.status.warnings.clone() {
        pass.note(true, Reason::PlanMade, warning, None);
    }
    let message = Message::new("The plan is complete, and the consumers are being stopped").and(&message);
    pass.go_on(Phase::Stopping, Reason::PlanMade, message)
}

/// Whether consumers that run may consume from beyond a committed offset that is the target already: they commit their position from
/// time to time only, and only a stop takes them back to the target. At the end of the log no position is beyond.
fn may_have_moved_on(pass: &Pass<'_>, seen: &PlanSeen) -> bool {
    let stands = |planned: &PartitionStatus| {
        planned.outcome != PartitionOutcome::Unchanged
            || planned.requested_position == Some(Position::Current)
            || planned.target_offset.is_some_and(|target| target >= planned.log_end)
    };
    // A pod without an address has no container that could have consumed.
    let runs = |pod: &&Pod| !pod.terminated && !pod.ips.is_empty();
    let consumers_run = group::members(&seen.group) > 0 || pass.pods().iter().any(runs);
    consumers_run && !pass.status.partitions.iter().all(stands)
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
                None => planned.found_as(workload),
            }
            let autoscaler = pass.seen.autoscalers.get(index);
            refusals.extend(scaled_object::refusal(autoscaler, &name_ref(target), planned.original_replicas != 0));
            planned.autoscaler = scaled_object::recorded(autoscaler);
            planned.ordered_min_ready_seconds = workload.details.ordered.then_some(workload.details.min_ready_seconds);
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
    // Planning begins anew after a wait with time of its own: what is wrong now was not looked at meanwhile.
    let after_a_wait = [Reason::WaitingForRollout, Reason::GroupHasNoMembers, Reason::GroupShared]
        .into_iter()
        .any(|waited| pass.status.reason == Some(waited) && refusals.iter().all(|refusal| refusal.reason != waited));
    // Pods without members are seen for the first time: they are looked at for a while, whatever was waited for before.
    let first_without_members = first.reason == Reason::GroupHasNoMembers && pass.status.reason != Some(first.reason);
    if after_a_wait || first_without_members {
        pass.status.phase_start_time = Some(pass.instant());
    }
    let since = pass.phase_start();
    let patience = refusals.iter().map(|refusal| refusal.patience.unwrap_or(PLANNING_TIMEOUT)).max().unwrap_or(PLANNING_TIMEOUT);
    if lasting.is_empty() && pass.now < later(since, patience) {
        let planned = format!("There is no plan yet ({}); it is made again every few seconds", first.reason);
        pass.condition(ConditionType::Planned, Some(false), first.reason, planned);
        let waiting = |refusal: &Refusal| refusal.waiting.clone().unwrap_or_else(|| refusal.message.clone());
        let message = in_order.fold(waiting(first), |message, other| message.and(&waiting(other)));
        let end = later(since, patience);
        let until = clock(&MicroTime(end));
        let message = message.detail(format!("The operator tries again until {until}, and the consumers keep running"));
        let retry = (pass.now.duration_since(since) / 10).clamp(RETRY, SLOWEST_RETRY).min(end.duration_since(pass.now));
        return pass.wait(first.reason, message, retry);
    }
    let message = in_order.fold(first.message.clone(), |message, other| message.and(&other.message));
    let planned = match lasting.len() {
        0 => format!("There is no plan: the operator tried for {} seconds", patience.as_secs()),
        1 => "There is no plan: one problem has to be corrected".to_owned(),
        many => format!("There is no plan: {many} problems have to be corrected"),
    };
    // What was waited for is no reason of an end.
    let reason = if first.reason == Reason::WaitingForRollout { Reason::RolloutIncomplete } else { first.reason };
    pass.condition(ConditionType::Planned, Some(false), reason, planned);
    let tried = if lasting.is_empty() { "Several attempts had the same result" } else { "" };
    let message = message.detail(tried).detail(NOTHING_TOUCHED).advice(advice.unwrap_or_default());
    let what_to_do = if message.what_to_do().is_some() { "" } else { "Correct the cause and create the reset under a new name" };
    pass.finish(Phase::Failed, reason, message.advice(what_to_do))
}

/// The effect of the plan, in numbers.
fn summary(pass: &Pass<'_>, seen: &PlanSeen) -> Message {
    let totals = totals(&pass.status.partitions);
    let planned = count(totals.partitions - totals.left_alone, "partition", "partitions");
    let replayed = count(totals.replayed, "record", "records");
    let message = Message::new(format!("{planned}: {replayed} to replay, {} to skip", totals.skipped));
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
    let canary = pass.status.canary.as_ref().map(|canary| canary.message.clone()).unwrap_or_default();
    message.detail(drift).detail(canary).detail(warnings)
}

/// The milestone: what was planned from.
fn planned(pass: &Pass<'_>, seen: &PlanSeen) -> String {
    let all = count(pass.status.partitions.len(), "partition", "partitions");
    let members = count(group::members(&seen.group), "member", "members");
    format!("The plan covers {all}; when it was made, the group was {} with {members}", group::state_name(&seen.group))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{
        api::Reason,
        machine::{
            decide,
            facts::{ForeignPod, GroupState, Observed, Rollout, Workload, WorkloadDetails},
            request::{Entry, Goal, Partitions, Scope, Work},
            tests::{at, group_in, plan_seen, pod, request, seen, status_in, workload},
        },
    };

    /// Three members, of which the pods of the target have the addresses of two.
    fn with_a_member_elsewhere(details: WorkloadDetails) -> Observed {
        let ips = ["10.0.0.0", "10.0.0.1"].map(str::to_owned).to_vec();
        let Seen::Known(found) = workload(1, vec![Pod { ips, ..pod("c", false) }]) else { unreachable!() };
        seen(Seen::Known(Workload { details, ..found }), KafkaSeen::ForPlan(Box::new(plan_seen())))
    }

    #[rstest]
    #[case::soon_at_first(1, 2_000)]
    #[case::less_often_later(35, 3_500)]
    #[case::at_the_end(48, 2_000)]
    fn a_member_elsewhere_is_waited_for_and_the_status_says_until_when(#[case] now: i64, #[case] retry: i64) {
        let observed = with_a_member_elsewhere(WorkloadDetails::default());
        let decision = decide(Ok(&request()), &status_in(Phase::Planning), &observed, at(now));
        assert_eq!((decision.status.phase, decision.status.reason), (Some(Phase::Planning), Some(Reason::GroupShared)));
        let said = decision.status.explanation();
        assert!(said.starts_with("Waiting for 1 member that runs outside the target pods to leave the group"), "{said}");
        assert!(said.contains("The operator tries again until 2027-01-15T08:00:50Z, and the consumers keep running"), "{said}");
        assert_eq!(decision.requeue.unwrap().as_millis(), i128::from(retry));
    }

    #[test]
    fn a_member_that_is_still_elsewhere_after_a_session_is_refused() {
        let observed = with_a_member_elsewhere(WorkloadDetails::default());
        let status = decide(Ok(&request()), &status_in(Phase::Planning), &observed, at(50)).status;
        let outcome = status.outcome.clone().unwrap();
        assert_eq!((outcome.phase, outcome.reason), (Phase::Failed, Reason::GroupShared));
        assert_eq!(outcome.message, "1 member runs outside the target pods, so stopping the targets would not empty the group");
    }

    #[test]
    fn a_member_in_a_pod_of_another_workload_is_refused_at_once() {
        let pod =
            ForeignPod { name: "other-1".into(), controller: None, ips: vec!["10.0.0.2".into()], running_since: Some(at(-60)) };
        let observed = Observed { foreign_pods: vec![pod], ..with_a_member_elsewhere(WorkloadDetails::default()) };
        let outcome = decide(Ok(&request()), &status_in(Phase::Planning), &observed, at(1)).status.outcome.unwrap();
        assert_eq!((outcome.phase, outcome.reason), (Phase::Failed, Reason::GroupShared));
        assert_eq!(outcome.message, "1 member runs in Pod/other-1, so the group would not become empty");
    }

    /// A rollout of the target is in progress; every member runs in its pods.
    fn in_a_rollout() -> Observed {
        let rollout = Rollout::Progressing { pods: "1 of 4 pods have its newest revision".into(), deadline: None };
        let Seen::Known(found) = workload(3, vec![pod("c", false)]) else { unreachable!() };
        let details = WorkloadDetails { rollout, ..WorkloadDetails::default() };
        seen(Seen::Known(Workload { details, ..found }), KafkaSeen::ForPlan(Box::new(plan_seen())))
    }

    #[rstest]
    #[case::in_time(599, Phase::Planning, Reason::WaitingForRollout)]
    #[case::not_in_time(600, Phase::Failed, Reason::RolloutIncomplete)]
    fn a_rollout_is_waited_for_as_long_as_it_may_take(#[case] now: i64, #[case] phase: Phase, #[case] reason: Reason) {
        let status = decide(Ok(&request()), &status_in(Phase::Planning), &in_a_rollout(), at(now)).status;
        let outcome = status.outcome.as_ref().map(|outcome| (outcome.phase, outcome.reason));
        assert_eq!(outcome.or(status.phase.zip(status.reason)), Some((phase, reason)), "{}", status.explanation());
    }

    #[test]
    fn after_a_rollout_what_is_wrong_then_gets_time_of_its_own() {
        let waiting = decide(Ok(&request()), &status_in(Phase::Planning), &in_a_rollout(), at(500)).status;
        let unreachable = || {
            let error = crate::machine::tests::error(crate::machine::facts::KafkaErrorKind::Unreachable);
            seen(workload(3, vec![pod("c", false)]), KafkaSeen::Failed(error))
        };
        let first = decide(Ok(&request()), &waiting, &unreachable(), at(510)).status;
        assert_eq!((first.phase, first.reason), (Some(Phase::Planning), Some(Reason::BrokerUnreachable)));
        let still = decide(Ok(&request()), &first, &unreachable(), at(539)).status;
        assert_eq!(still.outcome, None);
        assert!(decide(Ok(&request()), &still, &unreachable(), at(541)).status.outcome.is_some());
    }

    #[test]
    fn after_a_wait_for_members_a_broker_that_does_not_answer_gets_time_of_its_own() {
        let waiting =
            decide(Ok(&request()), &status_in(Phase::Planning), &with_a_member_elsewhere(WorkloadDetails::default()), at(45))
                .status;
        assert_eq!(waiting.reason, Some(Reason::GroupShared));
        let error = crate::machine::tests::error(crate::machine::facts::KafkaErrorKind::Unreachable);
        let observed = seen(workload(3, vec![pod("c", false)]), KafkaSeen::Failed(error));
        let first = decide(Ok(&request()), &waiting, &observed, at(46)).status;
        assert_eq!((first.phase, first.reason), (Some(Phase::Planning), Some(Reason::BrokerUnreachable)));
        assert!(decide(Ok(&request()), &first, &observed, at(76)).status.outcome.is_some());
    }

    #[test]
    fn what_may_harm_consumers_is_warned_of_first() {
        let rollout = Rollout::Progressing { pods: "1 of 4 pods have its newest revision".into(), deadline: None };
        let details = WorkloadDetails { rollout, unset: Some(1), unseen: Some("forbidden".into()), ..WorkloadDetails::default() };
        let mut observed = with_a_member_elsewhere(details);
        let KafkaSeen::ForPlan(plan) = &mut observed.kafka else { unreachable!() };
        plan.committed.insert(crate::machine::tests::tp(1), Ok(None));
        (plan.access.group_read, plan.access.group_delete) = (None, Some(false));
        let topic = Entry { scope: Scope::Topic("orders".into()), partitions: Partitions::All, goal: Goal::Offset(10) };
        let request = Request { dry_run: true, work: Work::Entries(vec![topic]), ..request() };
        let status = decide(Ok(&request), &status_in(Phase::Planning), &observed, at(1)).status;
        let first_words: Vec<String> =
            status.warnings.iter().map(|warning| warning.split(' ').take(4).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            first_words,
            [
                "Deployment/consumer is in the",
                "1 member runs outside",
                "Deployment/consumer has no spec.replicas,",
                "Deployment/consumer: forbidden",
                "partition 1 of topic",
                "commit permission cannot be",
            ],
            "{:?}",
            status.warnings
        );
    }

    #[test]
    fn where_no_address_matches_there_is_one_warning_about_it() {
        let elsewhere = Pod { ips: vec!["10.9.9.9".into()], ..pod("c", false) };
        let plan = crate::machine::facts::PlanSeen { group: group_in(GroupState::Stable, 3), ..plan_seen() };
        let observed = seen(workload(1, vec![elsewhere]), KafkaSeen::ForPlan(Box::new(plan)));
        let status = decide(Ok(&request()), &status_in(Phase::Planning), &observed, at(1)).status;
        assert_eq!(status.phase, Some(Phase::Stopping), "{}", status.explanation());
        assert_eq!(status.warnings.len(), 1, "{:?}", status.warnings);
        assert!(status.warnings[0].starts_with("3 of 3 group members run outside the target pods"), "{:?}", status.warnings);
    }
}
