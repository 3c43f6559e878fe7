//! One pass over one object: the status that is being written, and the few ways in which a pass can end.

use super::{
    decision::{Decision, Effect, Note},
    facts::{Observed, Pod, Seen, Workload},
    guards::Guard,
    text::{name, seconds},
    time::later,
    totals::totals,
};
use crate::api::{
    Action, ActionKind, ConditionType, DriftStatus, HoldStatus, OffsetResetStatus, Outcome, Phase, Reason, TargetStatus, Totals,
    set_condition,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

/// How soon to look again after something was done that the next pass builds on.
const AT_ONCE: SignedDuration = SignedDuration::ZERO;

/// How soon to look again at a target that could not be seen.
pub(in crate::machine) const UNSEEN_RETRY: SignedDuration = SignedDuration::from_secs(1);

pub(in crate::machine) struct Pass<'a> {
    pub status: OffsetResetStatus,
    pub seen: &'a Observed,
    pub now: Timestamp,
    notes: Vec<Note>,
}

impl<'a> Pass<'a> {
    pub fn new(status: &OffsetResetStatus, seen: &'a Observed, now: Timestamp) -> Self {
        Self { status: status.clone(), seen, now, notes: vec![] }
    }

    /// Takes up an object, for the first time or again, and says in which phase it is.
    pub fn begin(&mut self, dry_run: bool) -> Phase {
        self.status.observed_generation = self.seen.generation;
        if self.status.phase.is_none() {
            self.status.dry_run = dry_run;
            self.status.start_time = Some(Time(self.now));
            self.enter(Phase::Pending);
        }
        self.status.phase.unwrap_or(Phase::Pending)
    }

    /// What was a dry run is one no more: it begins anew, and remembers the dry run's plan to say how the new one differs.
    pub fn begin_anew(mut self) -> Decision {
        let old = std::mem::take(&mut self.status);
        self.status.drift = old.plan_time.zip(old.totals).map(|(first_plan_time, first_totals)| DriftStatus {
            first_plan_time,
            first_totals,
            moved: 0,
            retargeted: 0,
            added: 0,
            removed: 0,
        });
        // The report of the dry run's plan stays until the new one is made.
        self.status.partitions = old.partitions;
        self.status.partitions_omitted = old.partitions_omitted;
        self.status.report = old.report;
        self.begin(false);
        self.go_on(Phase::Pending, Reason::Planning, "the dry run is over and it is to run; the plan is made anew")
    }

    pub fn enter(&mut self, phase: Phase) {
        if self.status.phase != Some(phase) {
            self.status.phase = Some(phase);
            self.status.phase_start_time = Some(self.instant());
        }
    }

    pub fn instant(&self) -> MicroTime {
        MicroTime(self.now)
    }

    /// When the phase began.
    pub fn phase_start(&self) -> Timestamp {
        self.status.phase_start_time.as_ref().map_or(self.now, |at| at.0)
    }

    pub fn condition(&mut self, kind: ConditionType, status: Option<bool>, reason: Reason, message: impl Into<String>) {
        set_condition(&mut self.status.conditions, kind, status, reason, message, self.seen.generation, self.now);
    }

    pub fn condition_status(&self, kind: ConditionType) -> Option<&str> {
        self.status
            .conditions
            .iter()
            .find(|condition| condition.type_ == kind.as_str())
            .map(|condition| condition.status.as_str())
    }

    pub fn note(&mut self, warning: bool, reason: Reason, message: impl Into<String>, target: Option<usize>) {
        self.notes.push(Note { warning, reason, message: message.into(), target });
    }

    /// The message when the consumers have been held for as long as they may be.
    pub fn hold_deadline_passed(&self) -> Option<String> {
        let hold = self.status.hold.as_ref()?;
        Guard::HoldNotOver.stops(self.now >= hold.deadline.0).then(|| {
            let phase = self.status.phase.map_or("", Phase::as_str);
            let last = self.status.message.as_deref().unwrap_or_default();
            let said = self.offsets_said();
            format!("holdTimeout was over in phase {phase}: the consumers come back. {said}. The last that was known: {last}")
        })
    }

    /// Counts over the partitions. Of a list that is not complete none can be told; they were when it was.
    pub fn totals(&self) -> Totals {
        let listed = totals(&self.status.partitions);
        if self.status.partitions_omitted == 0 { listed } else { self.status.totals.unwrap_or(listed) }
    }

    /// Something was or may have been committed: a commit was sent that was not refused for every partition.
    pub fn may_have_committed(&self) -> bool {
        self.status.commits > self.status.commits_refused
    }

    /// The last thing that was done is of this kind, and was done a moment ago.
    pub fn was_just_tried(&self, kind: ActionKind, moment: SignedDuration) -> bool {
        let last = self.status.last_action.as_ref().filter(|action| action.kind == kind);
        last.is_some_and(|action| self.now.duration_since(action.time.0) < moment)
    }

    /// What to say of the offsets when the run ends early: never more than is known.
    pub fn offsets_said(&self) -> String {
        let totals = self.totals();
        let back = match (&self.status.receipt, self.seen.deleting) {
            (Some(receipt), true) => format!("ConfigMap {} keeps the offsets from before", receipt.config_map),
            (_, _) => "An OffsetReset with undo takes all of them back".to_owned(),
        };
        match (totals.reset, totals.unconfirmed) {
            (0, 0) if !self.may_have_committed() => "No offset was changed".to_owned(),
            (0, 0) => {
                format!("Offsets were committed, and none of them stands any more: something has committed over them. {back}")
            }
            (reset, 0) => format!("{reset} offsets were set and read back before: the partitions that are marked Reset. {back}"),
            (reset, sent) => format!(
                "{reset} offsets were set and read back, and {sent} more may have been set: the partitions that are marked Unconfirmed. {back}"
            ),
        }
    }

    /// Each target in the status, with what was seen of it.
    fn targets(&self) -> impl Iterator<Item = (&TargetStatus, &'a Seen<Workload>)> {
        self.status.targets.iter().zip(&self.seen.targets)
    }

    /// Every pod of every target that was seen.
    pub fn pods(&self) -> Vec<&'a Pod> {
        self.seen
            .targets
            .iter()
            .filter_map(|seen| match seen {
                Seen::Known(workload) => Some(&workload.pods),
                Seen::Unknown(_) | Seen::Missing => None,
            })
            .flatten()
            .collect()
    }

    /// The consumers are gone for sure: every target was seen, is the one that was stopped, is at zero, and none of its containers runs.
    pub fn consumers_are_gone(&self) -> bool {
        self.seen.targets.len() == self.status.targets.len()
            && self.targets().all(|(target, seen)| match seen {
                Seen::Known(workload) => {
                    workload.uid == target.uid
                        && Guard::AtZero.holds(workload.replicas == 0)
                        && Guard::ContainersTerminated.holds(workload.pods.iter().all(|pod| pod.ended))
                }
                Seen::Unknown(_) | Seen::Missing => false,
            })
    }

    /// The first target that could not be looked at.
    pub fn unseen_target(&self) -> Option<String> {
        self.targets().find_map(|(target, seen)| match seen {
            Seen::Unknown(why) => Some(format!("{}: {why}", name(target))),
            Seen::Missing | Seen::Known(_) => None,
        })
    }

    // The ways in which a pass ends.

    /// Waits: says for what, and looks again after a while or when something changes.
    pub fn wait(mut self, reason: Reason, message: impl Into<String>, after: SignedDuration) -> Decision {
        self.say(reason, message);
        self.end(None, Some(after))
    }

    /// The consumers are not gone for sure: where they run again they are stopped again; where that cannot be seen it waits.
    pub fn not_gone(self) -> Decision {
        if let Some(problem) = self.unseen_target() {
            let message = format!("cannot see whether the consumers are still stopped: {problem}");
            return self.wait(Reason::WaitingForContainers, message, UNSEEN_RETRY);
        }
        self.go_on(Phase::Stopping, Reason::WaitingForContainers, "consumers run again; they are stopped again")
    }

    /// Nothing more to do unless something changes.
    pub fn wait_for_change(self) -> Decision {
        self.end(None, None)
    }

    /// Looks again after a while, with nothing new to say.
    pub fn look_again(self, after: SignedDuration) -> Decision {
        self.end(None, Some(after))
    }

    /// The pass itself, out of a borrow.
    pub fn take(&mut self) -> Self {
        Self { status: std::mem::take(&mut self.status), seen: self.seen, now: self.now, notes: std::mem::take(&mut self.notes) }
    }

    /// Goes on with the next pass, which sees the world anew.
    pub fn again(self) -> Decision {
        self.end(None, Some(AT_ONCE))
    }

    /// Goes on with the next pass in another phase.
    pub fn go_on(mut self, phase: Phase, reason: Reason, message: impl Into<String>) -> Decision {
        self.enter(phase);
        self.say(reason, message);
        self.again()
    }

    /// Does one thing, and looks again.
    pub fn act(mut self, effect: Effect) -> Decision {
        let fence = match &effect {
            Effect::AddFinalizer | Effect::RemoveFinalizer => None,
            Effect::Scale { target, kind, .. } => Some((*kind, self.status.targets.get(*target).map(name).unwrap_or_default())),
            Effect::Claim { target, .. } => {
                Some((ActionKind::Claim, self.status.targets.get(*target).map(name).unwrap_or_default()))
            }
            Effect::Release { target, .. } => {
                Some((ActionKind::Release, self.status.targets.get(*target).map(name).unwrap_or_default()))
            }
            Effect::Pause { target, .. } => {
                Some((ActionKind::Pause, self.status.targets.get(*target).map(name).unwrap_or_default()))
            }
            Effect::Resume { target, .. } => {
                Some((ActionKind::Resume, self.status.targets.get(*target).map(name).unwrap_or_default()))
            }
            Effect::SettleReceipt { .. } => {
                Some((ActionKind::Settle, self.status.receipt.as_ref().map(|at| at.config_map.clone()).unwrap_or_default()))
            }
            Effect::RemoveMembers(members) => Some((ActionKind::RemoveMembers, format!("{} members", members.len()))),
            Effect::Commit(offsets) => Some((ActionKind::Commit, format!("{} partitions", offsets.len()))),
        };
        if let Some((kind, subject)) = fence {
            self.status.last_action = Some(Action { kind, subject, time: self.instant() });
        }
        self.end(Some(effect), Some(AT_ONCE))
    }

    /// The run has come to something: the replicas come back if they were taken, and that is the end.
    pub fn finish(mut self, phase: Phase, reason: Reason, message: impl Into<String>) -> Decision {
        let message = message.into();
        let outcome = Outcome { phase, reason, message };
        if Guard::RestoredFirst.stops(self.status.hold.is_some()) {
            let message = format!("the replicas are being put back. {}: {}", outcome.phase.as_str(), outcome.message);
            self.status.outcome = Some(outcome);
            return self.go_on(Phase::Restoring, Reason::Restoring, message);
        }
        self.status.outcome = Some(outcome);
        self.complete()
    }

    /// The end, after the replicas are back or when none were taken.
    pub fn complete(mut self) -> Decision {
        let outcome = self.status.outcome.clone().unwrap_or(Outcome {
            phase: Phase::Failed,
            reason: Reason::InvalidSpec,
            message: "the status had lost its outcome: somebody has edited it".into(),
        });
        self.enter(outcome.phase);
        self.status.completion_time = Some(Time(self.now));
        if let Some(hold) = &mut self.status.hold {
            hold.end_time = Some(MicroTime(self.now));
            hold.downtime = Some(seconds(self.now.duration_since(hold.start_time.0)));
        }
        let complete = outcome.phase == Phase::Succeeded;
        let failed = !complete && outcome.phase != Phase::Planned;
        if failed {
            for milestone in
                [ConditionType::Planned, ConditionType::ConsumersStopped, ConditionType::GroupEmpty, ConditionType::OffsetsReset]
            {
                if self.condition_status(milestone) != Some("True") {
                    self.condition(milestone, Some(false), outcome.reason, &outcome.message);
                    break;
                }
            }
        }
        self.condition(ConditionType::Complete, Some(complete), outcome.reason, &outcome.message);
        self.condition(ConditionType::Failed, Some(failed), outcome.reason, &outcome.message);
        self.note(failed, outcome.reason, &outcome.message, None);
        self.say(outcome.reason, outcome.message);
        self.again()
    }

    /// Says where it stands, without an end of the pass.
    pub fn say(&mut self, reason: Reason, message: impl Into<String>) {
        self.status.reason = Some(reason);
        self.status.message = Some(message.into());
    }

    fn end(mut self, effect: Option<Effect>, requeue: Option<SignedDuration>) -> Decision {
        if !self.status.partitions.is_empty() {
            self.status.totals = Some(self.totals());
        }
        self.kstatus();
        Decision { status: self.status, effect, requeue, notes: self.notes }
    }

    /// Ready, Reconciling and Stalled, so that every tool that waits by kstatus understands the phase.
    fn kstatus(&mut self) {
        let (ready, reconciling, stalled) = match self.status.phase {
            Some(Phase::Succeeded | Phase::Planned) => (true, false, false),
            Some(Phase::Failed | Phase::Cancelled) => (false, false, true),
            Some(Phase::Pending | Phase::Planning | Phase::Stopping | Phase::Draining | Phase::Resetting | Phase::Restoring)
            | None => (false, true, false),
        };
        let reason = self.status.reason.unwrap_or(Reason::Planning);
        let message = self.status.message.clone().unwrap_or_default();
        self.condition(ConditionType::Ready, Some(ready), reason, message.clone());
        self.condition(ConditionType::Reconciling, Some(reconciling), reason, message.clone());
        self.condition(ConditionType::Stalled, Some(stalled), reason, message);
    }
}

/// A hold that begins now.
pub(in crate::machine) fn new_hold(now: Timestamp, hold_timeout: SignedDuration) -> HoldStatus {
    HoldStatus {
        start_time: MicroTime(now),
        deadline: MicroTime(later(now, hold_timeout)),
        containers_terminated_time: None,
        session_end_time: None,
        drain_deadline: None,
        group_empty_time: None,
        end_time: None,
        downtime: None,
    }
}
