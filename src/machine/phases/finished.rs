//! After the end: nothing is stopped or committed any more; the operator only watches whether the
//! consumers resume.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::api::{ConditionType, OffsetResetStatus, Phase, Reason, Restored};
use crate::machine::{
    decision::{Decision, Effect},
    facts::{KafkaSeen, Seen, group},
    pass::Pass,
    text::{count, name},
    time::{clock, later},
};

/// How long pods may take to become ready, and members to return to the group, until the status
/// reports that they did not.
pub const RESUME_TIMEOUT: SignedDuration = SignedDuration::from_mins(5);

/// How soon it looks again: pods are watched, but the broker has to be asked for the members.
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
        let message = format!("All pods are ready, and the group has {}", count(members, "member", "members"));
        pass.condition(ConditionType::ConsumersResumed, Some(true), Reason::ConsumersReady, &message);
        pass.note(false, Reason::ConsumersReady, message, None);
        return pass.wait_for_change();
    }
    let missing = missing.join("; ");
    if pass.now >= deadline {
        let message = format!(
            "Five minutes after the restore at {} the consumers are not all back: {missing}. The replica counts are restored, and the \
             offsets are as this status reports. Look at the pods' status and logs",
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
        format!(
            "The replicas are restored, and the consumers are starting: {missing}. The operator watches them until {deadline}"
        ),
    );
    pass.look_again(LOOK_AGAIN)
}

/// What is still missing; the texts do not change while nothing changes.
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
                missing.push(format!("{} could not be read", name(target)));
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
                missing.push(format!("{} of {expected} members are in the group", status.members));
            } else if expected > 0 && group::is_rebalancing(seen) {
                missing.push("the group is rebalancing".to_owned());
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

/// Whether a finished reset is still watched, because its consumers may not have resumed yet.
#[must_use]
pub fn needs_a_look(status: &OffsetResetStatus) -> bool {
    status.phase.is_some_and(Phase::is_terminal)
        && status
            .conditions
            .iter()
            .any(|condition| condition.type_ == ConditionType::ConsumersResumed.as_str() && condition.status == "Unknown")
}
