//! Planning, while the consumers run: everything that can fail is tried here, so that nothing is stopped for a reset that cannot be.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    Decision, group,
    observed::{KafkaSeen, PlanSeen, Seen},
    pass::{Pass, later, new_hold},
    plan::{self, Refusal},
    request::Request,
};
use crate::api::{ConditionType, Phase, Reason, TargetStatus};

/// How long something that may heal by itself is tried again before the reset is refused.
pub const PLANNING_TIMEOUT: SignedDuration = SignedDuration::from_secs(30);

/// How soon it is tried again.
const RETRY: SignedDuration = SignedDuration::from_secs(2);

pub(super) fn decide(mut pass: Pass<'_>, request: &Request) -> Decision {
    let targets = match targets(&pass, request) {
        Ok(targets) => targets,
        Err(refusals) => return refuse(pass, &refusals),
    };
    let seen = match &pass.seen.kafka {
        KafkaSeen::ForPlan(seen) => seen,
        KafkaSeen::Failed(error) => {
            let refusal = Refusal::from_kafka(error, "");
            return refuse(pass, &[refusal]);
        }
        KafkaSeen::NotAsked | KafkaSeen::Group(_) | KafkaSeen::ForCommit(_) => return pass.again(),
    };
    let partitions = match plan::plan(request, seen) {
        Ok(partitions) => partitions,
        Err(refusals) => return refuse(pass, &refusals),
    };

    pass.status.group = Some(group::status(&seen.group, None, &pass.pods()));
    pass.status.targets = targets;
    pass.status.partitions = partitions;
    pass.status.plan_time = Some(Time(pass.now));
    pass.status.hold = Some(new_hold(pass.now, request.hold_timeout));
    let message = summary(&pass, seen);
    pass.condition(ConditionType::Planned, Some(true), Reason::PlanMade, &message);
    pass.note(false, Reason::PlanMade, &message, None);
    pass.go_on(Phase::Stopping, Reason::PlanMade, format!("{message}. The consumers are being stopped"))
}

/// The targets with their replicas, as read live.
fn targets(pass: &Pass<'_>, request: &Request) -> Result<Vec<TargetStatus>, Vec<Refusal>> {
    let mut targets = vec![];
    let mut refusals = vec![];
    for (target, seen) in request.targets.iter().zip(&pass.seen.targets) {
        let name = format!("{}/{}", target.kind, target.name);
        let refusal = match seen {
            Seen::Known(workload) => match &workload.refusal {
                None => {
                    targets.push(TargetStatus {
                        api_version: target.api_version.clone(),
                        kind: target.kind.clone(),
                        name: target.name.clone(),
                        uid: workload.uid.clone(),
                        original_replicas: workload.replicas,
                        stop_requested: false,
                        stopped: false,
                        scaled_up_by_others: 0,
                        restored: None,
                        ready_pods: None,
                    });
                    continue;
                }
                Some(why) => (Reason::TargetUnreachable, format!("{name} cannot be scaled: {why}"), false),
            },
            Seen::Missing => {
                (Reason::TargetNotFound, format!("{name} does not exist in this namespace. Check spec.targetRefs"), false)
            }
            Seen::Unknown(why) => (Reason::TargetUnreachable, format!("{name} could not be read: {why}"), true),
        };
        refusals.push(Refusal { reason: refusal.0, message: refusal.1, transient: refusal.2 });
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    if targets.len() < request.targets.len() {
        let message = "not every target was looked at".to_owned();
        return Err(vec![Refusal { reason: Reason::TargetUnreachable, message, transient: true }]);
    }
    Ok(targets)
}

/// No plan: tried again for a while when it may heal, refused otherwise. The reasons that will not heal come first.
fn refuse(mut pass: Pass<'_>, refusals: &[Refusal]) -> Decision {
    let lasting = refusals.iter().find(|refusal| !refusal.transient);
    let Some(first) = lasting.or_else(|| refusals.first()) else { return pass.again() };
    let message = refusals.iter().map(|refusal| refusal.message.as_str()).collect::<Vec<_>>().join("; ");
    let message = shorten(message);
    let give_up = later(pass.phase_start(), PLANNING_TIMEOUT);
    if lasting.is_some() || pass.now >= give_up {
        let refused = if lasting.is_some() { "refused" } else { "refused after several attempts" };
        let message = format!("{refused}: {message}. Nothing was stopped and no offset was changed");
        pass.condition(ConditionType::Planned, Some(false), first.reason, &message);
        return pass.finish(Phase::Failed, first.reason, message);
    }
    let message = format!("{message}. It is tried again; the consumers run");
    pass.condition(ConditionType::Planned, Some(false), first.reason, &message);
    pass.wait(first.reason, message, RETRY)
}

fn summary(pass: &Pass<'_>, seen: &PlanSeen) -> String {
    let totals = plan::totals(&pass.status.partitions);
    let clamped = if totals.clamped > 0 { format!(", {} of them clamped into the log", totals.clamped) } else { String::new() };
    let members = group::members(&seen.group);
    format!(
        "planned {} partitions{clamped}: {} records to be consumed again, {} skipped; the group is {} with {members} members",
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
