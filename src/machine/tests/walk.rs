//! A simulated world with faults: whatever happens, the replicas are restored and nothing is committed
//! beside running consumers.

use proptest::prelude::*;

use super::*;
use crate::{
    api::{ActionKind, OnCanaryFailure},
    machine::{
        after, decide,
        decision::{Answer, Effect},
        request::Canary,
    },
};

/// A world of one Deployment, one group and one object, as small as the machine's questions allow.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
pub(super) struct World {
    replicas: i32,
    version: u32,
    pods: i32,
    /// A container of the pods was started again.
    restarted: bool,
    members: i32,
    offset: i64,
    metadata: String,
    kafka_up: bool,
    deleting: bool,
    finalizer: bool,
    /// The workload's Lease, and how often it was written.
    lease: Option<Hold>,
    leases: u32,
    /// The ScaledObject, where there is one.
    autoscaler: Option<ScaledObject>,
    scaled_by_others: bool,
    /// The receipt, from the first commit on.
    receipt: bool,
    stored: OffsetResetStatus,
    now: i64,
    /// What is asked for: offset 10, or five records back.
    goal: Goal,
    /// Where the group must go: decided once, however often the operator dies.
    expected: Option<i64>,
    /// Where it stood then, and with which metadata: an undo goes back to that.
    before: Option<(i64, String)>,
    canary: Option<OnCanaryFailure>,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    /// A pass of the operator that runs through.
    Pass,
    /// A pass that dies after writing the intent, before acting.
    DiesBeforeActing,
    /// A pass that acts, and dies before it hears the answer.
    DiesAfterActing,
    /// Pods follow the replicas.
    Kubelet,
    /// Members follow the pods.
    Session,
    /// A record is consumed, and committed, by a member if there is one.
    Consume,
    /// A container of the pods crashes, and is started again.
    Crash,
    /// Another client scales the Deployment.
    ScaledByOthers(i32),
    /// Kafka goes away or comes back.
    Kafka(bool),
    /// The object is deleted.
    Delete,
    /// Time goes by, in seconds.
    Time(i64),
    /// KEDA looks.
    Keda,
}

pub(super) fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        8 => Just(Turn::Pass),
        2 => Just(Turn::DiesBeforeActing),
        2 => Just(Turn::DiesAfterActing),
        4 => Just(Turn::Kubelet),
        4 => Just(Turn::Session),
        4 => Just(Turn::Keda),
        3 => Just(Turn::Consume),
        1 => Just(Turn::Crash),
        1 => (0..6).prop_map(Turn::ScaledByOthers),
        1 => any::<bool>().prop_map(Turn::Kafka),
        1 => Just(Turn::Delete),
        2 => (1..200i64).prop_map(Turn::Time),
    ];
    prop::collection::vec(turn, 0..120)
}

impl World {
    pub(super) fn new(goal: Goal, autoscaled: bool, canary: Option<OnCanaryFailure>) -> Self {
        Self {
            goal,
            canary,
            expected: None,
            before: None,
            restarted: false,
            replicas: 3,
            version: 1,
            pods: 3,
            members: 3,
            offset: 50,
            metadata: String::new(),
            kafka_up: true,
            deleting: false,
            finalizer: false,
            lease: None,
            autoscaler: autoscaled.then(scaled_object),
            scaled_by_others: false,
            leases: 0,
            receipt: false,
            stored: OffsetResetStatus::default(),
            now: 0,
        }
    }

    fn request(&self) -> Request {
        let entry = Entry { scope: Scope::Topic("orders".into()), partitions: Partitions::All, goal: self.goal.clone() };
        let canary = |on_failure| Canary { replicas: 1, timeout: SignedDuration::from_secs(60), on_failure };
        Request { work: Work::Entries(vec![entry]), canary: self.canary.map(canary), ..request() }
    }

    fn group(&self) -> Group {
        let state = if self.members == 0 { GroupState::Empty } else { GroupState::Stable };
        group_in(state, usize::try_from(self.members).unwrap())
    }

    fn observe(&self) -> Observed {
        let pods = (0..self.pods).map(|n| Pod { restarted: self.restarted, ..pod(&format!("p{n}"), false) }).collect();
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
        let stands = Ok(Some(Committed { offset: self.offset, metadata: self.metadata.as_str().into() }));
        let kafka = match self.stored.phase {
            _ if !self.kafka_up => KafkaSeen::Failed(error(KafkaErrorKind::Unreachable)),
            Some(Phase::Planning) => {
                KafkaSeen::ForPlan(Box::new(PlanSeen { group: self.group(), committed: per_partition(&stands), ..plan_seen() }))
            }
            Some(Phase::Resetting) => commit_seen(self.group(), &stands),
            Some(Phase::Draining) => KafkaSeen::Group(self.group()),
            Some(Phase::Canary | Phase::Succeeded | Phase::Failed | Phase::Cancelled) => after_reset(self.group(), &stands),
            Some(Phase::Pending | Phase::Stopping | Phase::Restoring | Phase::Planned | Phase::Unknown) | None => {
                KafkaSeen::NotAsked
            }
        };
        let holds = vec![self.lease.clone().map_or(Seen::Missing, Seen::Known)];
        let autoscalers = vec![self.autoscaler.clone().map_or(ScaledObjectSeen::Absent, ScaledObjectSeen::Found)];
        Observed { deleting: self.deleting, finalizer: self.finalizer, holds, autoscalers, ..seen(target, kafka) }
    }

    /// Does what was decided, as the real parts would: bound to the version, and refused by the
    /// broker beside members.
    fn act(&mut self, effect: &Effect) -> Answer {
        match effect {
            Effect::AddFinalizer => self.finalizer = true,
            Effect::RemoveFinalizer => self.finalizer = false,
            Effect::Delete => unreachable!("without a time to live"),
            Effect::Scale { resource_version, replicas, kind, .. } => {
                if *resource_version != self.version.to_string() {
                    return Answer::Stale;
                }
                let ours = self.lease.as_ref().filter(|hold| hold.is_claimed_by("uid-1"));
                let count = ours.map(|hold| hold.replicas);
                assert!(
                    count.is_some_and(|count| count > 0),
                    "recorded in the Lease before it was stopped, and until it is back"
                );
                if let Some(keda) = &self.autoscaler {
                    assert!(keda.paused && keda.acknowledged || *replicas > 0, "KEDA keeps still before it is stopped");
                }
                let of_canary = *kind == ActionKind::Canary && ours.is_some_and(|hold| hold.canary == Some(*replicas));
                assert!(
                    *replicas == 0 || Some(*replicas) == count || of_canary,
                    "never another count than was found or recorded"
                );
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
                let Some(keda) = &mut self.autoscaler else { return Answer::Stale };
                if keda.resource_version != *resource_version {
                    return Answer::Stale;
                }
                let paused = matches!(effect, Effect::Pause { .. });
                assert!(self.lease.is_some(), "as long as it is paused the Lease says for whom");
                assert!(paused || self.stored.targets[0].restored.is_some(), "the replicas first");
                (keda.paused, keda.ours) = (paused, paused);
                keda.resource_version.push('+');
            }
            Effect::RemoveMembers(_) | Effect::RemoveOffsets(_) => unreachable!("it is not asked for here"),
            Effect::SettleReceipt { keep } => {
                assert!(*keep || self.metadata != MARKER || self.expected.is_none(), "what was committed leaves a receipt");
                self.receipt = *keep;
            }
            Effect::Commit(offsets) => {
                assert!(self.receipt, "the receipt stands before the commit");
                assert_eq!(
                    self.stored.last_action.as_ref().map(|action| action.kind),
                    Some(ActionKind::Commit),
                    "recorded before it was done"
                );
                assert_eq!((self.replicas, self.pods), (0, 0), "invariant 1: no consumer runs while offsets are committed");
                if self.members > 0 {
                    return Answer::Committed(per_partition(&Err(error(KafkaErrorKind::UnknownMember))));
                }
                let undoes = self.stored.is_undoing();
                let reset = self.expected.map(|offset| (offset, MARKER.to_owned()));
                let (offset, metadata) = if undoes { self.before.clone() } else { reset }.expect("the plan is final");
                for (_, committed) in offsets {
                    assert_eq!(committed.metadata, Metadata::from(metadata.as_str()), "each commit carries its marker");
                    assert_eq!(committed.offset, offset, "invariant 3: a relative target is resolved once, an undo goes back");
                    assert!((0..=100).contains(&offset), "invariant 3: within the bounds");
                }
                (self.offset, self.metadata) = (offset, metadata);
                return Answer::Committed(per_partition(&Ok(())));
            }
        }
        Answer::Done
    }

    fn pass(&mut self, dies: Option<Turn>) {
        if self.deleting && !self.finalizer && self.stored.hold.is_none() {
            return; // the object is gone, and nothing was held for it
        }
        let seen = self.observe();
        let decided = self.stored.outcome.is_some();
        let decision = decide(Ok(&self.request()), &self.stored, &seen, at(self.now));
        if self.stored.phase.is_some_and(Phase::is_terminal) {
            assert!(matches!(decision.effect, None | Some(Effect::RemoveFinalizer)), "invariant 5: what is over is inert");
        }
        self.stored = decision.status.clone();
        self.receipt |= self.stored.receipt.as_ref().is_some_and(|receipt| !receipt.settled);
        // The last moment at which a relative target may be resolved.
        if self.expected.is_none() && self.stored.final_plan_time.is_some() {
            self.expected = Some(match self.goal {
                Goal::ShiftBy(shift) => self.offset + shift,
                _ => 10,
            });
            self.before = Some((self.offset, self.metadata.clone()));
        }
        if !decided && self.stored.outcome.as_ref().is_some_and(|outcome| outcome.phase == Phase::Succeeded) {
            assert_eq!(
                (Some(self.offset), self.metadata.as_str()),
                (self.expected, MARKER),
                "invariant 7: success was read back"
            );
        }
        let Some(effect) = decision.effect else { return };
        if matches!(dies, Some(Turn::DiesBeforeActing)) {
            return;
        }
        let answer = self.act(&effect);
        if dies.is_none() {
            self.stored = after(&decision.status, &effect, &answer, &seen, at(self.now)).status;
        }
    }

    fn is_settled(&self) -> bool {
        self.stored.phase.is_some_and(Phase::is_terminal) && !self.finalizer && !crate::machine::needs_a_look(&self.stored)
    }

    pub(super) fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Pass => self.pass(None),
            Turn::DiesBeforeActing | Turn::DiesAfterActing => self.pass(Some(turn)),
            Turn::Kubelet => {
                self.pods = self.replicas;
                self.restarted &= self.pods > 0;
            }
            Turn::Crash => self.restarted = self.pods > 0,
            Turn::Session => self.members = self.pods,
            Turn::Consume if self.members > 0 && self.pods > 0 => {
                self.offset = (self.offset + 1).min(100);
                self.metadata.clear();
            }
            Turn::Consume => {}
            Turn::ScaledByOthers(replicas) => {
                self.scaled_by_others = true;
                self.replicas = replicas;
                self.version += 1;
            }
            Turn::Kafka(up) => self.kafka_up = up,
            Turn::Delete => self.deleting = true,
            Turn::Time(seconds) => self.now += seconds,
            Turn::Keda => {
                if let Some(keda) = &mut self.autoscaler {
                    let fights = self.replicas == 0 && !keda.acknowledged;
                    assert!(!fights || self.scaled_by_others, "KEDA never finds at zero what it may scale up");
                    keda.acknowledged = keda.paused;
                    keda.resource_version.push('k');
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_replicas_come_back(
        turns in turns(),
        goal in prop_oneof![Just(Goal::Offset(10)), Just(Goal::ShiftBy(-5))],
        autoscaled in any::<bool>(),
        canary in prop::option::of(prop_oneof![Just(OnCanaryFailure::Keep), Just(OnCanaryFailure::Undo)]),
    ) {
        let mut world = World::new(goal, autoscaled, canary);
        let mut others = false;
        for turn in turns {
            others |= matches!(turn, Turn::ScaledByOthers(_));
            world.turn(turn);
        }
        // The faults end: passes run through, pods and members follow.
        for _ in 0..3_000 {
            world.turn(Turn::Pass);
            world.turn(Turn::Kubelet);
            world.turn(Turn::Session);
            world.turn(Turn::Keda);
            world.turn(Turn::Consume);
            world.turn(Turn::Time(1));
            if world.is_settled() {
                break;
            }
        }
        prop_assert!(world.deleting || world.stored.phase.is_some_and(Phase::is_terminal), "it ends: {:?}", world.stored.phase);
        prop_assert!(!world.finalizer, "nothing keeps the object");
        prop_assert_eq!(&world.lease, &None, "no reset holds anything");
        prop_assert!(!world.autoscaler.is_some_and(|keda| keda.paused || keda.ours), "nothing stays paused");
        if !others {
            prop_assert_eq!(world.replicas, 3, "invariant 2");
        }
        let stopped = world.stored.targets.first().is_some_and(|target| target.stop_requested && target.original_replicas > 0);
        let only_we_stopped = stopped && world.stored.targets[0].restored == Some(Restored::Original);
        prop_assert!(!only_we_stopped || world.replicas > 0 || others, "never left at zero");
    }
}
