//! A KEDA ScaledObject would scale consumers up as soon as there is lag, so it is paused between
//! the claim and the stop, and resumed after the replicas are restored. An HPA needs nothing of
//! this: it does not act on a target at zero.
//!
//! An annotation of this operator, beside KEDA's own, marks our pause. A pause without it belongs
//! to the ScaledObject's owner and stays.

use super::queue;
use crate::api::{AutoscalerStatus, Phase, Reason, TargetStatus};
use crate::machine::{
    decision::{Decision, Effect},
    facts::{PeerReset, ScaledObjectSeen},
    limits::MAX_REHOLDS,
    pass::{Pass, UNSEEN_RETRY},
    refusal::Refusal,
    text::{Message, name},
    time::later,
};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

/// How long KEDA may take to report the pause. It takes a fraction of a second, unless KEDA does
/// not run.
pub const PAUSE_TIMEOUT: SignedDuration = SignedDuration::from_secs(30);

/// How soon it looks again whether KEDA has paused.
const PAUSING: SignedDuration = SignedDuration::from_millis(100);

/// The status entry for a ScaledObject that was found.
pub(in crate::machine) fn recorded(seen: Option<&ScaledObjectSeen>) -> Option<AutoscalerStatus> {
    let Some(ScaledObjectSeen::Found(found)) = seen else { return None };
    Some(AutoscalerStatus {
        kind: "ScaledObject".into(),
        name: found.name.clone(),
        paused_by_owner: found.paused && !found.ours,
        pauses: 0,
        pause_time: None,
        paused: false,
        resumed: false,
        left: false,
    })
}

/// Waits where it cannot be seen whether an earlier run has paused a ScaledObject: one that is not
/// known of would never be resumed.
pub(in crate::machine) fn unseen(pass: &mut Pass<'_>) -> Option<Decision> {
    let why = pass.seen.autoscalers.iter().find_map(|seen| match seen {
        ScaledObjectSeen::Unknown(why) => Some(why),
        ScaledObjectSeen::Absent | ScaledObjectSeen::Hidden(_) | ScaledObjectSeen::Found(_) => None,
    })?;
    let message = Message::new("The operator cannot see whether a ScaledObject is still paused")
        .detail(why)
        .detail("An earlier run of the same name and spec may have paused it; the consumers have been at zero since")
        .detail("The operator tries again every second");
    Some(pass.take().wait(Reason::AutoscalerNotPaused, message, UNSEEN_RETRY))
}

/// Why a target cannot be held because of its ScaledObject. A target that has nothing to stop needs
/// no pause.
pub(in crate::machine) fn refusal(seen: Option<&ScaledObjectSeen>, target: &str, is_stopped: bool) -> Option<Refusal> {
    let reason = Reason::AutoscalerNotPaused;
    match seen {
        _ if !is_stopped => None,
        Some(ScaledObjectSeen::Found(found)) => {
            let name = &found.name;
            if let Some(count) = &found.fixed_replicas {
                let message = Message::naming([target], |[target]| format!("A ScaledObject keeps {target} at a fixed replica count"))
                    .detail(format!(
                        "ScaledObject/{name} has the annotation autoscaling.keda.sh/paused-replicas: \"{count}\", and would scale {target} \
                         up again"
                    ))
                    .advice("Pause it with the annotation autoscaling.keda.sh/paused: \"true\" instead, and create the reset under a new name");
                return Some(Refusal::lasting(reason, message));
            }
            let why = found.refusal.as_ref().filter(|_| !found.paused)?;
            let message = Message::naming([target], |[target]| format!("The operator may not pause the ScaledObject of {target}"))
                .detail(format!("ScaledObject/{name} would scale {target} up while the reset holds it at zero: {why}"))
                .advice(format!(
                    "Grant the right with `kubectl apply -k deploy/keda` (get, list and patch of scaledobjects in keda.sh), or pause it \
                     yourself: kubectl annotate scaledobject {name} autoscaling.keda.sh/paused=true"
                ));
            Some(Refusal::from_denial(why, reason, message))
        }
        Some(ScaledObjectSeen::Unknown(why)) => {
            let message =
                Message::naming([target], |[target]| format!("The operator cannot see whether a ScaledObject scales {target}"));
            Some(Refusal::passing(reason, message.detail(why)))
        }
        Some(ScaledObjectSeen::Hidden(_) | ScaledObjectSeen::Absent) | None => None,
    }
}

/// Warnings where KEDA is installed and the operator may not read ScaledObjects.
pub(in crate::machine) fn warnings(pass: &Pass<'_>) -> Vec<String> {
    let hidden = pass.status.targets.iter().zip(&pass.seen.autoscalers).filter_map(|(target, seen)| match seen {
        ScaledObjectSeen::Hidden(why) => Some(format!(
            "KEDA is installed, and the operator may not see whether it scales {}: {why}. If it does, it scales consumers up while they are \
             held at zero. Grant the right with `kubectl apply -k deploy/keda` (get, list and patch of scaledobjects in keda.sh)",
            name(target)
        )),
        ScaledObjectSeen::Absent | ScaledObjectSeen::Unknown(_) | ScaledObjectSeen::Found(_) => None,
    });
    hidden.collect()
}

/// Pauses the ScaledObject of a target before the target is scaled to zero; `None` when it is
/// paused, or there is none.
pub(in crate::machine) fn ensure_paused(pass: &mut Pass<'_>, index: usize) -> Option<Decision> {
    let (now, phase_start, seen) = (pass.now, pass.phase_start(), pass.seen.autoscalers.get(index)?);
    let target = &mut pass.status.targets[index];
    let target_name = name(target);
    let own = target.autoscaler.as_mut()?;
    let object = format!("ScaledObject/{}", own.name);
    let found = match seen {
        // It was deleted meanwhile, and scales the target no longer.
        ScaledObjectSeen::Absent => return None,
        ScaledObjectSeen::Hidden(why) | ScaledObjectSeen::Unknown(why) => {
            let message =
                Message::naming([&target_name], |[name]| format!("{name} is not stopped yet: its ScaledObject is not seen"))
                    .detail(format!("Whether {object} is paused cannot be seen: {why}"))
                    .detail("The operator tries again every second");
            return Some(pass.take().wait(Reason::AutoscalerNotPaused, message, UNSEEN_RETRY));
        }
        ScaledObjectSeen::Found(found) => found,
    };
    if !found.paused {
        if own.paused && own.pauses > MAX_REHOLDS {
            let times = own.pauses;
            let message = Message::naming([&object], |[object]| format!("{object} is being unpaused repeatedly"))
                .detail(format!("It was paused {times} times, and so {target_name} cannot be held at zero"))
                .detail(pass.offsets_changed())
                .advice("Find out which controller or user sets its annotations, and create the reset under a new name");
            return Some(pass.take().finish(Phase::Failed, Reason::AutoscalerNotPaused, message));
        }
        // A pause that was never seen was not removed: KEDA had just written to the object, or
        // there was no answer. It is tried again.
        if own.paused || own.pauses == 0 {
            own.pauses += 1;
        }
        own.paused = false;
        own.pause_time = Some(MicroTime(now));
        own.paused_by_owner = false;
        let message = format!("{object} is paused while {target_name} is held at zero, and is resumed afterwards");
        pass.note(false, Reason::AutoscalerPaused, message, Some(index));
        let effect = Effect::Pause { target: index, resource_version: found.resource_version.clone() };
        return Some(pass.take().act(effect));
    }
    own.paused = true;
    if found.acknowledged {
        return None;
    }
    let since = own.pause_time.as_ref().map_or(phase_start, |at| at.0);
    if now >= later(since, PAUSE_TIMEOUT) {
        let timeout = PAUSE_TIMEOUT.as_secs();
        let message =
            Message::naming([&object], |[object]| format!("KEDA has not reported {object} as paused within {timeout} s"))
                .detail(format!("Its condition Paused is not True, so KEDA might scale {target_name} up: it was not stopped"))
                .detail(pass.offsets_changed())
                .advice("Check that KEDA's operator is running, and create the reset under a new name");
        return Some(pass.take().finish(Phase::Failed, Reason::AutoscalerNotPaused, message));
    }
    let message = Message::naming([&object], |[object]| format!("Waiting until KEDA reports {object} as paused"))
        .detail(format!("{target_name} is stopped then; its consumers keep running"));
    Some(pass.take().wait(Reason::AutoscalerNotPaused, message, PAUSING))
}

/// The pause was refused for good.
pub(in crate::machine) fn pause_refused(pass: Pass<'_>, index: usize, why: &str) -> Decision {
    let target = pass.status.targets.get(index);
    let (target_name, object) = (target.map(name).unwrap_or_default(), object_of(&pass, index));
    let message = Message::naming([&object], |[object]| format!("{object} could not be paused"))
        .detail(why)
        .detail(format!("{target_name} was not stopped"))
        .detail(pass.offsets_changed())
        .advice(
            "Grant the right with `kubectl apply -k deploy/keda`, or pause it yourself, and create the reset under a new name",
        );
    pass.finish(Phase::Failed, Reason::AutoscalerNotPaused, message)
}

/// How far the ScaledObjects of restored targets are.
pub(in crate::machine) enum Resuming {
    /// Each of them scales its target again, or is as its owner wants it.
    Done,
    /// One is to be resumed.
    Act(Effect),
    /// One has to wait; why.
    Wait(Message),
}

/// Resumes the ScaledObjects of the targets that are settled.
pub(in crate::machine) fn resume(pass: &mut Pass<'_>) -> Resuming {
    let mut unseen = None;
    for index in 0..pass.status.targets.len() {
        if !is_held(&pass.status.targets[index]) || pass.status.targets[index].restored.is_none() {
            continue;
        }
        let uid = &pass.status.targets[index].uid;
        let needed = queue::still_needed_by(&pass.seen.uid, uid, &pass.seen.others);
        let knows = |other: &PeerReset| other.targets.iter().any(|target| target.uid == *uid && target.autoscaler.is_some());
        let (needed, handed_over) = (needed.is_some(), needed.is_some_and(knows));
        let object = object_of(pass, index);
        let done = match pass.seen.autoscalers.get(index) {
            // The last reset that releases the target resumes this, if it knows of it.
            _ if handed_over => true,
            _ if needed => {
                unseen = Some(
                    Message::naming([&object], |[object]| format!("{object} stays paused for another reset"))
                        .detail(format!("That one still needs {} at zero", name(&pass.status.targets[index]))),
                );
                false
            }
            None => false,
            Some(ScaledObjectSeen::Absent) => true,
            Some(ScaledObjectSeen::Found(found)) if !found.ours => true,
            Some(ScaledObjectSeen::Found(found)) => {
                return Resuming::Act(Effect::Resume { target: index, resource_version: found.resource_version.clone() });
            }
            Some(ScaledObjectSeen::Unknown(why)) => {
                unseen = Some(
                    Message::naming([&object], |[object]| format!("{object} cannot be resumed yet; the replicas are restored"))
                        .detail(why)
                        .detail("The operator tries again every second"),
                );
                false
            }
            Some(ScaledObjectSeen::Hidden(why)) => {
                leave(pass, index, why, "To resume it yourself");
                continue;
            }
        };
        if done && let Some(own) = &mut pass.status.targets[index].autoscaler {
            let was_paused = own.pauses > 0 && !needed;
            own.resumed = true;
            if was_paused {
                pass.note(false, Reason::AutoscalerResumed, format!("{object} is no longer paused by this reset"), Some(index));
            }
        }
    }
    unseen.map_or(Resuming::Done, Resuming::Wait)
}

/// Whether the ScaledObject of a target is still to be resumed; until then the Lease stays, so that
/// it is not forgotten.
pub(in crate::machine) fn is_held(target: &TargetStatus) -> bool {
    target.stop_requested && target.autoscaler.as_ref().is_some_and(|own| !own.paused_by_owner && !own.resumed && !own.left)
}

/// The resume was refused: an Event reports it, and the operator tries again as long as the Lease
/// exists.
pub(in crate::machine) fn resume_refused(mut pass: Pass<'_>, index: usize, why: &str) -> Decision {
    leave(&mut pass, index, why, "The operator tries again; to resume it yourself");
    pass.again()
}

fn leave(pass: &mut Pass<'_>, index: usize, why: &str, then: &str) {
    let object = object_of(pass, index);
    let Some(own) = pass.status.targets.get_mut(index).and_then(|target| target.autoscaler.as_mut()) else { return };
    own.left = true;
    let message = format!(
        "{object} is still paused, because it could not be changed: {why}. {then}: kubectl annotate scaledobject {} \
         autoscaling.keda.sh/paused- offsetreset.dev/paused-by-",
        own.name
    );
    pass.note(true, Reason::AutoscalerNotResumed, message, Some(index));
}

fn object_of(pass: &Pass<'_>, index: usize) -> String {
    let own = pass.status.targets.get(index).and_then(|target| target.autoscaler.as_ref());
    own.map(|own| format!("{}/{}", own.kind, own.name)).unwrap_or_default()
}
