//! A model of the whole: the machine itself (`decide`, `after`, `care_for`, not a copy of them) in
//! a world that is explored in every order in which things can happen, within budgets of what may
//! go wrong.
//!
//! | file | what |
//! |---|---|
//! | `world` | what the API server, the kubelet, the broker and the operator's process hold |
//! | `actions` | what may happen, in steps of one request each |
//! | `passes` | what the operator does, as `reconcile` does it |
//! | `memory` | the machine, asked each question once |
//! | `translate`, `essence` | the model's little world in the machine's words, and what of a status counts |
//! | `properties` | what must hold, and how it must end |
//! | `scenarios` | which resets there are, and what may go wrong how often |
//! | `mutations` | each guard taken away in turn, and each fence around the machine: the model has to notice |
//!
//! `make model` also explores what takes too long for each time; `MODEL_ONLY=` and a part of their
//! names chooses some.
//!
//! Not in it: two operators at once (the leader's lease is tested on a real API server), a request
//! that lands after its sender has died, several partitions and several targets (the tables have
//! them), the order in which one look at Kubernetes reads its objects, and how Kafka and Kubernetes
//! answer what (tested on the real ones). Two conditions of taking up what an earlier run had
//! begun, that it is held since and that no other goes first, matter only when one of two resets is
//! deleted without its finalizer and created again: that takes too long to explore, and has its
//! tables in `receipts.rs`.

mod actions;
mod essence;
mod memory;
mod mutations;
mod passes;
mod properties;
mod scenarios;
mod translate;
mod world;

use std::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use stateright::{Checker, HasDiscoveries, Model, Property};

use self::{
    actions::Happening,
    memory::Memory,
    properties::{Future, Rule},
    scenarios::{LARGE, SCENARIOS, Scenario},
    world::State,
};

/// A scenario, and what the machine has answered in it so far.
pub struct Machine {
    scenario: Scenario,
    memory: Mutex<Memory>,
}

impl Machine {
    fn new(scenario: Scenario) -> Self {
        Self { scenario, memory: Mutex::new(Memory::new()) }
    }

    /// What is broken on the way from here to the end, in any future.
    fn ends_badly(&self, state: &State) -> Option<Rule> {
        let futures = [Future::Heals, Future::StaysBroken];
        futures.into_iter().find_map(|future| properties::ends_badly(self, state, future))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }
}

impl Model for Machine {
    type State = State;
    type Action = Happening;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(&self.scenario)]
    }

    fn actions(&self, state: &State, into: &mut Vec<Happening>) {
        actions::all(self, state, into);
    }

    fn next_state(&self, state: &State, happening: Happening) -> Option<State> {
        actions::next(self, state, happening)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("every rule holds, now and to the end", |machine: &Self, state: &State| {
            let bad = state.witness.broken.or_else(|| machine.ends_badly(state));
            machine.memory().ends_badly = bad;
            bad.is_none()
        })]
    }
}

/// What an exploration has come to.
struct Explored {
    states: usize,
    depth: usize,
    statuses: usize,
    /// The rule that was broken, and the shortest way there.
    found: Option<(Rule, Vec<String>)>,
}

/// Every state that can be reached, or those up to the first in which a rule is broken.
fn explore(scenario: Scenario) -> Explored {
    let checker = Machine::new(scenario).checker().threads(1).finish_when(HasDiscoveries::Any).spawn_bfs().join();
    let discovered = checker.discoveries().into_values().next();
    let memory = checker.model().memory();
    let found = discovered.map(|path| {
        let step = |(state, happening): (State, Option<Happening>)| line(&memory, &state, happening);
        (memory.ends_badly.unwrap(), path.into_vec().into_iter().map(step).collect())
    });
    assert!(found.is_some() || checker.is_done(), "not every state was seen");
    Explored { states: checker.unique_state_count(), depth: checker.max_depth(), statuses: memory.statuses(), found }
}

/// The little of a state that is worth a line, and what happens then.
fn line(memory: &Memory, state: &State, happening: Option<Happening>) -> String {
    let phases: Vec<_> = state.objects.iter().flatten().map(|object| memory.facts(object.status).phase).collect();
    let (workload, group, now) = (state.workload, state.groups[0], state.now);
    let members = if group.is_empty() { "no members" } else { "members" };
    let next = happening.map_or_else(|| "and from here on it ends badly".to_owned(), |happening| format!("{happening:?}"));
    format!("{phases:?}, {} replicas, {} pods, {members}, at {}, {now} s: {next}", workload.replicas, workload.pods, group.offset)
}

#[test]
fn whatever_happens_in_whatever_order_every_rule_holds() {
    let long = std::env::var_os("MODEL").is_some_and(|model| model == "long");
    let only = std::env::var("MODEL_ONLY").unwrap_or_default();
    let scenarios = SCENARIOS.iter().chain(if long { LARGE } else { &[] });
    let (mut total, mut broken) = (0, vec![]);
    for scenario in scenarios.filter(|scenario| scenario.name.contains(&only)) {
        let began = Instant::now();
        let Explored { states, depth, statuses, found } = explore(*scenario);
        let name = scenario.name;
        println!("{name:64} {states:>8} states, {depth:>3} steps deep, {statuses:>4} statuses, {:.1?}", began.elapsed());
        total += states;
        if let Some((rule, path)) = found {
            println!("{rule:?} is broken:\n  {}", path.join("\n  "));
            broken.push((name, rule));
        }
    }
    println!("{total} states in all");
    assert_eq!(broken, [], "with the way there printed above");
}
