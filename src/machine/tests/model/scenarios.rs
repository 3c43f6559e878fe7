//! What is explored: which resets there are, and what may go wrong how often.

use super::world::Turn;
use crate::{
    api::{OnCanaryFailure, Phase},
    machine::guards::Guard,
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aim {
    Offset(u8),
    Back(u8),
    /// That the committed offset is removed.
    Removal,
}

/// How often each thing may happen that is not wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// The operator dies, with all that it has in flight.
    pub crashes: u8,
    /// One request fails, or its answer is lost.
    pub losses: u8,
    /// Another client scales the workload.
    pub scales: u8,
    /// Another client changes something else of the workload.
    pub touches: u8,
    /// A consumer that runs in no pod of the workload joins the group.
    pub joins: u8,
    /// Kafka goes away.
    pub outages: u8,
    /// A rollout of the workload begins.
    pub rollouts: u8,
    /// An admission policy changes the zero that the operator sets.
    pub overrides: u8,
    /// The OffsetReset is deleted.
    pub deletions: u8,
    /// Its finalizer is taken off by hand.
    pub strips: u8,
    /// Its status is wiped.
    pub wipes: u8,
    /// The Lease of the workload is deleted by hand.
    pub unleashings: u8,
    /// It is created again with the same name and spec.
    pub recreations: u8,
    /// The workload is deleted and recreated.
    pub replacements: u8,
    /// The workload cannot be read.
    pub blinks: u8,
    /// A container of the workload is started again.
    pub restarts: u8,
    /// Members consume a record and commit.
    pub records: u8,
    /// Retention deletes records.
    pub retentions: u8,
    /// The clock goes to the next time that means something while anything of this happens; `None`
    /// for without a bound.
    pub deadlines: Option<u8>,
}

/// One configuration that is explored as a whole.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
pub struct Scenario {
    pub name: &'static str,
    pub aim: Aim,
    pub resets: usize,
    /// Both are about one group; otherwise about two groups of the same workload.
    pub one_group: bool,
    /// The second one lives in another namespace, and has no workload to stop.
    pub elsewhere: bool,
    /// The cluster has an id of its own.
    pub cluster_id: bool,
    /// A pod that the workload does not control matches its selector.
    pub foreign: bool,
    /// One replica comes back first.
    pub canary: Option<OnCanaryFailure>,
    /// The workload is a connector.
    pub connector: bool,
    pub budget: Budget,
    /// What is taken away from the machine.
    pub away: Option<Guard>,
    /// What is taken away from those around it.
    pub down: Option<Fence>,
}

/// What the machine relies on and does not do itself. The version of a Lease is none of them: among
/// the passes of one operator the turns do what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fence {
    /// `reconcile::Locks`: one pass at a time where others must see what is recorded.
    Turns,
    /// A status is written over the version that was read only.
    StatusVersion,
    /// So is a workload's scale.
    ScaleVersion,
    /// The broker takes no commit beside members.
    Broker,
}

impl Fence {
    pub const ALL: [Self; 4] = [Self::Turns, Self::StatusVersion, Self::ScaleVersion, Self::Broker];
}

impl Scenario {
    pub fn has(&self, fence: Fence) -> bool {
        self.down != Some(fence)
    }

    pub fn group_of(&self, reset: usize) -> usize {
        if self.one_group { 0 } else { reset }
    }

    pub fn has_workload(&self, reset: usize) -> bool {
        !(self.elsewhere && reset == 1)
    }

    /// Namespaces have their own turns.
    fn namespace(&self, reset: usize) -> u8 {
        u8::from(self.elsewhere && reset == 1)
    }

    /// The turn that a pass needs, as `reconcile::Turns` hands it out.
    pub fn turn(&self, phase: Option<Phase>, admit: bool, takes_up: bool, reset: usize) -> Turn {
        match phase {
            None | Some(Phase::Pending) if takes_up => Turn::TakeUp(self.namespace(reset)),
            None | Some(Phase::Pending) => Turn::Admission { until_recorded: true },
            Some(Phase::Stopping) if !admit => Turn::Admission { until_recorded: false },
            Some(Phase::Stopping | Phase::Canary | Phase::Restoring) => Turn::Holds(self.namespace(reset)),
            Some(
                Phase::Planning
                | Phase::Draining
                | Phase::Resetting
                | Phase::Succeeded
                | Phase::Failed
                | Phase::Cancelled
                | Phase::Planned
                | Phase::Unknown,
            ) => Turn::None,
        }
    }
}

pub const NOTHING: Budget = Budget {
    crashes: 0,
    losses: 0,
    scales: 0,
    touches: 0,
    joins: 0,
    outages: 0,
    rollouts: 0,
    overrides: 0,
    deletions: 0,
    strips: 0,
    unleashings: 0,
    wipes: 0,
    recreations: 0,
    replacements: 0,
    blinks: 0,
    restarts: 0,
    records: 0,
    retentions: 0,
    deadlines: None,
};

pub const ONE: Scenario = Scenario {
    name: "one reset",
    aim: Aim::Offset(10),
    resets: 1,
    one_group: true,
    elsewhere: false,
    cluster_id: true,
    foreign: false,
    canary: None,
    connector: false,
    budget: NOTHING,
    away: None,
    down: None,
};

/// Every time that passes multiplies the states of two resets.
pub const TWO: Scenario = Scenario { name: "two resets", resets: 2, budget: AT_ONCE, ..ONE };

const AT_ONCE: Budget = Budget { deadlines: Some(0), ..NOTHING };

const REMOVAL: Scenario = Scenario { aim: Aim::Removal, ..ONE };

/// A canary whose failure is undone: it passes where a record is consumed, and fails where none is.
pub const CANARY: Scenario = Scenario { canary: Some(OnCanaryFailure::Undo), ..ONE };

const CONNECTOR: Scenario = Scenario { connector: true, ..ONE };

const SHIFT: Scenario = Scenario { aim: Aim::Back(5), ..ONE };

/// Explored each time.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "a death, another one, a lost answer", budget: Budget { crashes: 2, losses: 1, ..NOTHING }, ..ONE },
    Scenario { name: "a death, and another client scales", budget: Budget { crashes: 1, scales: 1, ..NOTHING }, ..ONE },
    Scenario { name: "a lost answer, and a stranger joins", budget: Budget { losses: 1, joins: 1, ..NOTHING }, ..ONE },
    Scenario { name: "a death, and Kafka goes", budget: Budget { crashes: 1, outages: 1, ..NOTHING }, ..ONE },
    Scenario {
        name: "a death, a lost answer, a deletion",
        budget: Budget { crashes: 1, losses: 1, deletions: 1, ..NOTHING },
        ..ONE
    },
    Scenario {
        name: "a shift: a lost answer, and a record is consumed",
        budget: Budget { losses: 1, records: 1, ..NOTHING },
        ..SHIFT
    },
    Scenario {
        name: "a removal: a death, a lost answer, a deletion",
        budget: Budget { crashes: 1, losses: 1, deletions: 1, ..NOTHING },
        ..REMOVAL
    },
    Scenario {
        name: "a removal: a stranger joins, and a record is consumed",
        budget: Budget { joins: 1, records: 1, ..NOTHING },
        ..REMOVAL
    },
    Scenario {
        name: "a removal: deleted and created again",
        budget: Budget { deletions: 1, recreations: 1, ..NOTHING },
        ..REMOVAL
    },
    Scenario { name: "a death, and retention", budget: Budget { crashes: 1, retentions: 1, ..NOTHING }, ..ONE },
    Scenario { name: "a lost answer, and another workload", budget: Budget { losses: 1, replacements: 1, ..NOTHING }, ..ONE },
    Scenario {
        name: "a lost answer, and a workload that changes and is not seen",
        budget: Budget { losses: 1, touches: 1, blinks: 1, ..NOTHING },
        ..ONE
    },
    Scenario { name: "a shift: deleted and created again", budget: Budget { deletions: 1, recreations: 1, ..NOTHING }, ..SHIFT },
    Scenario {
        name: "a shift: without finalizer, deleted and created again",
        budget: Budget { strips: 1, deletions: 1, recreations: 1, ..NOTHING },
        ..SHIFT
    },
    Scenario {
        name: "a shift: a death, and a status that is wiped",
        budget: Budget { crashes: 1, wipes: 1, ..NOTHING },
        ..SHIFT
    },
    Scenario { name: "a death, and a Lease that is deleted", budget: Budget { crashes: 1, unleashings: 1, ..NOTHING }, ..ONE },
    Scenario { name: "a death, and a rollout", budget: Budget { crashes: 1, rollouts: 1, ..NOTHING }, ..ONE },
    Scenario { name: "a lost answer, and a foreign pod", foreign: true, budget: Budget { losses: 1, ..NOTHING }, ..ONE },
    Scenario {
        name: "an admission policy changes a zero, and another client scales",
        budget: Budget { overrides: 1, scales: 1, ..NOTHING },
        ..ONE
    },
    Scenario {
        name: "a canary: a death, and a record is consumed",
        budget: Budget { crashes: 1, records: 1, ..NOTHING },
        ..CANARY
    },
    Scenario {
        name: "a canary: a lost answer, a record is consumed, and a container is started again",
        budget: Budget { losses: 1, records: 1, restarts: 1, ..NOTHING },
        ..CANARY
    },
    Scenario {
        name: "a canary that is kept: a record is consumed, a container is started again, a deletion",
        canary: Some(OnCanaryFailure::Keep),
        budget: Budget { records: 1, restarts: 1, deletions: 1, ..NOTHING },
        ..ONE
    },
    Scenario {
        name: "a canary: another client scales, and a record is consumed",
        budget: Budget { scales: 1, records: 1, ..NOTHING },
        ..CANARY
    },
    Scenario { name: "a canary: Kafka goes, and a deletion", budget: Budget { outages: 1, deletions: 1, ..NOTHING }, ..CANARY },
    Scenario { name: "a canary: a status that is wiped", budget: Budget { wipes: 1, ..NOTHING }, ..CANARY },
    Scenario {
        name: "a canary: without finalizer, and deleted",
        budget: Budget { strips: 1, deletions: 1, ..NOTHING },
        ..CANARY
    },
    Scenario { name: "a canary: a Lease that is deleted", budget: Budget { unleashings: 1, ..NOTHING }, ..CANARY },
    Scenario { name: "a canary: another workload", budget: Budget { replacements: 1, ..NOTHING }, ..CANARY },
    Scenario {
        name: "a connector: a death, and another client sets its state",
        budget: Budget { crashes: 1, scales: 1, ..NOTHING },
        ..CONNECTOR
    },
    Scenario {
        name: "a connector: a lost answer, and a Lease that is deleted",
        budget: Budget { losses: 1, unleashings: 1, ..NOTHING },
        ..CONNECTOR
    },
    Scenario { name: "two resets of one group", ..TWO },
    Scenario { name: "two resets of one group by other names of the broker", elsewhere: true, ..TWO },
    Scenario { name: "two groups of one workload", one_group: false, ..TWO },
    Scenario { name: "two groups of one connector", one_group: false, connector: true, ..TWO },
];

/// What takes too long for each time.
pub const LARGE: &[Scenario] = &[
    Scenario { name: "another client scales again and again", budget: Budget { losses: 1, scales: 4, ..NOTHING }, ..ONE },
    Scenario {
        name: "a death, a stranger, Kafka goes, a deletion",
        budget: Budget { crashes: 1, joins: 1, outages: 1, deletions: 1, ..NOTHING },
        ..ONE
    },
    Scenario {
        name: "another client scales, a stranger, a deletion",
        budget: Budget { scales: 1, joins: 1, deletions: 1, ..NOTHING },
        ..ONE
    },
    Scenario {
        name: "a shift: a death, a lost answer, a stranger, records are consumed",
        budget: Budget { crashes: 1, losses: 1, joins: 1, records: 2, ..NOTHING },
        ..SHIFT
    },
    Scenario {
        name: "a death, a lost answer, a stranger, retention",
        budget: Budget { crashes: 1, losses: 1, joins: 1, retentions: 1, ..NOTHING },
        ..ONE
    },
    Scenario {
        name: "another client scales, another workload, a death",
        budget: Budget { crashes: 1, scales: 1, replacements: 1, ..NOTHING },
        ..ONE
    },
    Scenario {
        name: "a shift: a death, a record is consumed, deleted and created again",
        budget: Budget { crashes: 1, deletions: 1, recreations: 1, records: 1, ..NOTHING },
        ..SHIFT
    },
    Scenario {
        name: "a shift: a record is consumed, without finalizer, deleted and created again",
        budget: Budget { strips: 1, deletions: 1, recreations: 1, records: 1, ..NOTHING },
        ..SHIFT
    },
    Scenario {
        name: "a shift: a death, a stranger, a record is consumed, a status that is wiped",
        budget: Budget { crashes: 1, joins: 1, wipes: 1, records: 1, ..NOTHING },
        ..SHIFT
    },
    Scenario {
        name: "a Lease that is deleted, and another client scales",
        budget: Budget { unleashings: 1, scales: 1, ..NOTHING },
        ..ONE
    },
    Scenario {
        name: "two resets of one group: a death, a deletion",
        budget: Budget { crashes: 1, deletions: 1, ..AT_ONCE },
        ..TWO
    },
    Scenario { name: "two resets of one group, whose cluster has no id", cluster_id: false, ..TWO },
    Scenario { name: "two resets of one group, and time passes", budget: Budget { deadlines: Some(2), ..NOTHING }, ..TWO },
    Scenario {
        name: "two groups of one workload, and time passes",
        one_group: false,
        budget: Budget { deadlines: Some(2), ..NOTHING },
        ..TWO
    },
    Scenario {
        name: "two resets of one group by other names of the broker: a death",
        elsewhere: true,
        budget: Budget { crashes: 1, ..AT_ONCE },
        ..TWO
    },
    Scenario {
        name: "a canary: a death, a lost answer, a record is consumed, a deletion",
        budget: Budget { crashes: 1, losses: 1, records: 1, deletions: 1, ..NOTHING },
        ..CANARY
    },
    Scenario {
        name: "a canary: a death, a status that is wiped, a record is consumed",
        budget: Budget { crashes: 1, wipes: 1, records: 1, ..NOTHING },
        ..CANARY
    },
    Scenario {
        name: "two groups of one workload, each with a canary",
        one_group: false,
        canary: Some(OnCanaryFailure::Undo),
        ..TWO
    },
    Scenario { name: "two groups of one workload: a death", one_group: false, budget: Budget { crashes: 1, ..AT_ONCE }, ..TWO },
];
