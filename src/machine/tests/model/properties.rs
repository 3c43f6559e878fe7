//! What must hold: the invariants of the design, seen from outside of the machine.

use super::{
    Machine,
    actions::{self, Happening},
    essence::Facts,
    scenarios::{Aim, Budget, Scenario},
    translate::CANARY,
    world::{Care, Decided, Deed, Kafka, Look, NO_OFFSET, Object, Pass, State, View, Way, code},
};
use crate::api::{CanaryState, PartitionOutcome, Phase, Reason};

/// A rule, by what breaking it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// 1: a commit while a container of the targets runs.
    CommitsWhileRunning,
    /// 1: a commit though the broker did not report the group empty.
    CommitsBesideMembers,
    /// 2: a stop that the Lease does not tell of, or with another count.
    StopsUnrecorded,
    /// 2: a canary that the Lease does not tell of.
    StartsUnrecorded,
    /// A canary passes that has not consumed, or has not gone on since, or of which a container was started again.
    PassesUnproven,
    /// 2: a stop for an object that may go away.
    StopsUnguarded,
    /// 2: another count than was found before the first stop.
    PutsBackAnother,
    /// 2: over a count that another client has set.
    PutsBackOverOthers,
    /// 2: to a workload that was not stopped.
    PutsBackAnotherWorkload,
    /// 2: what another reset still needs at zero.
    TakesFromAnother,
    /// 2: an end while the replicas are not back.
    EndsHolding,
    /// 3: the same name and spec moves offsets a second time.
    MovesTwice,
    /// 3: another offset than was right when the consumers had stopped.
    MovesElsewhere,
    /// 3: an offset outside of the bounds that held right before.
    MovesOutside,
    /// 2: a stop while pods of two revisions run.
    StopsInARollout,
    /// A stop is planned though a member of the group runs elsewhere.
    PlansBesideMembers,
    /// A stop is planned though the group has no member and pods are ready.
    PlansForNobody,
    /// A hold lasts to its end though nothing of the target runs any more.
    HoldsForNothing,
    /// 5: what is over goes on.
    GoesOn,
    /// 6: two resets work on one group.
    TwoAtOnce,
    /// 7: the status says more than was read back, or less than was done.
    SaysWrong,
    /// It waits for nothing that could wake it.
    Sleeps,
    /// 2, 8: with all faults over it does not end well.
    NeverEnds,
    /// 2, 8: with Kafka gone and the pods hanging it does not end well.
    NeverEndsAlone,
}

fn require(state: &mut State, holds: bool, rule: Rule) {
    if !holds && state.witness.broken.is_none() {
        state.witness.broken = Some(rule);
    }
}

/// A decision was made.
pub fn decided(state: &mut State, before: &Facts, after: &Facts, outcome: &Decided) {
    let over = |facts: &Facts| facts.phase.is_some_and(Phase::is_terminal);
    let inert = matches!(outcome.deed, None | Some(Deed::RemoveFinalizer));
    require(state, !over(before) || inert, Rule::GoesOn);
    require(state, !outcome.sleeps || over(after), Rule::Sleeps);
}

/// A plan was made, or not; a canary has passed, or not.
pub fn planned(state: &mut State, before: &Facts, after: &Facts, view: &View) {
    if after.canary == Some(CanaryState::Passed) && before.canary != after.canary {
        let consumed =
            matches!(view.kafka, Kafka::Seen { group, .. } if group.offset > after.target && group.offset != NO_OFFSET);
        let steady = matches!(view.workload, Look::Known(workload) if !workload.restarted);
        let is_member = matches!(view.kafka, Kafka::Seen { group, .. } if !group.is_empty());
        let goes_on = is_member && before.canary_steady.is_some_and(|from| state.now >= from);
        require(state, consumed && steady && goes_on, Rule::PassesUnproven);
    }
    let stops = before.phase == Some(Phase::Planning) && after.phase == Some(Phase::Stopping);
    let (Kafka::Seen { group, .. }, Look::Known(workload), true) = (view.kafka, view.workload, stops) else { return };
    require(state, !(group.joined && group.stranger && workload.pods > 0), Rule::PlansBesideMembers);
    require(state, !(group.is_empty() && workload.pods > 0), Rule::PlansForNobody);
}

/// A decision reports offsets as reset only when they were read back.
pub fn stated(state: &mut State, reset: usize, object: Object, before: &Facts, after: &Facts, saw: Kafka) {
    let own = code(reset, object.run);
    let new_outcome = after.outcome.filter(|_| before.outcome.is_none());
    let reset_now =
        after.partition_outcome == Some(PartitionOutcome::Reset) && before.partition_outcome != after.partition_outcome;
    if reset_now || new_outcome == Some((Phase::Succeeded, Reason::Succeeded)) {
        // From the second commit on that may have landed, the offset alone has to do: some brokers drop the marker.
        let is_ours = |marker| marker == if after.undone { 0 } else { own } || after.read_back_by_offset;
        let read_back =
            matches!(saw, Kafka::Seen { group, .. } if group.offset == after.target && (after.removes || is_ours(group.marker)));
        let shown = if after.removes { None } else { Some(after.target) };
        require(state, read_back && after.after == shown, Rule::SaysWrong);
    }
}

/// A status is being written.
pub fn recorded(scenario: &Scenario, state: &mut State, reset: usize, object: Object, before: &Facts, after: &Facts, saw: Kafka) {
    let over = |facts: &Facts| facts.phase.is_some_and(Phase::is_terminal);
    let own = code(reset, object.run);
    require(state, !over(before) || before.phase == after.phase, Rule::GoesOn);
    let ends = over(after) && !over(before);
    require(state, !ends || !after.stop_requested || after.restored.is_some(), Rule::EndsHolding);
    let new_outcome = after.outcome.filter(|_| before.outcome.is_none());
    if let Some((_, reason)) = new_outcome
        && after.says_nothing_changed
        && reason != Reason::AlreadyApplied
    {
        require(state, state.witness.committers[reset] & (1 << own) == 0, Rule::SaysWrong);
    }
    if ends && state.witness.committed[reset].is_some() {
        state.witness.over[reset] = true;
    }
    if after.stopped && !before.stopped {
        state.witness.seen_at_zero = true;
    }
    if let Kafka::Seen { group, .. } = saw
        && after.plan_is_final
        && !before.plan_is_final
    {
        state.witness.before[reset].get_or_insert(group.offset);
    }
    // A relative target counts from where the group stood at the last look before the first commit.
    if let Kafka::Seen { group, .. } = saw
        && after.plan_is_final
        && !before.plan_is_final
        && state.witness.committed[reset].is_none()
    {
        state.witness.expected[reset] = Some(aimed(scenario, group.offset));
    }
}

/// A pass is about to act.
pub fn acting(state: &mut State, own: Object, deed: Deed) {
    match deed {
        Deed::Commit { gone, free, .. } => {
            require(state, gone, Rule::CommitsWhileRunning);
            require(state, free, Rule::CommitsBesideMembers);
        }
        Deed::Claim { .. } | Deed::Scale { way: Way::Stop | Way::Canary, .. } => {
            require(state, own.finalizer, Rule::StopsUnguarded);
        }
        Deed::Scale { way: Way::Restore, .. }
        | Deed::AddFinalizer
        | Deed::RemoveFinalizer
        | Deed::Release { .. }
        | Deed::Settle { .. } => {}
    }
}

/// The workload is scaled by us: by a reset, or by the reconciler of Leases.
pub fn scaling(machine: &Machine, state: &mut State, by: Option<u8>, replicas: u8, way: Way) {
    let before = state.workload.replicas;
    if way == Way::Stop {
        let witness = state.witness;
        let counts = witness.held.is_some() && witness.seen_at_zero;
        let lease = state.lease;
        let recorded = by.is_none_or(|own| {
            lease.is_some_and(|lease| {
                lease.is_claimed_by(own) && lease.uid == state.workload.uid && (counts || lease.replicas == before)
            })
        });
        require(state, recorded || witness.unleashed.is_some(), Rule::StopsUnrecorded);
        require(state, counts || before == 0 || !state.workload.rollout, Rule::StopsInARollout);
        if !counts {
            state.witness.held = Some(before);
        }
        return;
    }
    // From the Lease on, the count of the canary is the hold's, as zero is.
    let lease = state.lease.filter(|lease| lease.uid == state.workload.uid);
    let of_canary = lease.map_or(state.witness.unleashed.is_some() && before == CANARY, |lease| lease.canary == before);
    if way == Way::Canary {
        let recorded = lease.is_some_and(|lease| lease.canary == replicas && by.is_some_and(|own| lease.is_claimed_by(own)));
        require(state, recorded || state.witness.unleashed.is_some(), Rule::StartsUnrecorded);
        require(state, before == 0, Rule::PutsBackOverOthers);
        require(state, !is_needed(machine, state, by), Rule::TakesFromAnother);
        for reset in 0..state.objects.len() {
            state.witness.canary_since[reset] |= state.witness.committed[reset].is_some();
        }
        return;
    }
    require(state, before == 0 || of_canary || Some(before) == state.witness.overridden, Rule::PutsBackOverOthers);
    let Some(count) = state.witness.held else {
        require(state, false, Rule::PutsBackAnotherWorkload);
        return;
    };
    require(state, replicas == count || Some(replicas) == state.witness.changed, Rule::PutsBackAnother);
    require(state, !is_needed(machine, state, by), Rule::TakesFromAnother);
    state.witness.put_back = Some(replicas);
    (state.witness.held, state.witness.changed, state.witness.seen_at_zero) = (None, None, false);
    for reset in 0..state.objects.len() {
        state.witness.back_since[reset] |= state.witness.committed[reset].is_some();
    }
}

/// Whether another reset needs the workload at zero.
fn is_needed(machine: &Machine, state: &State, by: Option<u8>) -> bool {
    let memory = machine.memory();
    let needs = |(index, object): (usize, &Option<Object>)| {
        let Some(object) = object else { return false };
        let facts = memory.facts(object.status);
        Some(code(index, object.run)) != by
            && matches!(facts.phase, Some(Phase::Stopping | Phase::Draining | Phase::Resetting))
            && facts.stop_requested
            && facts.restored.is_none()
            // One whose time is over is about to bring it back itself.
            && facts.hold_ends.is_none_or(|end| state.now < end)
            && facts.target_uid == state.workload.uid
    };
    state.objects.iter().enumerate().any(needs)
}

fn aimed(scenario: &Scenario, from: u8) -> u8 {
    match scenario.aim {
        Aim::Offset(offset) => offset,
        Aim::Back(by) => from.saturating_sub(by),
        Aim::Removal => NO_OFFSET,
    }
}

/// The broker accepts a commit.
pub fn committing(machine: &Machine, state: &mut State, reset: usize, object: Object, offset: u8) {
    let undisturbed = state.running[reset].fresh.undisturbed;
    let runs = state.workload.replicas > 0 || state.workload.pods > 0;
    require(state, !(machine.scenario.has_workload(reset) && runs && undisturbed), Rule::CommitsWhileRunning);
    let witness = state.witness;
    require(state, state.groups[machine.scenario.group_of(reset)].is_empty(), Rule::CommitsBesideMembers);
    let twice = witness.over[reset] || (witness.committed[reset].is_some() && witness.back_since[reset]);
    // The undo of a canary whose object has lost its finalizer and gone meanwhile: only the broker can keep it out now.
    let canary_since = witness.canary_since[reset] || state.lease.is_some_and(|lease| lease.canary != 0);
    let twice = twice && (undisturbed || !canary_since);
    require(state, !twice, Rule::MovesTwice);
    let now = state.groups[machine.scenario.group_of(reset)].offset;
    let expected = *state.witness.expected[reset].get_or_insert(aimed(&machine.scenario, now));
    if witness.committed[reset].is_none() {
        state.witness.before[reset].get_or_insert(now);
    }
    // Once a canary has consumed, only what stood before may be committed.
    let expected = if canary_since { witness.before[reset].unwrap_or(NO_OFFSET) } else { expected };
    let Pass::Recorded { deed: Deed::Commit { log_start, .. } } = state.running[reset].pass else { return };
    require(state, offset >= log_start, Rule::MovesOutside);
    require(state, offset == expected || (offset > expected && offset <= state.log_start), Rule::MovesElsewhere);
    let own = code(reset, object.run);
    state.witness.committed[reset].get_or_insert(own);
    state.witness.committers[reset] |= 1 << own;
}

/// What must hold in every state.
pub fn look(machine: &Machine, state: &mut State) {
    if machine.scenario.resets < 2 || !machine.scenario.one_group {
        return;
    }
    let memory = machine.memory();
    let works = |object: &Option<Object>| {
        object.is_some_and(|object| {
            let phase = memory.facts(object.status).phase;
            let working = phase.is_some_and(Phase::may_hold);
            object.finalizer && working
        })
    };
    let both = state.objects.iter().all(works);
    drop(memory);
    require(state, !both, Rule::TwoAtOnce);
}

/// How the world goes on once nothing bad happens any more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Future {
    /// All faults are over.
    Heals,
    /// Kafka stays away, a consumer that is none of ours stays in the group, and no pod ends.
    StaysBroken,
}

/// The most passes that a run may need to its end.
const PATIENCE: usize = 400;

/// What is broken when every actor gets its turn until nothing happens any more. Nothing is, when
/// every reset is over, nothing is held and the count is back.
pub fn ends_badly(machine: &Machine, from: &State, future: Future) -> Option<Rule> {
    let never = if future == Future::Heals { Rule::NeverEnds } else { Rule::NeverEndsAlone };
    let mut state = *from;
    // What may still go wrong does not any more.
    state.budget = Budget::default();
    state.kafka_up &= future == Future::Heals;
    let mut path = vec![];
    for _ in 0..PATIENCE {
        let print = state.print();
        if machine.memory().well[future as usize].contains(&print) {
            machine.memory().well[future as usize].extend(path);
            return None;
        }
        path.push(print);
        let Some(next) = fair_step(machine, &state, future) else {
            let well = is_well(machine, &state);
            if well {
                machine.memory().well[future as usize].extend(path);
            }
            return (!well).then_some(never);
        };
        if future == Future::Heals && state.workload.foreign && holds_for_nothing(machine, &state, &next) {
            return Some(Rule::HoldsForNothing);
        }
        state = next;
        if state.witness.broken.is_some() {
            return state.witness.broken;
        }
    }
    Some(never)
}

/// With all faults over and every actor at rest, the time goes on to the end of a hold, though no
/// pod of the target runs.
fn holds_for_nothing(machine: &Machine, before: &State, after: &State) -> bool {
    let memory = machine.memory();
    let waits = |object: &Object| {
        let facts = memory.facts(object.status);
        let ends = facts.hold_ends.is_some_and(|end| before.now < end && after.now >= end);
        facts.phase == Some(Phase::Stopping) && facts.stop_requested && ends
    };
    before.workload.replicas == 0 && before.workload.pods == 0 && before.objects.iter().flatten().any(waits)
}

/// The one thing that happens next: every actor comes to its turn, because the one before it
/// comes to rest.
fn fair_step(machine: &Machine, state: &State, future: Future) -> Option<State> {
    let step = |happening| actions::next(machine, state, happening);
    let resets = 0..machine.scenario.resets;
    for reset in resets.clone() {
        match state.running[reset].pass {
            Pass::Idle => {}
            Pass::Ahead => {
                // It may wait for the turn of another pass.
                if let Some(next) = step(Happening::GoesOn(reset)) {
                    return Some(next);
                }
            }
            Pass::Looked(_) => return step(Happening::Asks(reset)),
            Pass::Decided { .. } => return step(Happening::Writes(reset)),
            Pass::Recorded { .. } => return step(Happening::Acts(reset)),
            Pass::Answered { .. } => return step(Happening::Notes(reset)),
        }
    }
    if state.care != Care::Idle {
        return step(Happening::CaresOn);
    }
    if future == Future::Heals {
        let healing = [
            Happening::KafkaComes,
            Happening::RolloutEnds,
            Happening::Kubelet,
            Happening::Leave(0),
            Happening::Leave(1),
            Happening::Join(0),
            Happening::Join(1),
            Happening::StrangerLeaves(0),
            Happening::StrangerLeaves(1),
        ];
        if let Some(next) = healing.into_iter().find_map(step) {
            return Some(next);
        }
    }
    resets
        .clone()
        .find_map(|reset| whole_pass(machine, state, reset))
        .or_else(|| step(Happening::Cares))
        .or_else(|| step(Happening::Time))
}

/// A pass that runs through; `None` when it changes nothing.
fn whole_pass(machine: &Machine, state: &State, reset: usize) -> Option<State> {
    let mut next = actions::next(machine, state, Happening::Begins(reset))?;
    // One that never comes to rest is found by the patience of `ends_badly`.
    for _ in 0..PATIENCE {
        let happening = match next.running[reset].pass {
            Pass::Idle => break,
            Pass::Ahead => Happening::GoesOn(reset),
            Pass::Looked(_) => Happening::Asks(reset),
            Pass::Decided { .. } => Happening::Writes(reset),
            Pass::Recorded { .. } => Happening::Acts(reset),
            Pass::Answered { .. } => Happening::Notes(reset),
        };
        next = actions::next(machine, &next, happening)?;
        if next.witness.broken.is_some() {
            break;
        }
    }
    (next != *state).then_some(next)
}

fn is_well(machine: &Machine, state: &State) -> bool {
    let memory = machine.memory();
    let over = |object: &Object| memory.facts(object.status).phase.is_some_and(Phase::is_terminal) && !object.finalizer;
    let counts = [Some(state.witness.meant), state.witness.put_back];
    state.objects.iter().flatten().all(over)
        && state.lease.is_none()
        && counts.contains(&Some(state.workload.replicas))
        && (state.workload.replicas > 0 || state.witness.meant == 0)
}
