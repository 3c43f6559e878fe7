//! A pass of the operator, in as many steps as it makes requests: as `reconcile` does it.

use super::{
    Machine,
    essence::Facts,
    memory::Id,
    properties,
    scenarios::Fence,
    world::{
        Care, Deed, FRESH, Fresh, IDLE, Kafka, Lease, Look, NO_OFFSET, Object, Pass, Receipt, Reply, Running, State, Turn, View,
        Way, Workload, code,
    },
};
use crate::{
    api::Phase,
    machine::{coordination::hold, guards::Guard},
};

pub fn begins(machine: &Machine, state: &mut State, reset: usize, blind: bool) -> Option<()> {
    let object = state.objects[reset]?;
    let facts = *machine.memory().facts(object.status);
    if facts.is_over && !object.finalizer {
        return None;
    }
    let takes_up = state.receipts[reset].is_some_and(|receipt| receipt.over.is_none());
    let turn = machine.scenario.turn(facts.phase, object.finalizer, takes_up, reset);
    if !state.is_free(turn) && machine.scenario.has(Fence::Turns) {
        return None;
    }
    let running = Running { object: Some(object), written: object.status, pass: Pass::Idle, turn, fresh: FRESH, carried: None };
    looks(machine, state, reset, running, blind)
}

/// Another step of a pass, with the status that the last one has come to: the object is not read again.
pub fn goes_on(machine: &Machine, state: &mut State, reset: usize, blind: bool) -> Option<()> {
    let running = state.running[reset];
    let object = running.object?;
    let turn = machine.scenario.turn(machine.memory().facts(object.status).phase, object.finalizer, false, reset);
    if !state.is_free(turn) && machine.scenario.has(Fence::Turns) {
        return None;
    }
    let fresh = match running.carried {
        Some(_) => running.fresh,
        None => Fresh { object: running.fresh.object, ..FRESH },
    };
    if looks(machine, state, reset, Running { turn, fresh, ..running }, blind).is_none() {
        state.running[reset] = IDLE;
    }
    Some(())
}

fn looks(machine: &Machine, state: &mut State, reset: usize, running: Running, blind: bool) -> Option<()> {
    let object = running.object?;
    let facts = *machine.memory().facts(object.status);
    let mut view = look(machine, state, object, &facts, reset, blind);
    if let Some((workload, lease)) = running.carried.filter(|_| view.workload != Look::Not) {
        (view.workload, view.lease) = (workload, lease);
    }
    let running = Running { carried: None, ..running };
    let asks = matches!(view.kafka, Kafka::Seen { .. });
    state.running[reset] = Running { pass: Pass::Looked(View { kafka: Kafka::NotAsked, ..view }), ..running };
    if !asks {
        return decides(machine, state, reset, view);
    }
    // What Kafka says is asked in a step of its own.
    Some(())
}

/// What `reconcile::observe` looks at in each phase. `Kafka::Seen` stands for: it is to be asked.
fn look(machine: &Machine, state: &State, object: Object, facts: &Facts, reset: usize, blind: bool) -> View {
    let mut view = View {
        object,
        workload: Look::Not,
        lease: Look::Not,
        others: None,
        receipt: Look::Not,
        kafka: Kafka::NotAsked,
        now: state.now,
    };
    let phase = facts.phase.unwrap_or(Phase::Pending);
    let mut targets = machine.scenario.has_workload(reset);
    let mut leases = false;
    if phase == Phase::Pending {
        view.others = Some(state.objects);
        view.receipt = state.receipts[reset].map_or(Look::Missing, Look::Known);
        leases = state.receipts[reset].is_some_and(|receipt| receipt.over.is_none());
        targets &= leases;
    } else {
        let overdue = facts.holds && facts.hold_ends.is_some_and(|end| end <= state.now);
        let ends = (object.deleting || overdue) && phase != Phase::Restoring && !phase.is_terminal();
        if ends || (phase.is_terminal() && (object.finalizer || object.deleting || !facts.needs_a_look)) {
            return view;
        }
        let starts = phase == Phase::Canary && !facts.canary_runs;
        if matches!(phase, Phase::Planning | Phase::Stopping | Phase::Restoring) || starts {
            view.others = Some(state.objects);
            leases = true;
        }
        // Nothing else is looked at before the finalizer is there, and without the guard everything is.
        if phase == Phase::Stopping && !object.finalizer && machine.scenario.away != Some(Guard::FinalizerFirst) {
            return view;
        }
        if !matches!(phase, Phase::Stopping | Phase::Restoring | Phase::Planned) && !starts {
            view.kafka = Kafka::Seen { group: state.groups[machine.scenario.group_of(reset)], log_start: state.log_start };
        }
    }
    if targets {
        view.workload = if blind { Look::Unknown } else { Look::Known(state.workload) };
        if leases {
            // The Lease is named after the workload that was recorded, or else after the one that
            // is there.
            let uid = if facts.target_uid == 0 { state.workload.uid } else { facts.target_uid };
            let found = state.lease.filter(|lease| lease.uid == uid).map_or(Look::Missing, Look::Known);
            view.lease = if blind && facts.target_uid == 0 { Look::Unknown } else { found };
        }
    }
    view
}

pub fn asks(machine: &Machine, state: &mut State, reset: usize) {
    let Pass::Looked(mut view) = state.running[reset].pass else { return };
    view.kafka = if state.kafka_up {
        Kafka::Seen { group: state.groups[machine.scenario.group_of(reset)], log_start: state.log_start }
    } else {
        Kafka::Away
    };
    view.now = state.now;
    if view.workload != Look::Not && machine.memory().is_read_back(&machine.scenario, reset, &view) {
        // Kafka was asked first, and then nothing else.
        view.workload = Look::Not;
    }
    if decides(machine, state, reset, view).is_none() {
        state.running[reset] = IDLE;
    }
}

/// `None` when nothing follows.
fn decides(machine: &Machine, state: &mut State, reset: usize, view: View) -> Option<()> {
    let mut memory = machine.memory();
    let mut outcome = memory.decide(&machine.scenario, reset, &view);
    let written = state.running[reset].written;
    outcome.writes |= outcome.next != written;
    outcome.writes &= !memory.needs_no_record(&machine.scenario, written, &outcome);
    let before = *memory.facts(view.object.status);
    let after = *memory.facts(outcome.next);
    drop(memory);
    properties::planned(state, &before, &after, &view);
    properties::decided(state, &before, &after, &outcome);
    properties::stated(state, reset, view.object, &before, &after, view.kafka);
    if outcome.ahead && state.witness.broken.is_none() {
        let running = &mut state.running[reset];
        goes_ahead(running, outcome.next);
        let is_stopped = (before.phase, after.phase) == (Some(Phase::Stopping), Some(Phase::Draining));
        running.carried = is_stopped.then_some((view.workload, view.lease));
        return Some(());
    }
    if !outcome.writes && outcome.deed.is_none() && state.witness.broken.is_none() {
        return None;
    }
    let is_carried =
        matches!(outcome.deed, Some(Deed::Claim { .. } | Deed::Release { .. } | Deed::Settle { .. } | Deed::Scale { .. }));
    state.running[reset].carried = is_carried.then_some((view.workload, view.lease));
    state.running[reset].pass = match outcome.deed {
        // Nothing to write before that.
        Some(deed) if !outcome.writes && !outcome.opens => Pass::Recorded { deed },
        Some(_) | None => Pass::Decided { outcome, opened: false, saw: view.kafka },
    };
    Some(())
}

/// The pass goes on with a status that is not written.
fn goes_ahead(running: &mut Running, next: Id) {
    running.object = running.object.map(|own| Object { status: next, ..own });
    running.pass = Pass::Ahead;
    running.turn = Turn::None;
}

pub fn writes(machine: &Machine, state: &mut State, reset: usize) {
    let Pass::Decided { outcome, opened, saw } = state.running[reset].pass else { return };
    let mut running = state.running[reset];
    let Some(own) = running.object else { return };
    if outcome.opens && !opened {
        // It is made over whatever stands there; whose object is gone meanwhile makes it all the
        // same.
        state.receipts[reset] = Some(Receipt { code: code(reset, own.run), over: None, plan: outcome.next });
        state.running[reset].pass = Pass::Decided { outcome, opened: true, saw };
        return;
    }
    if outcome.writes {
        let over = state.objects[reset].filter(|_| running.fresh.object || !machine.scenario.has(Fence::StatusVersion));
        let Some(over) = over else {
            state.running[reset] = IDLE;
            return;
        };
        let memory = machine.memory();
        let (before, after) = (*memory.facts(running.written), *memory.facts(outcome.next));
        drop(memory);
        properties::recorded(&machine.scenario, state, reset, own, &before, &after, saw);
        running.written = outcome.next;
        running.object = Some(Object { status: outcome.next, ..own });
        state.objects[reset] = Some(Object { status: outcome.next, ..over });
    }
    if matches!(running.turn, Turn::Admission { until_recorded: true } | Turn::TakeUp(_)) {
        running.turn = Turn::None;
    }
    state.running[reset] = match outcome.deed {
        Some(deed) => Running { pass: Pass::Recorded { deed }, ..running },
        None => IDLE,
    };
}

/// What the operator hears of what it does, and what comes of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// The answer.
    All,
    /// Nothing: the answer is lost.
    Nothing,
    /// The answer that an admission policy has changed.
    Overridden,
}

pub fn acts(machine: &Machine, state: &mut State, reset: usize, hearing: Hearing) {
    let Running { object: Some(own), pass: Pass::Recorded { deed }, fresh, .. } = state.running[reset] else { return };
    properties::acting(state, own, deed);
    let reply = match deed {
        Deed::AddFinalizer | Deed::RemoveFinalizer if fresh.object => {
            state.put(reset, Object { finalizer: deed == Deed::AddFinalizer, ..own });
            Reply::Done
        }
        Deed::Scale { replicas, way } if fresh.workload || !machine.scenario.has(Fence::ScaleVersion) => {
            scale(machine, state, Some(code(reset, own.run)), replicas, way);
            if hearing == Hearing::Overridden {
                state.workload.replicas = 1;
                state.witness.overridden = Some(1);
                Reply::Overridden(1)
            } else {
                Reply::Done
            }
        }
        Deed::Claim { lease, .. } | Deed::Release { lease } if fresh.lease => {
            let held = Some(lease).filter(|lease| lease.claims != 0 && lease.uid == state.workload.uid);
            write_lease(state, held);
            if state.workload.replicas == 0 && !state.witness.seen_at_zero {
                // Scaled to zero since the look that the Lease was made from. As above: from the
                // Lease on, zero is the hold's.
                state.witness.held = held.map(|lease| lease.replicas);
            }
            Reply::Done
        }
        Deed::AddFinalizer | Deed::RemoveFinalizer | Deed::Scale { .. } | Deed::Claim { .. } | Deed::Release { .. } => {
            Reply::Stale
        }
        Deed::Commit { offset, marked, .. } => commit(machine, state, reset, own, offset, marked),
        Deed::Settle { keep } => settle(machine, state, reset, own, keep),
    };
    let reply = if hearing == Hearing::Nothing { Reply::Timeout } else { reply };
    state.running[reset].carried = carried(state.running[reset].carried, deed, reply);
    let (next, goes_on) = machine.memory().after(&machine.scenario, reset, own.status, deed, reply, state.now);
    if goes_on && reply != Reply::Stale && deed != Deed::RemoveFinalizer {
        let running = &mut state.running[reset];
        if deed == Deed::AddFinalizer {
            running.object = Some(Object { finalizer: true, ..own });
            running.fresh.object = true;
        }
        goes_ahead(running, next);
    } else if next != own.status {
        state.running[reset].pass = Pass::Answered { deed, reply };
    } else {
        state.running[reset] = IDLE;
    }
}

/// As `reconcile::Carried` does it.
fn carried(looked: Option<(Look<Workload>, Look<Lease>)>, deed: Deed, reply: Reply) -> Option<(Look<Workload>, Look<Lease>)> {
    let (workload, lease) = looked?;
    match (deed, reply, workload) {
        (Deed::Claim { lease, .. }, Reply::Done, Look::Known(Workload { replicas: 1.., .. })) => {
            Some((workload, Look::Known(lease)))
        }
        (Deed::Release { lease }, Reply::Done, _) => {
            Some((workload, if lease.claims == 0 { Look::Missing } else { Look::Known(lease) }))
        }
        (Deed::Scale { replicas, way }, Reply::Done, Look::Known(found))
            if !found.connector && (way == Way::Restore || (way == Way::Stop && found.pods > 0)) =>
        {
            Some((Look::Known(Workload { replicas, ..found }), lease))
        }
        (Deed::Settle { .. }, Reply::Done | Reply::Refused, _) => Some((workload, lease)),
        _ => None,
    }
}

fn scale(machine: &Machine, state: &mut State, by: Option<u8>, replicas: u8, way: Way) {
    properties::scaling(machine, state, by, replicas, way);
    state.workload.replicas = replicas;
    state.workload_changed();
    if by.is_none() {
        // A commit that is under way when its object loses its finalizer and goes: only the broker
        // can keep it out now.
        state.running.iter_mut().for_each(|running| running.fresh.undisturbed = false);
    }
}

fn write_lease(state: &mut State, lease: Option<Lease>) {
    state.lease = lease;
    state.lease_changed();
    match lease {
        None => (state.witness.held, state.witness.changed, state.witness.seen_at_zero) = (None, None, false),
        Some(lease) => state.witness.seen_at_zero |= lease.claims.count_ones() > 1,
    }
}

fn commit(machine: &Machine, state: &mut State, reset: usize, own: Object, offset: u8, marked: bool) -> Reply {
    let group = machine.scenario.group_of(reset);
    if !state.kafka_up {
        return Reply::Unreachable;
    }
    if !state.groups[group].is_empty() && machine.scenario.has(Fence::Broker) {
        return Reply::BesideMembers;
    }
    properties::committing(machine, state, reset, own, offset);
    state.groups[group].offset = offset;
    // Nothing remains that could carry one.
    state.groups[group].marker = if offset == NO_OFFSET || !marked { 0 } else { code(reset, own.run) };
    Reply::Committed
}

/// As `kubernetes::Receipts` does it.
fn settle(machine: &Machine, state: &mut State, reset: usize, own: Object, keep: bool) -> Reply {
    let outcome = machine.memory().facts(own.status).outcome;
    let Some((phase, _)) = outcome else { return Reply::Stale };
    let own = code(reset, own.run);
    match (state.receipts[reset], keep) {
        (Some(receipt), true) => state.receipts[reset] = Some(Receipt { code: own, over: Some(phase), ..receipt }),
        (None, true) => return Reply::Refused,
        (Some(receipt), false) if receipt.code != own => return Reply::Refused,
        (Some(_), false) => state.receipts[reset] = None,
        (None, false) => {}
    }
    Reply::Done
}

pub fn notes(machine: &Machine, state: &mut State, reset: usize) {
    let Running { pass, fresh, .. } = state.running[reset];
    let Pass::Answered { deed, reply } = pass else { return };
    state.running[reset] = IDLE;
    // What changes the object itself is written over the version from before: only an answer that
    // changes nothing is written.
    let Some(object) = state.objects[reset].filter(|_| fresh.object) else { return };
    let mut memory = machine.memory();
    let (next, _) = memory.after(&machine.scenario, reset, object.status, deed, reply, state.now);
    let (before, after) = (*memory.facts(object.status), *memory.facts(next));
    drop(memory);
    if next != object.status {
        properties::recorded(&machine.scenario, state, reset, object, &before, &after, Kafka::NotAsked);
        state.objects[reset] = Some(Object { status: next, ..object });
    }
}

/// `None` when there is nothing to do.
pub fn cares(machine: &Machine, state: &mut State) -> Option<()> {
    let lease = state.lease?;
    if !state.is_free(Turn::Holds(0)) && machine.scenario.has(Fence::Turns) {
        return None;
    }
    let care = machine.memory().care(&machine.scenario, lease, state.workload, state.objects, state.now);
    state.care = match care {
        hold::HoldAction::Keep | hold::HoldAction::Unseen(_) => return None,
        hold::HoldAction::Keeping(claims) => {
            let claims = claims.iter().map(|claim| 1 << claim.uid.strip_prefix("uid-").unwrap().parse::<u8>().unwrap()).sum();
            Care::Writes(Lease { claims, ..lease })
        }
        hold::HoldAction::Forget(_) => Care::Writes(Lease { claims: 0, ..lease }),
        hold::HoldAction::Restore { .. } => Care::Restores(lease.replicas),
    };
    state.care_fresh = FRESH;
    Some(())
}

pub fn cares_on(machine: &Machine, state: &mut State) {
    match state.care {
        Care::Writes(lease) if state.care_fresh.lease => write_lease(state, Some(lease).filter(|lease| lease.claims != 0)),
        Care::Restores(replicas) if state.care_fresh.workload => scale(machine, state, None, replicas, Way::Restore),
        Care::Idle | Care::Writes(_) | Care::Restores(_) => {}
    }
    (state.care, state.care_fresh) = (Care::Idle, FRESH);
}
