//! The world of the model: what the API server, the kubelet and the broker hold, and what the
//! operator's process has in flight.
//!
//! Everything is small and can be compared: a status is an [`Id`] (see `memory`), a version is only
//! the question whether an object is still the one that was read.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::{
    memory::Id,
    scenarios::{Budget, Scenario},
};
use crate::api::Phase;

/// How many resets there are at most.
pub const RESETS: usize = 2;

/// The count that the workload has when nothing touches it.
pub const USUAL: u8 = 2;

/// Where the group is at first, and where its log ends.
pub const FIRST_OFFSET: u8 = 50;
pub const LOG_END: u8 = 100;

/// Stands for no committed offset.
pub const NO_OFFSET: u8 = u8::MAX;

/// An OffsetReset as the API server has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    /// How often one of this name was created before.
    pub run: u8,
    pub status: Id,
    pub finalizer: bool,
    pub deleting: bool,
}

/// What stands for the UID of a reset: from 1 on.
pub fn code(reset: usize, run: u8) -> u8 {
    1 + u8::try_from(reset).unwrap() * 3 + run.min(2)
}

/// The reset and its run behind a UID.
pub fn of_code(code: u8) -> (usize, u8) {
    (usize::from((code - 1) / 3), (code - 1) % 3)
}

#[allow(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Workload {
    pub uid: u8,
    pub replicas: u8,
    /// Its pods, all of them running.
    pub pods: u8,
    /// Pods of an older revision run as well.
    pub rollout: bool,
    /// A pod that it does not control matches its selector, and runs all the time.
    pub foreign: bool,
    /// A container of its pods was started again.
    pub restarted: bool,
    /// It is a connector: its replicas are a state, and its pods its tasks.
    pub connector: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    pub uid: u8,
    pub replicas: u8,
    /// The count of the canary, 0 for none.
    pub canary: u8,
    pub connector: bool,
    pub since: u16,
    pub until: u16,
    /// The UIDs of those who have claims, a bit for each.
    pub claims: u8,
}

impl Lease {
    pub fn is_claimed_by(self, code: u8) -> bool {
        self.claims & (1 << code) != 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// Whose it is.
    pub code: u8,
    /// How it has ended, once it has.
    pub over: Option<Phase>,
    /// The status that has the plan.
    pub plan: Id,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// The workload's pods are members.
    pub joined: bool,
    /// Another consumer is one.
    pub stranger: bool,
    pub offset: u8,
    /// The run whose marker stands beside the offset, 0 for none.
    pub marker: u8,
}

impl Group {
    pub fn is_empty(self) -> bool {
        !self.joined && !self.stranger
    }
}

/// Who else must wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Turn {
    None,
    Admission {
        until_recorded: bool,
    },
    Holds(u8),
    /// Both, until what was decided is recorded: what an earlier run has begun is taken up while
    /// it is not restored.
    TakeUp(u8),
}

impl Turn {
    pub fn excludes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Admission { .. } | Self::TakeUp(_), Self::Admission { .. } | Self::TakeUp(_)) => true,
            (Self::Holds(a) | Self::TakeUp(a), Self::Holds(b) | Self::TakeUp(b)) => a == b,
            (Self::None | Self::Admission { .. } | Self::Holds(_) | Self::TakeUp(_), _) => false,
        }
    }
}

/// What of that which a pass relies on is still as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
pub struct Fresh {
    pub object: bool,
    pub workload: bool,
    pub lease: bool,
    /// No other client has brought consumers back since.
    pub undisturbed: bool,
}

pub const FRESH: Fresh = Fresh { object: true, workload: true, lease: true, undisturbed: true };

/// What a pass has seen: only what its phase looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    pub object: Object,
    pub workload: Look<Workload>,
    pub lease: Look<Lease>,
    pub others: Option<[Option<Object>; RESETS]>,
    pub receipt: Look<Receipt>,
    pub kafka: Kafka,
    pub now: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Look<T> {
    /// Not looked at.
    Not,
    /// It could not be seen.
    Unknown,
    Missing,
    Known(T),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kafka {
    NotAsked,
    Away,
    Seen { group: Group, log_start: u8 },
}

/// What a scale is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    Stop,
    Canary,
    Restore,
}

/// An effect, and what the machine had seen when it decided on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    AddFinalizer,
    RemoveFinalizer,
    Scale {
        replicas: u8,
        way: Way,
    },
    Claim {
        lease: Lease,
        new: bool,
    },
    Release {
        lease: Lease,
    },
    /// Of [`NO_OFFSET`]: the removal of the offset.
    Commit {
        offset: u8,
        /// With the marker of the run; an undo restores the metadata from before.
        marked: bool,
        gone: bool,
        free: bool,
        log_start: u8,
    },
    Settle {
        keep: bool,
    },
}

/// How a deed was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    Done,
    Stale,
    Refused,
    /// An admission policy stored this count in place of zero.
    Overridden(u8),
    Committed,
    BesideMembers,
    Unreachable,
    Timeout,
}

/// What a pass has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
pub struct Decided {
    pub next: Id,
    pub deed: Option<Deed>,
    /// The status has to be written: it has changed, or it says what is about to be done.
    pub writes: bool,
    /// The receipt is opened before.
    pub opens: bool,
    /// Only a change begins another pass.
    pub sleeps: bool,
    /// The pass goes on before the status is written.
    pub ahead: bool,
}

/// A pass, between any two requests that it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    Idle,
    /// It goes on with a status that is not written yet.
    Ahead,
    /// It has read what Kubernetes knows, and goes on to ask Kafka.
    Looked(View),
    /// It has decided: the receipt, if one is to be opened, and the status come next.
    Decided {
        outcome: Decided,
        opened: bool,
        saw: Kafka,
    },
    /// The status stands: now it acts.
    Recorded {
        deed: Deed,
    },
    /// It has acted, and heard this.
    Answered {
        deed: Deed,
        reply: Reply,
    },
}

/// A pass of the reconciler of Leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Care {
    Idle,
    /// Decided, and about to write the Lease so.
    Writes(Lease),
    /// Decided, and about to bring the workload back.
    Restores(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Running {
    /// The object that the pass is about, with the status that the pass has come to.
    pub object: Option<Object>,
    /// The status of the object as it was read or written last.
    pub written: Id,
    pub pass: Pass,
    pub turn: Turn,
    pub fresh: Fresh,
    /// The workload and the Lease as the pass has looked at them, where its next step does not look again.
    pub carried: Option<(Look<Workload>, Look<Lease>)>,
}

/// What the model remembers in order to judge; the machine does not see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Witness {
    /// The count that the workload had right before it was first stopped, while it is held.
    pub held: Option<u8>,
    /// The count that another client had set since the Lease was made, before another client scaled it to zero:
    /// either of the two may come back.
    pub changed: Option<u8>,
    /// It was seen at zero since, and that was recorded.
    pub seen_at_zero: bool,
    /// The count that an admission policy has stored in place of our zero.
    pub overridden: Option<u8>,
    /// The count that was restored last.
    pub put_back: Option<u8>,
    /// The count that the workload would have if there were no operator.
    pub meant: u8,
    /// Per name: the UID of who has committed first.
    pub committed: [Option<u8>; RESETS],
    /// Per name: the UIDs that have committed.
    pub committers: [u8; RESETS],
    /// Per name: where the group was to go when it was first committed.
    pub expected: [Option<u8>; RESETS],
    /// Per name: a run has committed and ended.
    pub over: [bool; RESETS],
    /// Per name: the operator itself has brought the consumers back since the commit.
    pub back_since: [bool; RESETS],
    /// Per name: where the group stood before the first commit.
    pub before: [Option<u8>; RESETS],
    /// Per name: a canary has consumed since that commit.
    pub canary_since: [bool; RESETS],
    /// The Lease with this count was deleted: it is created again, but a stop may be
    /// under way.
    pub unleashed: Option<u8>,
    /// What has been broken.
    pub broken: Option<super::properties::Rule>,
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub objects: [Option<Object>; RESETS],
    pub workload: Workload,
    pub lease: Option<Lease>,
    pub receipts: [Option<Receipt>; RESETS],
    pub groups: [Group; RESETS],
    pub log_start: u8,
    pub kafka_up: bool,
    pub now: u16,
    pub running: [Running; RESETS],
    pub care: Care,
    pub care_fresh: Fresh,
    pub budget: Budget,
    pub witness: Witness,
}

pub const IDLE: Running =
    Running { object: None, written: Id::NONE, pass: Pass::Idle, turn: Turn::None, fresh: FRESH, carried: None };

impl State {
    pub fn first(scenario: &Scenario) -> Self {
        let object = Object { run: 0, status: Id::NONE, finalizer: false, deleting: false };
        let group = Group { joined: true, stranger: false, offset: FIRST_OFFSET, marker: 0 };
        let mut objects = [None; RESETS];
        objects[..scenario.resets].fill(Some(object));
        Self {
            objects,
            workload: Workload {
                uid: 1,
                replicas: USUAL,
                pods: USUAL,
                rollout: false,
                foreign: scenario.foreign,
                restarted: false,
                connector: scenario.connector,
            },
            lease: None,
            receipts: [None; RESETS],
            groups: [group; RESETS],
            log_start: 0,
            kafka_up: true,
            now: 0,
            running: [IDLE; RESETS],
            care: Care::Idle,
            care_fresh: FRESH,
            budget: scenario.budget,
            witness: Witness {
                held: None,
                changed: None,
                seen_at_zero: false,
                overridden: None,
                put_back: None,
                meant: USUAL,
                committed: [None; RESETS],
                committers: [0; RESETS],
                expected: [None; RESETS],
                over: [false; RESETS],
                back_since: [false; RESETS],
                before: [None; RESETS],
                canary_since: [false; RESETS],
                unleashed: None,
                broken: None,
            },
        }
    }

    /// What it is remembered by.
    pub fn print(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// Whether a turn can be had.
    pub fn is_free(&self, turn: Turn) -> bool {
        let care = if self.care == Care::Idle { Turn::None } else { Turn::Holds(0) };
        !self.running.iter().any(|running| running.turn.excludes(turn)) && !care.excludes(turn)
    }

    /// The operator has nothing in flight.
    pub fn is_idle(&self) -> bool {
        self.running.iter().all(|running| running.pass == Pass::Idle) && self.care == Care::Idle
    }

    /// Writes an object back; one that is being deleted goes with its last finalizer.
    pub fn put(&mut self, reset: usize, object: Object) {
        self.objects[reset] = (object.finalizer || !object.deleting).then_some(object);
        self.object_changed(reset);
    }

    pub fn object_changed(&mut self, reset: usize) {
        self.running[reset].fresh.object = false;
    }

    pub fn workload_changed(&mut self) {
        self.running.iter_mut().for_each(|running| running.fresh.workload = false);
        self.care_fresh.workload = false;
    }

    pub fn lease_changed(&mut self) {
        self.running.iter_mut().for_each(|running| running.fresh.lease = false);
        self.care_fresh.lease = false;
    }
}
