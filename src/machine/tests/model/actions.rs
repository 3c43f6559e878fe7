//! What may happen, and what comes of it.

use super::{
    Machine,
    memory::Id,
    passes::{Hearing, acts, asks, begins, cares, cares_on, goes_on, notes, writes},
    properties,
    world::{Care, Deed, FRESH, IDLE, LOG_END, NO_OFFSET, Object, Pass, RESETS, State, USUAL, Way, Workload},
};

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Happening {
    /// A pass begins: it takes its turn, reads the object, and then what else its phase needs from
    /// Kubernetes.
    Begins(usize),
    /// The same, but the workload cannot be read.
    BeginsBlind(usize),
    /// The same pass looks again, with a status that is not written yet.
    GoesOn(usize),
    GoesOnBlind(usize),
    /// It asks Kafka.
    Asks(usize),
    /// It opens the receipt, or writes the status.
    Writes(usize),
    /// It acts.
    Acts(usize),
    /// It scales the workload to zero, and an admission policy stores one replica instead.
    ActsOverridden(usize),
    /// It acts, and the broker's answer is lost.
    ActsUnheard(usize),
    /// It writes what the answer means.
    Notes(usize),
    /// A request fails, or its answer is lost: the pass ends where it is.
    Breaks(usize),
    /// The reconciler of Leases looks, and decides.
    Cares,
    /// And does it.
    CaresOn,
    /// The operator dies, and another one begins.
    Crash,
    /// Pods follow the replicas.
    Kubelet,
    /// The members in the pods leave the group; they may do so before their containers end.
    Leave(usize),
    /// Those that run join it.
    Join(usize),
    /// A rollout of the workload begins: pods of two revisions run.
    RolloutBegins,
    RolloutEnds,
    StrangerJoins(usize),
    StrangerLeaves(usize),
    /// A record is consumed, and committed, by a member.
    Consumes(usize),
    /// A container of the workload's pods is started again.
    Restarts,
    /// Another client scales the workload.
    Scales(u8),
    /// Another client changes something else of it.
    Touches,
    /// It is deleted, and recreated with this count.
    Replaces(u8),
    KafkaGoes,
    KafkaComes,
    /// Reports are deleted from the log's start on.
    Retention,
    Deleted(usize),
    Stripped(usize),
    Wiped(usize),
    /// The Lease goes.
    Unleashed,
    Recreated(usize),
    /// The clock goes to the next time that means something.
    Time,
}
use Happening::*;

/// What may happen next.
pub fn all(machine: &Machine, state: &State, into: &mut Vec<Happening>) {
    if state.witness.broken.is_some() {
        return;
    }
    let budget = &state.budget;
    for reset in 0..machine.scenario.resets {
        match state.running[reset].pass {
            Pass::Idle => {
                into.push(Begins(reset));
                if budget.blinks > 0 && machine.scenario.has_workload(reset) {
                    into.push(BeginsBlind(reset));
                }
            }
            Pass::Ahead => {
                into.push(GoesOn(reset));
                if budget.blinks > 0 && machine.scenario.has_workload(reset) {
                    into.push(GoesOnBlind(reset));
                }
            }
            Pass::Looked(_) => into.push(Asks(reset)),
            Pass::Decided { .. } => into.push(Writes(reset)),
            Pass::Recorded { deed } => {
                into.push(Acts(reset));
                if budget.overrides > 0 && matches!(deed, Deed::Scale { way: Way::Stop, .. }) {
                    into.push(ActsOverridden(reset));
                }
                if budget.losses > 0 && matches!(deed, Deed::Commit { .. }) {
                    into.push(ActsUnheard(reset));
                }
            }
            Pass::Answered { .. } => into.push(Notes(reset)),
        }
        if budget.losses > 0 && state.running[reset].pass != Pass::Idle {
            into.push(Breaks(reset));
        }
        match state.objects[reset] {
            Some(object) => {
                if budget.deletions > 0 && !object.deleting {
                    into.push(Deleted(reset));
                }
                if budget.strips > 0 && object.finalizer {
                    into.push(Stripped(reset));
                }
                if budget.wipes > 0 && object.status != Id::NONE {
                    into.push(Wiped(reset));
                }
            }
            None if budget.recreations > 0 => into.push(Recreated(reset)),
            None => {}
        }
    }
    into.push(if state.care == Care::Idle { Cares } else { CaresOn });
    if budget.crashes > 0 && !state.is_idle() {
        into.push(Crash);
    }
    into.push(Kubelet);
    if budget.rollouts > 0 {
        into.push(RolloutBegins);
    }
    into.push(RolloutEnds);
    let groups = if machine.scenario.one_group { 1 } else { machine.scenario.resets };
    for group in 0..groups {
        into.extend([Leave(group), Join(group), StrangerLeaves(group)]);
        if budget.joins > 0 && state.kafka_up {
            into.push(StrangerJoins(group));
        }
        if budget.records > 0 && state.kafka_up {
            into.push(Consumes(group));
        }
    }
    if budget.scales > 0 {
        into.extend([Scales(0), Scales(1)]);
        if machine.scenario.canary.is_some() {
            into.push(Scales(USUAL + 1));
        }
    }
    if budget.replacements > 0 {
        into.extend([Replaces(0), Replaces(USUAL)]);
    }
    if budget.unleashings > 0 && state.lease.is_some() {
        into.push(Unleashed);
    }
    if budget.touches > 0 {
        into.push(Touches);
    }
    // Before the canary nothing looks at it.
    let watches = |object: &Object| machine.memory().facts(object.status).canary_runs;
    if budget.restarts > 0 && state.objects.iter().flatten().any(watches) {
        into.push(Restarts);
    }
    if state.kafka_up && budget.outages > 0 {
        into.push(KafkaGoes);
    }
    into.push(KafkaComes);
    if budget.retentions > 0 {
        into.push(Retention);
    }
    // That a deadline passes while a request is under way is left out: nothing looks at the clock
    // before its answer is there.
    if state.is_idle() && budget.deadlines != Some(0) {
        into.push(Time);
    }
}

/// What comes of it; `None` when it cannot happen now, or nothing comes of it.
#[allow(clippy::too_many_lines, reason = "an arm for each thing that may happen")]
pub fn next(machine: &Machine, state: &State, happening: Happening) -> Option<State> {
    let mut next = *state;
    match happening {
        Begins(reset) => begins(machine, &mut next, reset, false)?,
        BeginsBlind(reset) => {
            next.budget.blinks -= 1;
            begins(machine, &mut next, reset, true)?;
        }
        GoesOn(reset) => goes_on(machine, &mut next, reset, false)?,
        GoesOnBlind(reset) => {
            next.budget.blinks -= 1;
            goes_on(machine, &mut next, reset, true)?;
        }
        Asks(reset) => asks(machine, &mut next, reset),
        Writes(reset) => writes(machine, &mut next, reset),
        Acts(reset) => acts(machine, &mut next, reset, Hearing::All),
        ActsOverridden(reset) => {
            next.budget.overrides -= 1;
            acts(machine, &mut next, reset, Hearing::Overridden);
        }
        ActsUnheard(reset) => {
            next.budget.losses -= 1;
            acts(machine, &mut next, reset, Hearing::Nothing);
        }
        Notes(reset) => notes(machine, &mut next, reset),
        Breaks(reset) => {
            next.budget.losses -= 1;
            next.running[reset] = IDLE;
        }
        Cares => cares(machine, &mut next)?,
        CaresOn => cares_on(machine, &mut next),
        Crash => {
            next.budget.crashes -= 1;
            next.running = [IDLE; RESETS];
            (next.care, next.care_fresh) = (Care::Idle, FRESH);
        }
        Kubelet => {
            next.workload.pods = next.workload.replicas;
            next.workload.restarted &= next.workload.pods > 0;
            // Pods that are created anew all have the newest revision.
            next.workload.rollout &= next.workload.pods > 0;
        }
        RolloutBegins if next.workload.pods > 0 && next.workload.replicas > 0 && !next.workload.rollout => {
            next.budget.rollouts -= 1;
            next.workload.rollout = true;
            next.workload_changed();
        }
        Restarts if next.workload.pods > 0 && !next.workload.restarted => {
            next.budget.restarts -= 1;
            next.workload.restarted = true;
        }
        RolloutEnds if next.workload.rollout => {
            next.workload.rollout = false;
            next.workload_changed();
        }
        Leave(group) if next.workload.replicas == 0 || next.workload.pods == 0 => next.groups[group].joined = false,
        Join(group) if next.workload.replicas > 0 && next.workload.pods > 0 && next.kafka_up => next.groups[group].joined = true,
        StrangerJoins(group) if !next.groups[group].stranger => {
            next.budget.joins -= 1;
            next.groups[group].stranger = true;
        }
        StrangerLeaves(group) => next.groups[group].stranger = false,
        Consumes(group) if !next.groups[group].is_empty() && next.groups[group].offset != LOG_END => {
            next.budget.records -= 1;
            // Without an offset from the start of the log.
            let from = Some(next.groups[group].offset).filter(|offset| *offset != NO_OFFSET).unwrap_or_default();
            next.groups[group].offset = from.max(next.log_start) + 1;
            next.groups[group].marker = 0;
        }
        Scales(replicas) if next.workload.replicas != replicas => {
            if replicas == 0
                && let Some(count) = next.lease.map(|lease| lease.replicas).or(next.witness.unleashed)
            {
                // This looks the same as the operator's own stop whose answer was lost: from the
                // Lease on, zero is the hold's. And so it is when the Lease was deleted since, for
                // a status may ask for the stop already.
                next.witness.held = Some(count);
                next.witness.changed = Some(next.workload.replicas).filter(|_| !next.witness.seen_at_zero);
            }
            next.budget.scales -= 1;
            next.workload.replicas = replicas;
            next.witness.meant = replicas;
            next.workload_changed();
            next.running.iter_mut().for_each(|running| running.fresh.undisturbed = false);
        }
        Leave(_) | Join(_) | StrangerJoins(_) | Consumes(_) | Scales(_) | RolloutBegins | RolloutEnds | Restarts => return None,
        Touches => {
            next.budget.touches -= 1;
            next.workload_changed();
        }
        Replaces(replicas) => {
            next.budget.replacements -= 1;
            next.workload =
                Workload { uid: next.workload.uid + 1, replicas, pods: 0, rollout: false, restarted: false, ..next.workload };
            next.groups.iter_mut().for_each(|group| group.joined = false);
            // The Lease belongs to the workload, and goes with it.
            next.lease = None;
            next.witness.meant = replicas;
            (next.witness.held, next.witness.changed, next.witness.seen_at_zero) = (None, None, false);
            next.workload_changed();
            next.lease_changed();
            next.running.iter_mut().for_each(|running| running.fresh.undisturbed = false);
        }
        KafkaGoes => {
            next.budget.outages -= 1;
            next.kafka_up = false;
        }
        KafkaComes => next.kafka_up = true,
        Retention => {
            next.budget.retentions -= 1;
            next.log_start = 20;
        }
        Deleted(reset) => {
            next.budget.deletions -= 1;
            let mut object = next.objects[reset]?;
            object.deleting = true;
            next.put(reset, object);
        }
        Stripped(reset) => {
            next.budget.strips -= 1;
            let object = Object { finalizer: false, ..next.objects[reset]? };
            next.put(reset, object);
        }
        Wiped(reset) => {
            next.budget.wipes -= 1;
            let object = Object { status: Id::NONE, ..next.objects[reset]? };
            next.put(reset, object);
        }
        Unleashed => {
            let lease = next.lease.take()?;
            next.budget.unleashings -= 1;
            next.witness.unleashed = Some(lease.replicas);
            next.lease_changed();
        }
        Recreated(reset) => {
            next.budget.recreations -= 1;
            let run = state.budget.recreations;
            next.objects[reset] = Some(Object {
                run: machine.scenario.budget.recreations - run + 1,
                status: Id::NONE,
                finalizer: false,
                deleting: false,
            });
            next.object_changed(reset);
        }
        Time => {
            next.now = next_time(machine, state)?;
            next.budget.deadlines = next.budget.deadlines.map(|left| left.saturating_sub(1));
        }
    }
    properties::look(machine, &mut next);
    (next != *state).then_some(next)
}

/// The next time at which something is over.
fn next_time(machine: &Machine, state: &State) -> Option<u16> {
    let memory = machine.memory();
    let times = state.objects.iter().flatten().flat_map(|object| {
        let facts = memory.facts(object.status);
        let of_canary = [facts.canary_steady, facts.canary_ends, facts.look_ends];
        [facts.planning_ends, facts.members_end, facts.rollout_ends, facts.hold_ends, facts.drain_ends]
            .into_iter()
            .chain(of_canary)
    });
    let lease = state.lease.map(|lease| lease.until);
    times.chain([lease]).flatten().filter(|time| *time > state.now).min()
}
