//! Several resets of different groups on one workload: one stop, and the replicas are restored when
//! the last one is done.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::{
    api::{ActionKind, OffsetReset, OffsetResetSpec},
    machine::{
        after, decide,
        decision::{Answer, Decision, Effect},
        facts::PeerReset,
        needs_a_look,
    },
};

fn peer(index: usize, status: &OffsetResetStatus) -> PeerReset {
    let mut reset = OffsetReset::new(&format!("r{index}"), SPEC.clone());
    reset.spec.group = format!("g{index}");
    reset.metadata.namespace = Some("shop".into());
    reset.metadata.uid = Some(format!("uid-{index}"));
    reset.metadata.creation_timestamp = Some(Time(at(-100)));
    reset.status = Some(status.clone());
    PeerReset::from(&reset)
}

static SPEC: LazyLock<OffsetResetSpec> = LazyLock::new(|| {
    let spec =
        serde_json::json!({"targetRefs": [{"name": "consumer"}], "kafka": {"bootstrapServers": "kafka:9092"}, "group": "g"});
    serde_json::from_value(spec).unwrap()
});

#[derive(Clone, Debug)]
struct Group {
    stored: OffsetResetStatus,
    finalizer: bool,
    deleting: bool,
    offset: i64,
    metadata: String,
    members: i32,
}

/// One Deployment, several groups of its pods, one reset for each.
struct World {
    replicas: i32,
    pods: i32,
    version: i64,
    now: i64,
    stops: usize,
    lease: Option<Hold>,
    leases: u32,
    /// The ScaledObject, where there is one.
    autoscaler: Option<ScaledObject>,
    groups: Vec<Group>,
}

#[derive(Clone, Copy, Debug)]
enum Turn {
    /// KEDA looks.
    Keda,
    Pass(usize),
    Dies(usize, bool),
    Kubelet,
    Session(usize),
    Delete(usize),
    Time(i64),
}

fn turns(groups: usize) -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        12 => (0..groups).prop_map(Turn::Pass),
        2 => (0..groups, any::<bool>()).prop_map(|(group, acts)| Turn::Dies(group, acts)),
        4 => Just(Turn::Kubelet),
        4 => Just(Turn::Keda),
        6 => (0..groups).prop_map(Turn::Session),
        1 => (0..groups).prop_map(Turn::Delete),
        1 => (1..90i64).prop_map(Turn::Time),
    ];
    prop::collection::vec(turn, 0..160)
}

impl World {
    fn new(groups: usize) -> Self {
        Self::with(groups, None)
    }

    fn with(groups: usize, autoscaler: Option<ScaledObject>) -> Self {
        let group = Group {
            stored: OffsetResetStatus::default(),
            finalizer: false,
            deleting: false,
            offset: 50,
            metadata: String::new(),
            members: 3,
        };
        let groups = vec![group; groups];
        Self { replicas: 3, pods: 3, version: 1, now: 0, stops: 0, lease: None, leases: 0, autoscaler, groups }
    }

    fn observe(&self, index: usize) -> Observed {
        let group = &self.groups[index];
        let pods = (0..self.pods).map(|n| pod(&format!("p{n}"), false)).collect();
        let target = Seen::Known(Workload {
            uid: "w-1".into(),
            resource_version: self.version.to_string(),
            replicas: self.replicas,
            refusal: None,
            overridden: None,
            state: None,
            pods,
            details: WorkloadDetails::default(),
        });
        let state = if group.members == 0 { GroupState::Empty } else { GroupState::Stable };
        let described = group_in(state, usize::try_from(group.members).unwrap());
        let stands = Ok(Some(Committed { offset: group.offset, metadata: group.metadata.as_str().into() }));
        let kafka = match group.stored.phase {
            Some(Phase::Planning) => {
                KafkaSeen::ForPlan(Box::new(PlanSeen { group: described, committed: per_partition(&stands), ..plan_seen() }))
            }
            Some(Phase::Resetting) => commit_seen(described, &stands),
            Some(Phase::Draining) => KafkaSeen::Group(described),
            Some(Phase::Canary | Phase::Succeeded | Phase::Failed | Phase::Cancelled) => {
                // Its members have consumed a record by then.
                let consumed = group.offset + i64::from(group.members > 0);
                after_reset(described, &committed(consumed, ""))
            }
            Some(Phase::Pending | Phase::Stopping | Phase::Restoring | Phase::Planned | Phase::Unknown) | None => {
                KafkaSeen::NotAsked
            }
        };
        let others = (0..self.groups.len()).map(|index| peer(index, &self.groups[index].stored)).collect();
        Observed {
            uid: format!("uid-{index}"),
            deleting: group.deleting,
            finalizer: group.finalizer,
            holds: vec![self.lease.clone().map_or(Seen::Missing, Seen::Known)],
            autoscalers: vec![self.autoscaler.clone().map_or(ScaledObjectSeen::Absent, ScaledObjectSeen::Found)],
            others,
            ..seen(target, kafka)
        }
    }

    /// Whether a reset still needs the Deployment at zero.
    fn is_needed(&self) -> bool {
        let holds = |group: &Group| {
            let phase = group.stored.phase;
            phase.is_some_and(|phase| phase != Phase::Restoring && !phase.is_terminal())
                && group.stored.targets.iter().any(|target| target.stop_requested)
        };
        self.groups.iter().any(holds)
    }

    fn act(&mut self, index: usize, effect: &Effect) -> Answer {
        match effect {
            Effect::AddFinalizer => self.groups[index].finalizer = true,
            Effect::RemoveFinalizer => self.groups[index].finalizer = false,
            Effect::Delete => unreachable!("without a time to live"),
            Effect::Scale { resource_version, replicas, kind, .. } => {
                if *resource_version != self.version.to_string() {
                    return Answer::Stale;
                }
                if *kind == ActionKind::Restore {
                    assert!(!self.is_needed(), "no reset restores what another one still needs at zero");
                    assert_eq!(*replicas, 3, "never zero, and never another count");
                } else {
                    self.stops += 1;
                    let still = self.autoscaler.as_ref().is_none_or(|keda| keda.paused && keda.acknowledged);
                    assert!(still, "KEDA keeps still before it is stopped");
                }
                self.replicas = *replicas;
                self.version += 1;
            }
            Effect::Claim { hold, .. } | Effect::Release { hold, .. } => {
                let version = self.lease.as_ref().map(|hold| hold.version.clone()).unwrap_or_default();
                if hold.version != version {
                    return Answer::Stale;
                }
                self.leases += 1;
                let written = Hold { version: self.leases.to_string(), ..hold.clone() };
                self.lease = Some(written).filter(|hold| !hold.claims.is_empty());
            }
            Effect::Pause { resource_version, .. } | Effect::Resume { resource_version, .. } => {
                let paused = matches!(effect, Effect::Pause { .. });
                assert!(paused || !self.is_needed(), "only the last one lets it go");
                assert!(paused || self.replicas == 3, "the replicas first");
                assert!(self.lease.is_some(), "as long as it is paused the Lease says for whom");
                let Some(keda) = &mut self.autoscaler else { return Answer::Stale };
                if keda.resource_version != *resource_version {
                    return Answer::Stale;
                }
                (keda.paused, keda.ours) = (paused, paused);
                keda.resource_version.push('+');
            }
            Effect::RemoveMembers(_) | Effect::RemoveOffsets(_) => unreachable!("it is not asked for here"),
            Effect::SettleReceipt { .. } => {}
            Effect::Commit(_) => {
                assert_eq!((self.replicas, self.pods), (0, 0), "no consumer runs while offsets are committed");
                let group = &mut self.groups[index];
                if group.members > 0 {
                    return Answer::Committed(per_partition(&Err(error(KafkaErrorKind::UnknownMember))));
                }
                group.offset = 10;
                group.metadata = MARKER.into();
                return Answer::Committed(per_partition(&Ok(())));
            }
        }
        Answer::Done
    }

    fn pass(&mut self, index: usize, dies: Option<bool>) -> Option<Decision> {
        let group = &self.groups[index];
        if group.deleting && !group.finalizer && group.stored.hold.is_none() {
            self.groups[index].stored.phase = Some(Phase::Cancelled);
            return None;
        }
        let request = Request { group: format!("g{index}"), ..request() };
        let seen = self.observe(index);
        let decision = decide(Ok(&request), &group.stored, &seen, at(self.now));
        self.groups[index].stored = decision.status.clone();
        let effect = decision.effect.clone()?;
        if dies == Some(false) {
            return None;
        }
        let answer = self.act(index, &effect);
        if dies.is_none() {
            self.groups[index].stored = after(&decision.status, &effect, &answer, &seen, at(self.now)).status;
        }
        Some(decision)
    }

    fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Pass(index) => {
                self.pass(index, None);
            }
            Turn::Dies(index, acts) => {
                self.pass(index, Some(acts));
            }
            Turn::Kubelet => self.pods = self.replicas,
            Turn::Keda => {
                if let Some(keda) = &mut self.autoscaler {
                    assert!(self.replicas > 0 || keda.acknowledged, "KEDA never finds at zero what it may scale up");
                    keda.acknowledged = keda.paused;
                    keda.resource_version.push('k');
                }
            }
            Turn::Session(index) => self.groups[index].members = self.pods,
            Turn::Delete(index) => self.groups[index].deleting = true,
            Turn::Time(seconds) => self.now += seconds,
        }
    }

    /// Passes run through, pods and members follow, until everything is settled.
    fn settle(&mut self) {
        for _ in 0..3_000 {
            for index in 0..self.groups.len() {
                self.turn(Turn::Pass(index));
                self.turn(Turn::Session(index));
            }
            self.turn(Turn::Kubelet);
            self.turn(Turn::Keda);
            self.turn(Turn::Time(1));
            let over = |group: &Group| {
                let settled = group.deleting || !needs_a_look(&group.stored);
                group.stored.phase.is_some_and(Phase::is_terminal) && !group.finalizer && settled
            };
            if self.groups.iter().all(over) {
                return;
            }
        }
        let ends: Vec<_> = self.groups.iter().map(|group| (group.stored.phase, group.finalizer, &group.stored.message)).collect();
        panic!("it never ends: {ends:?}, {} replicas", self.replicas);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_last_one_brings_the_replicas_back(turns in turns(3), autoscaled in any::<bool>()) {
        let mut world = World::with(3, autoscaled.then(scaled_object));
        for turn in turns {
            world.turn(turn);
        }
        world.settle();
        prop_assert_eq!(world.replicas, 3);
        prop_assert!(!world.autoscaler.is_some_and(|keda| keda.paused || keda.ours), "nothing stays paused");
        for group in &world.groups {
            prop_assert!(group.stored.phase != Some(Phase::Succeeded) || group.metadata == MARKER);
        }
    }
}

#[test]
fn three_groups_of_one_deployment_cost_one_stop() {
    let mut world = World::new(3);
    world.settle();
    assert_eq!(world.stops, 1);
    assert_eq!(world.replicas, 3);
    for group in &world.groups {
        assert_eq!(group.stored.phase, Some(Phase::Succeeded));
        assert_eq!(group.stored.targets[0].original_replicas, 3);
        assert_eq!(group.stored.targets[0].restored, Some(Restored::Original));
    }
}

#[test]
fn one_that_comes_while_another_holds_joins_its_stop_and_its_clock() {
    let mut world = World::new(2);
    // The first one holds, and waits for its group.
    for _ in 0..20 {
        world.turn(Turn::Pass(0));
        world.turn(Turn::Kubelet);
    }
    assert_eq!((world.groups[0].stored.phase, world.replicas), (Some(Phase::Draining), 0));
    world.turn(Turn::Time(30));
    for _ in 0..20 {
        world.turn(Turn::Pass(1));
    }
    let joined = &world.groups[1].stored;
    assert_eq!(joined.targets[0].original_replicas, 3, "never zero over a count that another one has saved");
    assert_eq!(joined.hold.as_ref().unwrap().start_time, world.groups[0].stored.hold.as_ref().unwrap().start_time);
    // The first one is done, and leaves the workload to the second.
    world.turn(Turn::Session(0));
    for _ in 0..20 {
        world.turn(Turn::Pass(0));
    }
    let waiting = &world.groups[0].stored;
    assert_eq!((waiting.phase, waiting.reason, world.replicas), (Some(Phase::Restoring), Some(Reason::WaitingForOtherReset), 0));
    world.settle();
    assert_eq!((world.replicas, world.stops), (3, 1));
}
