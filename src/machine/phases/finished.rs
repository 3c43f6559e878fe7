//! After the end: nothing is stopped or committed any more; it is only watched whether the consumers come back.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::api::{ConditionType, OffsetResetStatus, Phase, Reason, Restored};
use crate::machine::{
    decision::{Decision, Effect},
    facts::{KafkaSeen, Seen, group},
    pass::Pass,
    text::name,
    time::{clock, later},
};

/// How long the consumers may take to come back before the status says that they did not: pods ready, members in the group.
pub const RESUME_TIMEOUT: SignedDuration = SignedDuration::from_mins(5);

/// Pods are watched, members have to be asked for.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(1);

pub(in crate::machine) fn decide(mut pass: Pass<'_>) -> Decision {
    if pass.seen.finalizer {
        return pass.act(Effect::RemoveFinalizer);
    }
    if pass.seen.deleting || !needs_a_look(&pass.status) {
        return pass.wait_for_change();
    }
    let Some(end) = pass.status.hold.as_ref().and_then(|hold| hold.end_time.clone()) else { return pass.wait_for_change() };
    let deadline = later(end.0, RESUME_TIMEOUT);

    let missing = missing(&mut pass);
    if missing.is_empty() {
        let members = pass.status.group.as_ref().map_or(0, |group| group.members);
        let message = format!("all pods are ready and the group has {members} members");
        pass.condition(ConditionType::ConsumersResumed, Some(true), Reason::ConsumersReady, &message);
        pass.note(false, Reason::ConsumersReady, message, None);
        return pass.wait_for_change();
    }
    let missing = missing.join("; ");
    if pass.now >= deadline {
        let message = format!(
            "the consumers were put back at {}, and five minutes later: {missing}. Their pods' status and logs tell why; \
             the offsets stand as this status says",
            clock(&end)
        );
        pass.condition(ConditionType::ConsumersResumed, Some(false), Reason::ConsumersNotReady, &message);
        pass.note(true, Reason::ConsumersNotReady, message, None);
        return pass.wait_for_change();
    }
    let deadline = clock(&MicroTime(deadline));
    pass.condition(
        ConditionType::ConsumersResumed,
        None,
        Reason::WaitingForConsumers,
        format!("the replicas are back; {missing}; watched until {deadline}"),
    );
    pass.look_again(LOOK_AGAIN)
}

/// What is still missing, in words that do not change while nothing changes.
fn missing(pass: &mut Pass<'_>) -> Vec<String> {
    let mut missing = vec![];
    for index in 0..pass.status.targets.len() {
        let target = &mut pass.status.targets[index];
        if target.restored != Some(Restored::Original) || target.original_replicas == 0 {
            continue;
        }
        let ready = match pass.seen.targets.get(index) {
            Some(Seen::Known(workload)) if workload.uid == target.uid => {
                i32::try_from(workload.pods.iter().filter(|pod| pod.ready && pod.deletion.is_none()).count()).unwrap_or(i32::MAX)
            }
            Some(Seen::Missing | Seen::Known(_)) => {
                missing.push(format!("{} is gone", name(target)));
                continue;
            }
            Some(Seen::Unknown(_)) | None => {
                missing.push(format!("{} could not be looked at", name(target)));
                continue;
            }
        };
        target.ready_pods = Some(ready);
        if ready < target.original_replicas {
            missing.push(format!("{ready} of {} pods of {} are ready", target.original_replicas, name(target)));
        }
    }
    let expected = pass.status.group.as_ref().map_or(0, |group| group.expected_members.unwrap_or(group.members_before));
    match &pass.seen.kafka {
        KafkaSeen::Group(seen) => {
            let status = group::status(seen, pass.status.group.as_ref(), &pass.pods());
            if status.members < expected {
                missing.push(format!("{} of {expected} members are back in the group", status.members));
            } else if expected > 0 && group::is_rebalancing(seen) {
                missing.push("the group's members are still being called together".to_owned());
            }
            pass.status.group = Some(status);
        }
        KafkaSeen::NotAsked | KafkaSeen::Failed(_) | KafkaSeen::ForPlan(_) | KafkaSeen::ForCommit(_) if expected > 0 => {
            missing.push("the broker could not be asked for the group's members".to_owned());
        }
        KafkaSeen::NotAsked | KafkaSeen::Failed(_) | KafkaSeen::ForPlan(_) | KafkaSeen::ForCommit(_) => {}
    }
    missing
}

/// What a pass over a finished reset must look at: nothing at all, or the consumers that are to come back.
#[must_use]
pub fn needs_a_look(status: &OffsetResetStatus) -> bool {
    status.phase.is_some_and(Phase::is_terminal)
        && status
            .conditions
            .iter()
            .any(|condition| condition.type_ == ConditionType::ConsumersResumed.as_str() && condition.status == "Unknown")
}
