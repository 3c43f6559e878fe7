//! Restoring: the original replicas, whatever the outcome was, and then their ScaledObjects are
//! resumed. Needs neither Kafka nor a spec that can be parsed.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{canary_undo, comeback};
use crate::api::{ActionKind, ConditionType, MAX_WARNINGS, Reason, RefusalStatus, Restored, TargetRef, TargetStatus};
use crate::machine::{
    coordination::{
        queue,
        scaled_object::{self, Resuming},
    },
    decision::{Decision, Effect},
    facts::{Hold, Seen, Unscalable},
    guards::Guard,
    pass::Pass,
    request::Request,
    text::{Message, name, restore_command},
    time::later,
};

/// How soon it tries again. There is no limit: consumers must not stay at zero.
const RETRY: SignedDuration = SignedDuration::from_secs(1);

/// The longest wait until a restore that was refused again and again is tried again, in seconds.
const REFUSED_RETRY: i64 = 30;

/// How soon it looks again whether such a target has changed: its kind may not be watched.
const REFUSED_LOOK: SignedDuration = SignedDuration::from_secs(5);

/// The longest refusal that is recorded, in characters.
const REFUSAL_LENGTH: usize = 500;

/// How soon it looks again whether another reset still needs the workload at zero.
const SHARED: SignedDuration = SignedDuration::from_millis(500);

/// For how long the API server must serve a target's kind under no version until the target counts
/// as gone: one of several API servers may not know the kind yet, or not any more while it starts.
const KIND_GONE: SignedDuration = SignedDuration::from_secs(30);

/// From how many refused restores on everything else goes before a target.
const REFUSED: i32 = 1;

/// What a target needs.
enum Step {
    /// It cannot be seen.
    Unseen,
    /// It is restored, or left alone for good.
    Settled(Restored),
    /// Another reset, by its namespace and name, still needs it at zero.
    Shared(String),
    /// It is to be scaled.
    Scale(Effect),
}

pub(in crate::machine) fn decide(mut pass: Pass<'_>, request: Option<&Request>) -> Decision {
    adopt(&mut pass);
    let (mut unseen, mut shared) = (false, None);
    // A target whose restore is refused keeps no other one at zero: the one that was refused least
    // goes first.
    let (mut next, mut patience): (Option<(i32, Effect)>, Option<SignedDuration>) = (None, None);
    for index in 0..pass.status.targets.len() {
        if pass.status.targets[index].restored.is_some() {
            continue;
        }
        let kind_gone = is_kind_gone(&mut pass, index);
        match step(&pass, index, kind_gone) {
            Step::Unseen => unseen = true,
            Step::Shared(by) => shared = Some((index, by)),
            Step::Settled(restored) => {
                note(&mut pass, index, restored);
                let target = &mut pass.status.targets[index];
                (target.restored, target.canary_replicas) = (Some(restored), None);
            }
            Step::Scale(effect) => {
                if let Some(wait) = refused_wait(&pass, index) {
                    patience = Some(patience.map_or(wait, |least| least.min(wait)));
                    continue;
                }
                let refusals = pass.status.targets[index].refusals;
                if next.as_ref().is_none_or(|(fewest, _)| refusals < *fewest) {
                    next = Some((refusals, effect));
                }
            }
        }
    }
    // A refused restore is tried again when nothing else remains to be done.
    let refused = match next {
        Some((refusals, effect)) if refusals < REFUSED => return pass.act(effect),
        Some((_, effect)) => Some(effect),
        None => None,
    };
    let resuming = scaled_object::resume(&mut pass);
    if let Resuming::Act(effect) = resuming {
        return pass.act(effect);
    }
    if let Some(effect) = release(&pass) {
        return pass.act(effect);
    }
    if let Some(effect) = refused {
        return pass.act(effect);
    }
    if let Some(wait) = patience {
        let others_wait = unseen || shared.is_some() || matches!(resuming, Resuming::Wait(_));
        return pass.look_again(wait.min(if others_wait { SHARED } else { REFUSED_LOOK }));
    }
    if unseen {
        let problem = pass.unseen_target().unwrap_or_else(|| "a target could not be read".to_owned());
        let milestone = "A target cannot be read, so its replicas are not restored yet";
        pass.condition(ConditionType::ConsumersRestored, Some(false), Reason::TargetUnreachable, milestone);
        let message = Message::new("The replicas cannot be restored yet; the operator tries again every second")
            .detail(problem)
            .detail(outcome(&pass))
            .advice(
                "Grant the missing right, or scale the workload to its originalReplicas in status.targets (of a KafkaConnector: set \
                 spec.state to its originalState)",
            );
        return pass.wait(Reason::TargetUnreachable, message, RETRY);
    }
    if let Some((index, other)) = shared {
        let name = name(&pass.status.targets[index]);
        let milestone = format!("{name} is restored when no other OffsetReset needs it at zero");
        pass.condition(ConditionType::ConsumersRestored, Some(false), Reason::WaitingForOtherReset, milestone);
        let message = Message::naming([&other], |[other]| format!("Waiting for OffsetReset {other}, which shares the stop"))
            .detail(format!("{name} is restored when OffsetReset {other} no longer needs it at zero"))
            .detail(outcome(&pass));
        return pass.wait(Reason::WaitingForOtherReset, message, SHARED);
    }
    if let Resuming::Wait(message) = resuming {
        return pass.wait(Reason::AutoscalerNotResumed, message, RETRY);
    }
    if let Some(effect) = settle(&pass) {
        return pass.act(effect);
    }
    done(pass, request)
}

/// The outcome, which is decided while it is not yet the phase.
fn outcome(pass: &Pass<'_>) -> String {
    let outcome = pass.status.outcome.as_ref();
    outcome.map(|outcome| format!("The outcome is {}: {}", outcome.phase.as_str(), outcome.message)).unwrap_or_default()
}

/// Our claim counts even when the status does not know of it: the status may have been wiped while
/// the workload was held. At zero the count of the Lease is the one to restore, which all that share
/// the hold have: an operator that died may have recorded another one and not written it there.
fn adopt(pass: &mut Pass<'_>) {
    for (index, target) in pass.status.targets.iter_mut().enumerate() {
        let Some(Seen::Known(hold)) = pass.seen.holds.get(index) else { continue };
        if target.restored.is_some() || hold.uid != target.uid || !hold.is_claimed_by(&pass.seen.uid) {
            continue;
        }
        let at_zero = matches!(pass.seen.targets.get(index), Some(Seen::Known(workload)) if workload.replicas == 0);
        // A CRD of an earlier version removes the state from the status.
        let is_state_lost = target.is_connector() && target.original_state.is_none();
        if !target.stop_requested || at_zero || is_state_lost {
            target.stop_requested = true;
            target.take_from(hold);
        }
        // So it does with the count of a canary.
        if pass.status.canary.is_none() {
            target.canary_replicas = target.canary_replicas.or(hold.canary);
        }
    }
}

/// Whether a target's kind has not been served, under no version, for long enough: when a CRD is
/// deleted, its objects go with it, and the API server then never reports one of them as missing.
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
    if !Guard::SameWorkload.allows(workload.uid == target.uid) {
        return Step::Settled(Restored::Replaced);
    }
    if !target.stop_requested {
        return Step::Settled(Restored::NotStopped);
    }
    if workload.is_as_before(target) {
        return Step::Settled(Restored::Original);
    }
    // No client chose the count that an admission policy stored in place of our zero.
    let by_others = Guard::SetByOthers.allows(Some(workload.replicas) != target.overridden_replicas)
        && Guard::NoCanaryCount.allows(Some(workload.replicas) != target.canary_replicas);
    if !Guard::StillAtZero.allows(workload.replicas == 0 || !by_others) {
        return Step::Settled(Restored::LeftAsScaledByOthers);
    }
    if let Some(other) = queue::still_needed_by(&pass.seen.uid, &workload.uid, &pass.seen.others) {
        return Step::Shared(format!("{}/{}", other.namespace, other.name));
    }
    Step::Scale(Effect::Scale {
        target: index,
        resource_version: workload.resource_version.clone(),
        replicas: target.original_replicas,
        // Not from the status that was stored: a CRD of an earlier version removes it there.
        state: target.original_state.clone(),
        kind: ActionKind::Restore,
    })
}

/// How long a restore that was refused is not tried again: longer with each refusal, but not once the
/// workload has changed. Our own writes of the status wake us before.
fn refused_wait(pass: &Pass<'_>, index: usize) -> Option<SignedDuration> {
    let target = &pass.status.targets[index];
    let last = target.last_refusal.as_ref()?;
    let seen = pass.seen.targets.get(index);
    let changed = matches!(seen, Some(Seen::Known(workload)) if workload.resource_version != last.resource_version);
    let doubled = 1_i64 << target.refusals.saturating_sub(1).clamp(0, 5);
    let wait = if changed { RETRY } else { SignedDuration::from_secs(doubled.min(REFUSED_RETRY)) };
    let due = later(last.time.0, wait);
    (pass.now < due).then(|| due.duration_since(pass.now))
}

/// The API server has stored the original count: any other count found from here on was set
/// afterwards, even the one that an admission policy had stored.
pub(in crate::machine) fn accepted(mut pass: Pass<'_>, index: usize) -> Decision {
    if let Some(target) = pass.status.targets.get_mut(index) {
        (target.overridden_replicas, target.canary_replicas) = (None, None);
        target.last_refusal = None;
    }
    pass.again()
}

/// Removes our claim from the Lease of a target that is settled. It does not wait for a Lease that
/// cannot be read: the claims of resets that are over are removed from Leases later.
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

/// Whether the Lease is still needed, because the ScaledObject of the target was not resumed.
fn keeps_lease(target: &TargetStatus) -> bool {
    scaled_object::is_held(target) || target.autoscaler.as_ref().is_some_and(|own| own.left)
}

/// Writes the outcome into the receipt; a run that has certainly committed nothing leaves no
/// receipt.
fn settle(pass: &Pass<'_>) -> Option<Effect> {
    pass.status.receipt.as_ref().filter(|receipt| !receipt.settled)?;
    // Without an outcome the status was edited by hand: then the receipt stays as it is.
    pass.status.outcome.as_ref()?;
    Some(Effect::SettleReceipt { keep: !Guard::NothingCommitted.allows(!pass.may_have_committed()) })
}

/// The receipt has the outcome, or could not be written.
pub(in crate::machine) fn settled(mut pass: Pass<'_>, refused: Option<&str>) -> Decision {
    if let Some(receipt) = &mut pass.status.receipt {
        receipt.settled = true;
        if let Some(why) = refused
            && pass.status.warnings.len() < MAX_WARNINGS
        {
            let warning = format!("the outcome could not be written into the receipt, ConfigMap {}: {why}", receipt.config_map);
            pass.status.warnings.push(warning);
        }
    }
    pass.again()
}

/// The Lease stays as it is: it has done its work, and the operator tries again to remove the claim
/// when the reset is over.
pub(in crate::machine) fn release_refused(mut pass: Pass<'_>, index: usize, why: &str) -> Decision {
    if let Some(target) = pass.status.targets.get_mut(index) {
        target.lease_left = true;
        let message = format!("The claim in the Lease of {} could not be removed: {why}. The operator tries again", name(target));
        pass.note(true, Reason::TargetUnreachable, message, None);
    }
    pass.again()
}

/// Every target is restored, or must be left alone.
fn done(mut pass: Pass<'_>, request: Option<&Request>) -> Decision {
    let stopped = pass.status.targets.iter().any(|target| target.restored != Some(Restored::NotStopped));
    let ours = |restored: &Option<Restored>| matches!(restored, Some(Restored::Original | Restored::NotStopped));
    let left_alone: Vec<String> = pass
        .status
        .targets
        .iter()
        .filter(|target| !ours(&target.restored))
        .map(|target| format!("{} {}", name(target), describe(target.restored)))
        .collect();
    let (reason, message) = if !left_alone.is_empty() {
        (Reason::TargetLeftAlone, left_alone.join("; "))
    } else if stopped {
        let counts: Vec<String> = pass
            .status
            .targets
            .iter()
            .filter(|target| target.restored == Some(Restored::Original))
            .map(|target| format!("{} has {}", name(target), target.original_size()))
            .collect();
        (Reason::ReplicasAccepted, counts.join("; "))
    } else {
        (Reason::NothingStopped, "No target was stopped, so there was nothing to restore".to_owned())
    };
    pass.condition(ConditionType::ConsumersRestored, Some(true), reason, message);
    canary_undo::give_up(&mut pass.status);
    comeback::begin(&mut pass, request);
    pass.complete()
}

/// The restore was refused: tried again, and published when the words are new.
pub(in crate::machine) fn refused(mut pass: Pass<'_>, index: usize, why: &str) -> Decision {
    let version = match pass.seen.targets.get(index) {
        Some(Seen::Known(workload)) => workload.resource_version.clone(),
        Some(Seen::Unknown(_) | Seen::Missing) | None => String::new(),
    };
    let Some(target) = pass.status.targets.get_mut(index) else { return pass.again() };
    target.refusals = target.refusals.saturating_add(1);
    let recorded: String = why.chars().take(REFUSAL_LENGTH).collect();
    let is_new = target.last_refusal.as_ref().is_none_or(|last| last.message != recorded);
    target.last_refusal = Some(RefusalStatus { time: MicroTime(pass.now), resource_version: version, message: recorded });
    let (replicas, state) = (target.original_replicas, target.original_state.as_deref());
    let command = restore_command(&TargetRef::from(&*target), replicas, state, None);
    let (name, size) = (name(target), target.original_size());
    let now = match (pass.seen.targets.get(index), target.canary_replicas) {
        (Some(Seen::Known(found)), Some(count)) if found.replicas == count => format!("Only its canary runs ({count} of {size})"),
        _ => "Its consumers are at zero".to_owned(),
    };
    let milestone = format!("The API server refuses to restore {name}");
    pass.condition(ConditionType::ConsumersRestored, Some(false), Reason::TargetUnreachable, milestone);
    let message = Message::naming([&name], |[name]| format!("{name} could not be restored to {size}"))
        .detail(why)
        .detail(format!(
            "{now}. The operator tries again at least every {REFUSED_RETRY} s, and at once when the workload \
             changes"
        ))
        .detail(outcome(&pass))
        .advice(format!("To restore it yourself: {command}"));
    if is_new {
        pass.note(true, Reason::TargetUnreachable, message.full(), Some(index));
    }
    pass.wait(Reason::TargetUnreachable, message, RETRY)
}

fn note(pass: &mut Pass<'_>, index: usize, restored: Restored) {
    let target = &pass.status.targets[index];
    let (warning, reason) = match restored {
        Restored::NotStopped | Restored::Unknown => return,
        Restored::Original => (false, Reason::ReplicasAccepted),
        Restored::LeftAsScaledByOthers | Restored::Gone | Restored::Replaced => (true, Reason::TargetLeftAlone),
    };
    let message = match restored {
        Restored::Original => format!("restored to {}", target.original_size()),
        other => format!("{} {}", name(target), describe(Some(other))),
    };
    let on = (restored != Restored::Gone).then_some(index);
    pass.note(warning, reason, message, on);
}

/// How the restore of a target ended, as a predicate.
fn describe(restored: Option<Restored>) -> &'static str {
    match restored {
        Some(Restored::Original) => "is restored",
        Some(Restored::NotStopped) | None => "was not stopped",
        Some(Restored::LeftAsScaledByOthers) => "was left as another controller or a user has set it meanwhile",
        Some(Restored::Gone) => "does not exist any more",
        Some(Restored::Replaced) => "was deleted and recreated, and was left alone",
        Some(Restored::Unknown) => "was restored or left alone by another version of the operator",
    }
}
