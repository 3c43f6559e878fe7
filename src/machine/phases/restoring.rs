//! Restoring: the original replicas back, whatever the outcome was, and then what scales them let go. Needs no Kafka, and no spec that can be parsed.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::api::{ActionKind, ConditionType, MAX_WARNINGS, Reason, Restored, TargetStatus};
use crate::machine::{
    coordination::{
        queue,
        scaled_object::{self, Letting},
    },
    decision::{Decision, Effect},
    facts::{Hold, Seen, Unscalable},
    guards::Guard,
    pass::Pass,
    text::name,
    time::later,
};

/// How soon it is tried again. There is no limit: consumers at zero are what must not last.
const RETRY: SignedDuration = SignedDuration::from_secs(1);

/// How soon it looks again whether another reset still needs the workload at zero.
const SHARED: SignedDuration = SignedDuration::from_millis(500);

/// For how long the API server must say that it serves a target's kind under no version, until that means that the target is gone: what
/// one of several API servers does not know yet, or not any more while it starts, is no answer.
const KIND_GONE: SignedDuration = SignedDuration::from_secs(30);

/// How many times a target may be refused its replicas before everything else goes first.
const REFUSED: i32 = 1;

/// What a target needs.
enum Step {
    /// It cannot be seen.
    Unseen,
    /// It has what it is to have.
    Settled(Restored),
    /// Another reset still needs it at zero.
    Shared(String),
    /// It is to be scaled.
    Scale(Effect),
}

pub(in crate::machine) fn decide(mut pass: Pass<'_>) -> Decision {
    adopt(&mut pass);
    let (mut unseen, mut shared) = (false, None);
    // One target whose restore is refused keeps no other one at zero: who was refused least goes first.
    let mut next: Option<(i32, Effect)> = None;
    for index in 0..pass.status.targets.len() {
        if pass.status.targets[index].restored.is_some() {
            continue;
        }
        let kind_gone = is_kind_gone(&mut pass, index);
        match step(&pass, index, kind_gone) {
            Step::Unseen => unseen = true,
            Step::Shared(by) => shared = Some(by),
            Step::Settled(restored) => {
                note(&mut pass, index, restored);
                pass.status.targets[index].restored = Some(restored);
            }
            Step::Scale(effect) => {
                let refusals = pass.status.targets[index].refusals;
                if next.as_ref().is_none_or(|(fewest, _)| refusals < *fewest) {
                    next = Some((refusals, effect));
                }
            }
        }
    }
    // What was refused before is tried again when nothing else is left to be done.
    let refused = match next {
        Some((refusals, effect)) if refusals < REFUSED => return pass.act(effect),
        Some((_, effect)) => Some(effect),
        None => None,
    };
    let letting = scaled_object::let_go(&mut pass);
    if let Letting::Act(effect) = letting {
        return pass.act(effect);
    }
    if let Some(effect) = release(&pass) {
        return pass.act(effect);
    }
    if let Some(effect) = refused {
        // Our own writes wake us: what was just refused is not asked for again before its time.
        if pass.was_just_tried(ActionKind::Restore, RETRY) {
            return pass.look_again(RETRY);
        }
        return pass.act(effect);
    }
    if unseen {
        let problem = pass.unseen_target().unwrap_or_else(|| "a target was not looked at".to_owned());
        let message = format!("the replicas cannot be put back yet: {problem}. It is tried again until it is done");
        pass.condition(ConditionType::ConsumersRestored, Some(false), Reason::TargetUnreachable, &message);
        return pass.wait(Reason::TargetUnreachable, message, RETRY);
    }
    if let Some(shared) = shared {
        let outcome = pass.status.outcome.as_ref().map(|outcome| format!(". {}", outcome.message)).unwrap_or_default();
        let message = format!("waits with {shared}: the replicas come back when that one is done{outcome}");
        pass.condition(ConditionType::ConsumersRestored, Some(false), Reason::WaitingForOtherReset, &message);
        return pass.wait(Reason::WaitingForOtherReset, message, SHARED);
    }
    if let Letting::Wait(message) = letting {
        return pass.wait(Reason::AutoscalerNotResumed, message, RETRY);
    }
    if let Some(effect) = settle(&pass) {
        return pass.act(effect);
    }
    done(pass)
}

/// What our claim says counts, also when the status does not know of it: it may have been wiped while the workload was held.
fn adopt(pass: &mut Pass<'_>) {
    for (index, target) in pass.status.targets.iter_mut().enumerate() {
        if let Some(Seen::Known(hold)) = pass.seen.holds.get(index)
            && !target.stop_requested
            && target.restored.is_none()
            && hold.uid == target.uid
            && hold.is_claimed_by(&pass.seen.uid)
        {
            target.stop_requested = true;
            target.original_replicas = hold.replicas;
        }
    }
}

/// Whether a target's kind has not been served, under no version, for long enough: with its definition all objects of a kind go, and then
/// nobody ever says of one that it does not exist.
fn is_kind_gone(pass: &mut Pass<'_>, index: usize) -> bool {
    let unserved = match pass.seen.unscalable.get(index) {
        Some(Some(Unscalable::Unknown { served })) => served.is_empty(),
        Some(Some(Unscalable::NotNamespaced | Unscalable::NoScale | Unscalable::OtherResource { .. }) | None) | None => false,
    };
    let since = &mut pass.status.targets[index].kind_gone_since;
    if !unserved {
        *since = None;
        return false;
    }
    let since = since.get_or_insert(MicroTime(pass.now)).0;
    pass.now >= later(since, KIND_GONE)
}

fn step(pass: &Pass<'_>, index: usize, kind_gone: bool) -> Step {
    let target = &pass.status.targets[index];
    let workload = match pass.seen.targets.get(index) {
        Some(Seen::Unknown(_)) if kind_gone => return Step::Settled(Restored::Gone),
        None | Some(Seen::Unknown(_)) => return Step::Unseen,
        Some(Seen::Missing) => return Step::Settled(Restored::Gone),
        Some(Seen::Known(workload)) => workload,
    };
    if Guard::SameWorkload.stops(workload.uid != target.uid) {
        return Step::Settled(Restored::Replaced);
    }
    if !target.stop_requested {
        return Step::Settled(Restored::NotStopped);
    }
    if workload.replicas == target.original_replicas {
        return Step::Settled(Restored::Original);
    }
    // A count that replaced our own zero is nobody's decision.
    let ours = Some(workload.replicas) == target.overridden_replicas;
    if Guard::StillAtZero.stops(workload.replicas != 0 && !ours) {
        return Step::Settled(Restored::LeftAsScaledByOthers);
    }
    if let Some(other) = queue::still_needed_by(&pass.seen.uid, &workload.uid, &pass.seen.others) {
        return Step::Shared(format!(
            "{}, which OffsetReset {}/{} still needs at zero",
            name(target),
            other.namespace,
            other.name
        ));
    }
    Step::Scale(Effect::Scale {
        target: index,
        resource_version: workload.resource_version.clone(),
        replicas: target.original_replicas,
        kind: ActionKind::Restore,
    })
}

/// Takes our claim out of the Lease of a target that has been decided on. One that cannot be read is not waited for: whoever cares for
/// Leases takes out the claims of resets that are over.
fn release(pass: &Pass<'_>) -> Option<Effect> {
    let uid = &pass.seen.uid;
    pass.status.targets.iter().enumerate().find_map(|(target, status)| {
        let Some(Seen::Known(hold)) = pass.seen.holds.get(target) else { return None };
        if status.restored.is_none() || status.lease_left || keeps_lease(status) || !hold.is_claimed_by(uid) {
            return None;
        }
        let claims = hold.claims.iter().filter(|claim| claim.uid != *uid).cloned().collect();
        Some(Effect::Release { target, hold: Hold { claims, ..hold.clone() } })
    })
}

/// Whether the Lease is still needed, because what scales the target was not let go.
fn keeps_lease(target: &TargetStatus) -> bool {
    scaled_object::is_held(target) || target.autoscaler.as_ref().is_some_and(|own| own.left)
}

/// Says in the receipt how the run has ended; one that has committed nothing for sure leaves none.
fn settle(pass: &Pass<'_>) -> Option<Effect> {
    pass.status.receipt.as_ref().filter(|receipt| !receipt.settled)?;
    // Somebody has taken it out of the status: then the receipt stays as it is.
    pass.status.outcome.as_ref()?;
    Some(Effect::SettleReceipt { keep: Guard::NothingCommitted.stops(pass.may_have_committed()) })
}

/// The receipt says it, or cannot.
pub(in crate::machine) fn settled(mut pass: Pass<'_>, refused: Option<&str>) -> Decision {
    if let Some(receipt) = &mut pass.status.receipt {
        receipt.settled = true;
        if let Some(why) = refused
            && pass.status.warnings.len() < MAX_WARNINGS
        {
            let warning = format!("the receipt in ConfigMap {} could not be brought up to date: {why}", receipt.config_map);
            pass.status.warnings.push(warning);
        }
    }
    pass.again()
}

/// The Lease stays as it is: it has done its work, and whoever cares for Leases tries it again.
pub(in crate::machine) fn release_refused(mut pass: Pass<'_>, index: usize, why: &str) -> Decision {
    if let Some(target) = pass.status.targets.get_mut(index) {
        target.lease_left = true;
        let message = format!("the Lease that said who holds {} could not be brought up to date: {why}", name(target));
        pass.note(true, Reason::TargetUnreachable, message, None);
    }
    pass.again()
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
            .filter(|target| target.restored == Some(Restored::Original))
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
        pass.condition(ConditionType::ConsumersResumed, Some(true), Reason::NoConsumersExpected, message);
    }
    pass.complete()
}

/// The restore was refused: said, and tried again.
pub(in crate::machine) fn refused(mut pass: Pass<'_>, index: usize, why: &str) -> Decision {
    let Some(target) = pass.status.targets.get_mut(index) else { return pass.again() };
    target.refusals = target.refusals.saturating_add(1);
    let (name, count) = (name(target), target.original_replicas);
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
