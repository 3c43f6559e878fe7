//! The machine, asked: `decide`, `after` and `care_for` themselves, each question once, and a
//! status by its number.

use std::collections::{HashMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    essence::{Facts, essence, facts, seconds},
    properties::Rule,
    scenarios::Scenario,
    translate::{
        DRAIN_TIMEOUT, HOLD_TIMEOUT, SPEC, answer_of, code_of, committed, count_of, described, effect_of, hold_of, key_of,
        looked, name_of, namespace_of, one, plan_seen, request_of, uid_of, workload_of,
    },
    world::{Decided, Deed, Kafka, LOG_END, Lease, Look, NO_OFFSET, Object, RESETS, Receipt, Reply, View, Way, Workload, code},
};
use crate::{
    api::{ActionKind, FINALIZER, OffsetReset, OffsetResetStatus, Phase},
    machine::{
        self,
        coordination::{hold, queue},
        decision::{Decision, Effect},
        facts::{AfterResetSeen, Bounds, CommitSeen, Hold, KafkaErrorKind, KafkaSeen, Observed, PeerReset, PerPartition, Seen},
        guards,
        tests::{at, error},
    },
};

/// The number of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(pub u16);

impl Id {
    /// No status at all.
    pub const NONE: Self = Self(0);
}

/// Which reset, its status, what was done and heard, and when.
type Answered = (usize, Id, Deed, Reply, u16);

/// Everything that was asked so far.
#[derive(Default)]
pub struct Memory {
    statuses: Vec<(OffsetResetStatus, Facts)>,
    ids: HashMap<String, Id>,
    verdicts: HashMap<(usize, View), Decided>,
    afters: HashMap<Answered, (Id, bool)>,
    peers: HashMap<(usize, Object), PeerReset>,
    /// What is known to end well, in each future: see `properties`.
    pub well: [HashSet<u64>; 2],
    /// What was broken on the way to an end.
    pub ends_badly: Option<Rule>,
}

impl Memory {
    pub fn new() -> Self {
        let mut memory = Self::default();
        memory.keep(OffsetResetStatus::default());
        memory
    }

    pub fn facts(&self, id: Id) -> &Facts {
        &self.statuses[usize::from(id.0)].1
    }

    pub fn status(&self, id: Id) -> &OffsetResetStatus {
        &self.statuses[usize::from(id.0)].0
    }

    pub fn statuses(&self) -> usize {
        self.statuses.len()
    }

    fn keep(&mut self, status: OffsetResetStatus) -> Id {
        let status = essence(status);
        let text = serde_json::to_string(&status).unwrap();
        if let Some(&id) = self.ids.get(&text) {
            return id;
        }
        let id = Id(u16::try_from(self.statuses.len()).unwrap());
        let facts = facts(&status);
        self.statuses.push((status, facts));
        self.ids.insert(text, id);
        id
    }

    /// What a pass decides on what it has seen.
    pub fn decide(&mut self, scenario: &Scenario, reset: usize, view: &View) -> Decided {
        if let Some(outcome) = self.verdicts.get(&(reset, *view)) {
            return *outcome;
        }
        let request = request_of(scenario, reset, view.object.run);
        let seen = self.observed(scenario, reset, view);
        let status = self.status(view.object.status).clone();
        let decision = guards::without(scenario.away, || machine::decide(Ok(&request), &status, &seen, at(view.now.into())));
        let deed = decision.effect.as_ref().map(|effect| self.deed(effect, view));
        // As `reconcile::persist` does it.
        let first_commit = status.commits == 0 || status.receipt.is_none();
        let opens = first_commit
            && decision.status.commits > 0
            && decision.status.final_plan_time.is_some()
            && decision.status.receipt.as_ref().is_some_and(|receipt| !receipt.settled);
        let sleeps = decision.requeue.is_none();
        let goes_on = decision.goes_on_unwritten(status.phase);
        let next = self.keep(decision.status);
        let said = deed.is_some_and(|deed| !matches!(deed, Deed::AddFinalizer | Deed::RemoveFinalizer));
        let outcome = Decided {
            next,
            deed,
            writes: said || next != view.object.status,
            opens,
            sleeps,
            ahead: goes_on && next != view.object.status,
        };
        self.verdicts.insert((reset, *view), outcome);
        outcome
    }

    /// Whether what was decided is done before it is written.
    pub fn needs_no_record(&self, scenario: &Scenario, written: Id, decided: &Decided) -> bool {
        let Some(deed) = decided.deed else { return false };
        let (status, effect) = (self.status(decided.next).clone(), Some(effect_of(scenario, deed)));
        Decision { status, effect, requeue: None, notes: vec![] }.needs_no_record(self.status(written))
    }

    /// Whether a commit has landed as planned: then `reconcile::observe` does not look at the workload.
    pub fn is_read_back(&mut self, scenario: &Scenario, reset: usize, view: &View) -> bool {
        if self.facts(view.object.status).phase != Some(Phase::Resetting) {
            return false;
        }
        let seen = self.observed(scenario, reset, view);
        machine::is_read_back(self.status(view.object.status), &request_of(scenario, reset, view.object.run), &seen.kafka)
    }

    fn deed(&self, effect: &Effect, view: &View) -> Deed {
        let lease_of = |hold: &Hold| Lease {
            uid: hold.uid.strip_prefix("w-").unwrap().parse().unwrap(),
            replicas: count_of(hold.replicas, hold.state.as_deref()),
            canary: u8::try_from(hold.canary.unwrap_or_default()).unwrap(),
            connector: hold.state.is_some(),
            since: seconds(hold.since),
            until: seconds(hold.until),
            claims: hold.claims.iter().map(|claim| 1 << code_of(&claim.uid)).sum(),
        };
        match effect {
            Effect::AddFinalizer => Deed::AddFinalizer,
            Effect::RemoveFinalizer => Deed::RemoveFinalizer,
            Effect::Delete => unreachable!("no reset of the model has a time to live"),
            Effect::Scale { replicas, state, kind, .. } => {
                let way = match kind {
                    ActionKind::Restore => Way::Restore,
                    ActionKind::Canary => Way::Canary,
                    _ => Way::Stop,
                };
                Deed::Scale { replicas: count_of(*replicas, state.as_deref()), way }
            }
            Effect::Claim { hold, .. } => Deed::Claim { lease: lease_of(hold), new: hold.version.is_empty() },
            Effect::Release { hold, .. } => Deed::Release { lease: lease_of(hold) },
            Effect::Commit(_) | Effect::RemoveOffsets(_) => {
                let target = self.facts(view.object.status).target_uid;
                let gone = match view.workload {
                    Look::Known(workload) => workload.uid == target && workload.replicas == 0 && workload.pods == 0,
                    Look::Not => true,
                    Look::Unknown | Look::Missing => false,
                };
                let Kafka::Seen { group, log_start } = view.kafka else { unreachable!("a commit needs a look at Kafka") };
                let (offset, marked) = match effect {
                    Effect::Commit(offsets) => {
                        let [(_, committed)] = &offsets[..] else { unreachable!("there is one partition") };
                        (u8::try_from(committed.offset).unwrap(), !committed.metadata.is_empty())
                    }
                    _ => (NO_OFFSET, false),
                };
                Deed::Commit { offset, marked, gone, free: group.is_empty(), log_start }
            }
            Effect::SettleReceipt { keep } => Deed::Settle { keep: *keep },
            Effect::Pause { .. } | Effect::Resume { .. } => unreachable!("nothing scales the workload by itself in here"),
            Effect::RemoveMembers(_) => unreachable!("it is not asked for here"),
        }
    }

    /// What follows from an answer, and whether the pass goes on before it is written.
    pub fn after(&mut self, scenario: &Scenario, reset: usize, id: Id, deed: Deed, reply: Reply, now: u16) -> (Id, bool) {
        let key = (reset, id, deed, reply, now);
        if let Some(&known) = self.afters.get(&key) {
            return known;
        }
        let status = self.status(id).clone();
        let (effect, answer) = (effect_of(scenario, deed), answer_of(reply));
        let object = Object { run: 0, status: id, finalizer: true, deleting: false };
        let view =
            View { object, workload: Look::Not, lease: Look::Not, others: None, receipt: Look::Not, kafka: Kafka::NotAsked, now };
        let seen = self.observed(scenario, reset, &view);
        let decision = guards::without(scenario.away, || machine::after(&status, &effect, &answer, &seen, at(now.into())));
        let goes_on = decision.goes_on_unwritten(status.phase);
        let next = self.keep(decision.status);
        self.afters.insert(key, (next, goes_on));
        (next, goes_on)
    }

    /// What becomes of the Lease.
    pub fn care(
        &mut self,
        scenario: &Scenario,
        lease: Lease,
        workload: Workload,
        objects: [Option<Object>; RESETS],
        now: u16,
    ) -> hold::HoldAction {
        let resets: Vec<PeerReset> =
            self.peers(scenario, objects).into_iter().filter(|other| other.namespace == "shop").collect();
        let hold = hold_of(lease);
        let seen = Seen::Known(workload_of(workload));
        guards::without(scenario.away, || hold::decide_hold(&hold, &seen, &resets, at(now.into())))
    }

    fn peers(&mut self, scenario: &Scenario, objects: [Option<Object>; RESETS]) -> Vec<PeerReset> {
        let present = objects.iter().enumerate().filter_map(|(reset, object)| Some((reset, (*object)?)));
        present.map(|(reset, object)| self.peer(scenario, reset, object)).collect()
    }

    fn peer(&mut self, scenario: &Scenario, reset: usize, object: Object) -> PeerReset {
        if let Some(known) = self.peers.get(&(reset, object)) {
            return known.clone();
        }
        let mut made = OffsetReset::new(&name_of(reset), SPEC.clone());
        made.spec.group = format!("g{}", scenario.group_of(reset));
        made.spec.hold_timeout = std::time::Duration::from_secs(HOLD_TIMEOUT.unsigned_abs()).into();
        made.spec.drain_timeout = std::time::Duration::from_secs(DRAIN_TIMEOUT.unsigned_abs()).into();
        if !scenario.has_workload(reset) {
            made.spec.target_refs.clear();
            // Another name for the same broker: the specs alone do not tell that it is one cluster.
            made.spec.kafka.bootstrap_servers = Some("elsewhere:9092".into());
        }
        made.metadata.namespace = Some(namespace_of(scenario, reset).into());
        made.metadata.uid = Some(uid_of(code(reset, object.run)));
        made.metadata.creation_timestamp = Some(Time(at(-100 + i64::from(object.run))));
        made.metadata.deletion_timestamp = object.deleting.then(|| Time(at(0)));
        made.metadata.finalizers = object.finalizer.then(|| vec![FINALIZER.to_owned()]);
        made.status = Some(self.status(object.status).clone());
        // The key is a hash of the spec; that it tells specs apart has its own tests.
        let peer = PeerReset { key: key_of(reset), ..PeerReset::from(&made) };
        self.peers.insert((reset, object), peer.clone());
        peer
    }

    fn observed(&mut self, scenario: &Scenario, reset: usize, view: &View) -> Observed {
        let own = self.peer(scenario, reset, view.object);
        let others = view.others.map(|objects| self.peers(scenario, objects)).unwrap_or_default();
        let is_pending = self.facts(view.object.status).phase.is_none_or(|phase| phase == Phase::Pending);
        let blocker = if is_pending { queue::blocker(&own, &others, at(view.now.into())) } else { None };
        let phase = self.facts(view.object.status).phase;
        let kafka = match (view.kafka, phase) {
            (Kafka::Away, _) => KafkaSeen::Failed(error(KafkaErrorKind::Unreachable)),
            (Kafka::Seen { group, log_start }, Some(Phase::Planning)) => {
                KafkaSeen::ForPlan(Box::new(plan_seen(scenario, group, log_start)))
            }
            (Kafka::Seen { group, log_start }, Some(Phase::Resetting)) => KafkaSeen::ForCommit(CommitSeen {
                bounds: one(Bounds { start: log_start.into(), end: LOG_END.into() }),
                stable_ends: PerPartition::new(),
                committed: one(committed(group)),
                topic_ids: std::collections::BTreeMap::new(),
                group: described(group),
            }),
            (Kafka::Seen { group, log_start }, Some(Phase::Canary)) => KafkaSeen::AfterReset(AfterResetSeen {
                committed: one(committed(group)),
                bounds: one(Bounds { start: log_start.into(), end: LOG_END.into() }),
                stable_ends: PerPartition::new(),
                group: described(group),
            }),
            (Kafka::Seen { group, .. }, _) => KafkaSeen::Group(described(group)),
            (Kafka::NotAsked, _) => KafkaSeen::NotAsked,
        };
        let receipt = looked(view.receipt, |Receipt { code, over, plan }| {
            let OffsetResetStatus { partitions, group, .. } = self.status(plan).clone();
            let state = match over {
                None => machine::facts::RunState::Committing { final_plan_time: at(0), partitions, group },
                Some(phase) => machine::facts::RunState::Over { phase, at: at(0), message: String::new() },
            };
            machine::facts::Receipt { uid: uid_of(code), state }
        });
        Observed {
            undo: None,
            uid: uid_of(code(reset, view.object.run)),
            group: format!("g{}", scenario.group_of(reset)),
            deleting: view.object.deleting,
            finalizer: view.object.finalizer,
            generation: None,
            time_to_live: None,
            uninstalling: false,
            blocker,
            others,
            report_lost: None,
            receipt: receipt.into_iter().next(),
            targets: looked(view.workload, workload_of),
            unscalable: vec![],
            autoscalers: vec![],
            holds: looked(view.lease, hold_of),
            kafka,
            foreign_pods: vec![],
        }
    }
}
