//! Restoring: the original replicas back, whatever the outcome was. Needs no Kafka, and no spec that can be parsed.

use jiff::SignedDuration;

use super::{
    Decision, Effect,
    observed::Seen,
    pass::{Pass, name},
    sharing,
};
use crate::api::{ActionKind, ConditionType, Reason, Restored};

/// How soon it is tried again. There is no limit: consumers at zero are what must not last.
const RETRY: SignedDuration = SignedDuration::from_secs(1);

/// How soon it looks again whether another reset still needs the workload at zero.
const SHARED: SignedDuration = SignedDuration::from_millis(500);

pub(super) fn decide(mut pass: Pass<'_>) -> Decision {
    let mut unseen = false;
    let mut shared = None;
    for index in 0..pass.status.targets.len() {
        if pass.status.targets[index].restored.is_some() {
            continue;
        }
        let target = &pass.status.targets[index];
        let restored = match pass.seen.targets.get(index) {
            None | Some(Seen::Unknown(_)) => {
                unseen = true;
                continue;
            }
            Some(Seen::Missing) => Restored::Gone,
            Some(Seen::Known(workload)) if workload.uid != target.uid => Restored::Replaced,
            Some(Seen::Known(_)) if !target.stop_requested => Restored::NotStopped,
            Some(Seen::Known(workload)) if workload.replicas == target.original_replicas => Restored::Original,
            Some(Seen::Known(workload)) if workload.replicas == 0 => {
                if let Some(other) = sharing::still_needed_by(&pass.seen.uid, &workload.uid, &pass.seen.others) {
                    shared = Some(format!(
                        "{}, which OffsetReset {}/{} still needs at zero",
                        name(target),
                        other.namespace,
                        other.name
                    ));
                    continue;
                }
                let effect = Effect::Scale {
                    target: index,
                    resource_version: workload.resource_version.clone(),
                    replicas: target.original_replicas,
                    kind: ActionKind::Restore,
                };
                return pass.act(effect);
            }
            Some(Seen::Known(_)) => Restored::LeftAsScaledByOthers,
        };
        note(&mut pass, index, restored);
        pass.status.targets[index].restored = Some(restored);
    }
    if unseen {
        let problem = pass.unseen_target().unwrap_or_else(|| "a target was not looked at".to_owned());
        let message = format!("the replicas cannot be put back yet: {problem}. It is tried again until it is done");
        pass.condition(ConditionType::ConsumersRestored, Some(false), Reason::TargetUnreachable, &message);
        return pass.wait(Reason::TargetUnreachable, message, RETRY);
    }
    if let Some(shared) = shared {
        let outcome = pass.status.verdict.as_ref().map(|verdict| format!(". {}", verdict.message)).unwrap_or_default();
        let message = format!("waits with {shared}: the replicas come back when that one is done{outcome}");
        pass.condition(ConditionType::ConsumersRestored, Some(false), Reason::WaitingForOther, &message);
        return pass.wait(Reason::WaitingForOther, message, SHARED);
    }
    done(pass)
}

/// Every target has its replicas back, or must be left alone.
fn done(mut pass: Pass<'_>) -> Decision {
    let stopped = pass.status.targets.iter().any(|target| target.restored != Some(Restored::NotStopped));
    let ours = |restored: &Option<Restored>| matches!(restored, Some(Restored::Original | Restored::NotStopped));
    let left_alone: Vec<String> = pass
        .status
        .targets
        .iter()
        .filter(|target| !ours(&target.restored))
        .map(|target| format!("{} {}", name(target), words(target.restored)))
        .collect();
    let (reason, message) = if !left_alone.is_empty() {
        (Reason::TargetLeftAlone, left_alone.join("; "))
    } else if stopped {
        let counts: Vec<String> = pass
            .status
            .targets
            .iter()
            .map(|target| format!("{} has {} replicas", name(target), target.original_replicas))
            .collect();
        (Reason::ReplicasAccepted, counts.join("; "))
    } else {
        (Reason::NothingStopped, "nothing was stopped".to_owned())
    };
    pass.condition(ConditionType::ConsumersRestored, Some(true), reason, message);
    let returning =
        pass.status.targets.iter().any(|target| target.restored == Some(Restored::Original) && target.original_replicas > 0);
    if returning {
        let message = "the replicas are back; the pods are not all ready yet, or the members not all in the group";
        pass.condition(ConditionType::ConsumersResumed, None, Reason::WaitingForConsumers, message);
    } else {
        let message = "no target was brought back from zero by this reset";
        pass.condition(ConditionType::ConsumersResumed, Some(true), Reason::NoComebackExpected, message);
    }
    pass.complete()
}

/// The restore was refused: said, and tried again.
pub(super) fn refused(mut pass: Pass<'_>, index: usize, why: &str) -> Decision {
    let (name, count) = pass.status.targets.get(index).map(|target| (name(target), target.original_replicas)).unwrap_or_default();
    let message = format!(
        "{name} could not be put back to {count} replicas: {why}. It is tried again; to bring it back by hand, scale it to {count}"
    );
    pass.condition(ConditionType::ConsumersRestored, Some(false), Reason::TargetUnreachable, &message);
    pass.note(true, Reason::TargetUnreachable, &message, Some(index));
    pass.wait(Reason::TargetUnreachable, message, RETRY)
}

fn note(pass: &mut Pass<'_>, index: usize, restored: Restored) {
    let target = &pass.status.targets[index];
    let (warning, reason) = match restored {
        Restored::NotStopped => return,
        Restored::Original => (false, Reason::ReplicasAccepted),
        Restored::LeftAsScaledByOthers | Restored::Gone | Restored::Replaced => (true, Reason::TargetLeftAlone),
    };
    let message = match restored {
        Restored::Original => format!("put back to {} replicas", target.original_replicas),
        other => format!("{} {}", name(target), words(Some(other))),
    };
    let on = (restored != Restored::Gone).then_some(index);
    pass.note(warning, reason, message, on);
}

fn words(restored: Option<Restored>) -> &'static str {
    match restored {
        Some(Restored::Original) => "has its replicas back",
        Some(Restored::NotStopped) | None => "was not stopped",
        Some(Restored::LeftAsScaledByOthers) => "was left at the count that somebody else had set meanwhile",
        Some(Restored::Gone) => "does not exist any more",
        Some(Restored::Replaced) => "was deleted and created anew, and was left alone",
    }
}
