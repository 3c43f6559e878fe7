//! What a step knows without reading it again: what the step before has read, and the answer to its write.

use super::{
    decision::{Answer, Effect},
    facts::{Hold, Observed, Seen, Workload, state_to_set},
};
use crate::api::{ActionKind, Phase};

/// What a step has read, with the answer to its effect. The next step of the pass uses it and does not read again. Each write of that
/// step is bound to the version that was read, so it fails when another client has changed the object.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    /// The workload of each target.
    pub targets: Vec<Seen<Workload>>,
    /// The Lease of each target.
    pub holds: Vec<Seen<Hold>>,
}

impl Carried {
    /// What the next phase takes over: the look that has found all containers terminated is recent enough for the first question
    /// whether the group is empty. Before the commit everything is looked at once more.
    #[must_use]
    pub fn into(from: Option<Phase>, to: Option<Phase>, seen: Observed) -> Option<Self> {
        let is_stopped = from == Some(Phase::Stopping) && to == Some(Phase::Draining);
        is_stopped.then_some(Self { targets: seen.targets, holds: seen.holds })
    }

    /// What the next step takes over after an effect; `None` when it has to read. It has to before the
    /// consumers count as stopped: only a look after the stop proves that.
    #[must_use]
    pub fn after(effect: &Effect, answer: &Answer, seen: Observed) -> Option<Self> {
        let Observed { mut targets, mut holds, .. } = seen;
        match (effect, answer) {
            (Effect::Claim { target, hold }, Answer::Done) => {
                let Seen::Known(workload) = targets.get(*target)? else { return None };
                if workload.replicas == 0 {
                    return None;
                }
                *holds.get_mut(*target)? = Seen::Known(hold.clone());
            }
            (Effect::Release { target, hold }, Answer::Done) => {
                *holds.get_mut(*target)? = if hold.claims.is_empty() { Seen::Missing } else { Seen::Known(hold.clone()) };
            }
            (Effect::Scale { kind: ActionKind::Canary, .. }, Answer::Done) => return None,
            (Effect::Scale { target, replicas, state, kind, .. }, Answer::Done) => {
                let Seen::Known(workload) = targets.get_mut(*target)? else { return None };
                let ends_at_once = *kind == ActionKind::Stop && workload.pods.iter().all(|pod| pod.terminated);
                if ends_at_once {
                    return None;
                }
                workload.replicas = *replicas;
                if let Some(found) = &mut workload.state {
                    state_to_set(*replicas, state.as_deref()).clone_into(found);
                }
            }
            (Effect::SettleReceipt { .. }, Answer::Done | Answer::Refused(_)) => {}
            _ => return None,
        }
        // What could not be read is read again.
        let is_known = targets.iter().all(is_seen) && holds.iter().all(is_seen);
        is_known.then_some(Self { targets, holds })
    }
}

fn is_seen<T>(seen: &Seen<T>) -> bool {
    !matches!(seen, Seen::Unknown(_))
}
