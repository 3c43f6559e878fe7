//! What scales a target by itself: a KEDA ScaledObject would bring consumers back as soon as there is lag, so it is paused between the claim
//! and the stop, and let go after the replicas are back. An HPA needs nothing of this: at zero it is off.
//!
//! Whose a pause is stands on the ScaledObject itself, in an annotation beside KEDA's own. A pause without it is somebody else's, and stays.

use super::queue;
use crate::api::{AutoscalerStatus, Phase, Reason, TargetStatus};
use crate::machine::{
    decision::{Decision, Effect},
    facts::{PeerReset, ScaledObjectSeen},
    limits::MAX_REHOLDS,
    pass::{Pass, UNSEEN_RETRY},
    refusal::Refusal,
    text::name,
    time::later,
};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

/// How long KEDA may take to say that it has paused. It takes a fraction of a second; where KEDA does not run, it never comes.
pub const PAUSE_TIMEOUT: SignedDuration = SignedDuration::from_secs(30);

/// How soon it looks again whether KEDA has paused.
const PAUSING: SignedDuration = SignedDuration::from_millis(100);

/// What the status says of an autoscaler that was found.
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

/// Waits where nobody can tell whether an autoscaler is paused already, by an earlier run: what is not known of is never let go.
pub(in crate::machine) fn unseen(pass: &mut Pass<'_>) -> Option<Decision> {
    let why = pass.seen.autoscalers.iter().find_map(|seen| match seen {
        ScaledObjectSeen::Unknown(why) => Some(why),
        ScaledObjectSeen::Nobody | ScaledObjectSeen::Hidden(_) | ScaledObjectSeen::Found(_) => None,
    })?;
    let message = format!(
        "cannot see whether a ScaledObject is paused since an earlier run of the same name and spec: {why}. It is tried again; the \
         consumers are held since"
    );
    Some(pass.take().wait(Reason::AutoscalerNotPaused, message, UNSEEN_RETRY))
}

/// Why a target cannot be held because of its autoscaler. One that has nothing to stop needs no pause.
pub(in crate::machine) fn refusal(seen: Option<&ScaledObjectSeen>, target: &str, is_stopped: bool) -> Option<Refusal> {
    let reason = Reason::AutoscalerNotPaused;
    match seen {
        _ if !is_stopped => None,
        Some(ScaledObjectSeen::Found(found)) => {
            let name = &found.name;
            if let Some(count) = &found.fixed_replicas {
                let message = format!(
                    "ScaledObject/{name} keeps {target} at {count} replicas by its annotation autoscaling.keda.sh/paused-replicas, and \
                     would scale it up again. Pause it with autoscaling.keda.sh/paused: \"true\" instead"
                );
                return Some(Refusal { reason, message, transient: false, patience: None });
            }
            let why = found.refusal.as_ref().filter(|_| !found.paused)?;
            let message = format!(
                "ScaledObject/{name} scales {target} and would bring it back while it is held, and the operator may not pause it: {why}. \
                 Grant that with `kubectl apply -k deploy/keda` (get, list and patch of scaledobjects in keda.sh), or pause it \
                 yourself: kubectl annotate scaledobject {name} autoscaling.keda.sh/paused=true"
            );
            Some(Refusal { reason, message, transient: false, patience: None })
        }
        Some(ScaledObjectSeen::Unknown(why)) => {
            let message = format!("whether a ScaledObject scales {target} could not be seen: {why}");
            Some(Refusal { reason, message, transient: true, patience: None })
        }
        Some(ScaledObjectSeen::Hidden(_) | ScaledObjectSeen::Nobody) | None => None,
    }
}

/// What is worth knowing where KEDA is installed and the operator may not look.
pub(in crate::machine) fn warnings(pass: &Pass<'_>) -> Vec<String> {
    let hidden = pass.status.targets.iter().zip(&pass.seen.autoscalers).filter_map(|(target, seen)| match seen {
        ScaledObjectSeen::Hidden(why) => Some(format!(
            "KEDA is installed, and the operator may not see whether it scales {}: {why}. If it does, it brings consumers back while they \
             are held. Grant it with `kubectl apply -k deploy/keda` (get, list and patch of scaledobjects in keda.sh)",
            name(target)
        )),
        ScaledObjectSeen::Nobody | ScaledObjectSeen::Unknown(_) | ScaledObjectSeen::Found(_) => None,
    });
    hidden.collect()
}

/// Sees to it that the autoscaler of a target keeps still before the target is scaled to zero; `None` when it does, or there is none.
pub(in crate::machine) fn quieten(pass: &mut Pass<'_>, index: usize) -> Option<Decision> {
    let (now, phase_start, seen) = (pass.now, pass.phase_start(), pass.seen.autoscalers.get(index)?);
    let target = &mut pass.status.targets[index];
    let target_name = name(target);
    let own = target.autoscaler.as_mut()?;
    let object = format!("ScaledObject/{}", own.name);
    let found = match seen {
        // Gone meanwhile: nobody scales the target any more.
        ScaledObjectSeen::Nobody => return None,
        ScaledObjectSeen::Hidden(why) | ScaledObjectSeen::Unknown(why) => {
            let message = format!("cannot see whether {object} is paused: {why}. {target_name} is not stopped before that");
            return Some(pass.take().wait(Reason::AutoscalerNotPaused, message, UNSEEN_RETRY));
        }
        ScaledObjectSeen::Found(found) => found,
    };
    if !found.paused {
        if own.paused && own.pauses > MAX_REHOLDS {
            let times = own.pauses;
            let said = pass.offsets_said();
            let message = format!(
                "somebody takes the pause off {object} again and again ({times} times), and so {target_name} cannot be held. Find out who \
                 owns its annotations. {said}"
            );
            return Some(pass.take().finish(Phase::Failed, Reason::AutoscalerNotPaused, message));
        }
        // One that was never seen was not taken off: KEDA had just written to its object, or the answer was no answer. It is tried again.
        if own.paused || own.pauses == 0 {
            own.pauses += 1;
        }
        own.paused = false;
        own.pause_time = Some(MicroTime(now));
        own.paused_by_owner = false;
        let message = format!("{object} is paused while {target_name} is held at zero; it goes on afterwards");
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
        let said = pass.offsets_said();
        let message = format!(
            "KEDA has not said within {} s that it has paused {object}: its condition Paused is not True. Is KEDA's operator well? \
             {target_name} was not stopped, because KEDA might have scaled it up at any moment. {said}",
            PAUSE_TIMEOUT.as_secs()
        );
        return Some(pass.take().finish(Phase::Failed, Reason::AutoscalerNotPaused, message));
    }
    let message = format!("waits until KEDA says that it has paused {object}; {target_name} is stopped then");
    Some(pass.take().wait(Reason::AutoscalerNotPaused, message, PAUSING))
}

/// The pause was refused for good.
pub(in crate::machine) fn pause_refused(pass: Pass<'_>, index: usize, why: &str) -> Decision {
    let target = pass.status.targets.get(index);
    let (target_name, object) = (target.map(name).unwrap_or_default(), object_of(&pass, index));
    let message = format!("{object} could not be paused: {why}. {target_name} was not stopped. {}", pass.offsets_said());
    pass.finish(Phase::Failed, Reason::AutoscalerNotPaused, message)
}

/// How far the autoscalers of restored targets are.
pub(in crate::machine) enum Letting {
    /// Each of them scales its target again, or is as its owner wants it.
    Done,
    /// One is to be let go.
    Act(Effect),
    /// One cannot be seen.
    Wait(String),
}

/// Lets go the autoscalers of those targets that have been decided on.
pub(in crate::machine) fn let_go(pass: &mut Pass<'_>) -> Letting {
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
            // Whoever lets the target go last lets this go, if it knows of it.
            _ if handed_over => true,
            _ if needed => {
                unseen = Some(format!(
                    "{object} stays paused for another reset that still needs {} at zero",
                    name(&pass.status.targets[index])
                ));
                false
            }
            None => false,
            Some(ScaledObjectSeen::Nobody) => true,
            Some(ScaledObjectSeen::Found(found)) if !found.ours => true,
            Some(ScaledObjectSeen::Found(found)) => {
                return Letting::Act(Effect::Resume { target: index, resource_version: found.resource_version.clone() });
            }
            Some(ScaledObjectSeen::Unknown(why)) => {
                unseen = Some(format!("the replicas are back, and {object} cannot be let go yet: {why}. It is tried again"));
                false
            }
            Some(ScaledObjectSeen::Hidden(why)) => {
                leave(pass, index, why, "Do it");
                continue;
            }
        };
        if done && let Some(own) = &mut pass.status.targets[index].autoscaler {
            let was_paused = own.pauses > 0 && !needed;
            own.resumed = true;
            if was_paused {
                pass.note(
                    false,
                    Reason::AutoscalerResumed,
                    format!("{object} is not paused by this reset any more"),
                    Some(index),
                );
            }
        }
    }
    unseen.map_or(Letting::Done, Letting::Wait)
}

/// Whether the autoscaler of a target is still to be let go; until then the Lease stays, so that it is not forgotten.
pub(in crate::machine) fn is_held(target: &TargetStatus) -> bool {
    target.stop_requested && target.autoscaler.as_ref().is_some_and(|own| !own.paused_by_owner && !own.resumed && !own.left)
}

/// It could not be let go: said, and left to whoever cares for Leases, who tries it again.
pub(in crate::machine) fn resume_refused(mut pass: Pass<'_>, index: usize, why: &str) -> Decision {
    leave(&mut pass, index, why, "It is tried again; or do it");
    pass.again()
}

fn leave(pass: &mut Pass<'_>, index: usize, why: &str, then: &str) {
    let object = object_of(pass, index);
    let Some(own) = pass.status.targets.get_mut(index).and_then(|target| target.autoscaler.as_mut()) else { return };
    own.left = true;
    let message = format!(
        "{object} is still paused, because it could not be changed: {why}. {then} by hand: kubectl annotate scaledobject {} \
         autoscaling.keda.sh/paused- offsetreset.dev/paused-by-",
        own.name
    );
    pass.note(true, Reason::AutoscalerNotResumed, message, Some(index));
}

fn object_of(pass: &Pass<'_>, index: usize) -> String {
    let own = pass.status.targets.get(index).and_then(|target| target.autoscaler.as_ref());
    own.map(|own| format!("{}/{}", own.kind, own.name)).unwrap_or_default()
}
