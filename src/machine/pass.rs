//! One step of a pass over one object: the status that it writes, and the ways in which it can end.

use super::{
    decision::{Decision, Effect, Note},
    facts::{Observed, Pod, Seen, Workload},
    guards::Guard,
    limits::NOT_ALLOWED_RETRY,
    text::{Message, name, seconds, sentences},
    totals::totals,
};
use crate::api::{
    Action, ActionKind, ConditionType, DriftStatus, OffsetResetStatus, Outcome, Phase, Reason, TargetStatus, Totals,
    set_condition,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

/// How soon to look again after an effect that the next step builds on.
const AT_ONCE: SignedDuration = SignedDuration::ZERO;

/// How soon to look again at a target that could not be seen.
pub(in crate::machine) const UNSEEN_RETRY: SignedDuration = SignedDuration::from_secs(1);

pub(in crate::machine) struct Pass<'a> {
    pub status: OffsetResetStatus,
    pub seen: &'a Observed,
    pub now: Timestamp,
    notes: Vec<Note>,
    /// The current action, when this step has anything new to report about it.
    said: Option<Message>,
}

impl<'a> Pass<'a> {
    pub fn new(status: &OffsetResetStatus, seen: &'a Observed, now: Timestamp) -> Self {
        Self { status: status.clone(), seen, now, notes: vec![], said: None }
    }

    /// Takes up an object, for the first time or again, and returns its phase.
    pub fn begin(&mut self, dry_run: bool) -> Phase {
        self.status.observed_generation = self.seen.generation;
        if self.status.phase.is_none() {
            self.status.dry_run = dry_run;
            self.status.start_time = Some(Time(self.now));
            self.enter(Phase::Pending);
        }
        self.status.phase.unwrap_or(Phase::Pending)
    }

    /// A dry run is to run now: it begins again, and remembers the old plan to tell the difference.
    pub fn begin_again(mut self) -> Decision {
        let old = std::mem::take(&mut self.status);
        super::transitions::made(old.phase, Phase::Pending);
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
        (self.status.report, self.status.forecast) = (old.report, old.forecast);
        self.begin(false);
        let message =
            Message::new("The plan is made again, because dryRun was set to false").detail("The consumers keep running");
        self.go_on(Phase::Pending, Reason::Planning, message)
    }

    pub fn enter(&mut self, phase: Phase) {
        if self.status.phase != Some(phase) {
            super::transitions::made(self.status.phase, phase);
            self.status.phase = Some(phase);
            self.status.phase_start_time = Some(self.instant());
            if phase == Phase::Planning {
                self.status.planning_start_time = Some(self.instant());
            }
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

    /// Publishes an Event, on a target too when one is given.
    pub fn note(&mut self, warning: bool, reason: Reason, message: impl Into<String>, target: Option<usize>) {
        self.notes.push(Note { warning, reason, message: message.into(), target });
    }

    /// The message when the consumers have been held for as long as they may be.
    pub fn hold_deadline_passed(&self) -> Option<Message> {
        let hold = self.status.hold.as_ref()?;
        if Guard::HoldNotOver.allows(self.now < hold.deadline.0) {
            return None;
        }
        let phase = self.status.phase.map_or("", Phase::as_str);
        Some(
            Message::new(format!("holdTimeout expired in phase {phase}, so the consumers are restored"))
                .detail(self.offsets_changed())
                .detail(format!("The last known state: {}", self.status.explanation()))
                .advice("Remove the cause or raise holdTimeout, and create the reset under a new name"),
        )
    }

    /// Counts over the partitions. A list that is not complete has none; they were counted when it
    /// was.
    pub fn totals(&self) -> Totals {
        let listed = totals(&self.status.partitions);
        if self.status.partitions_omitted == 0 { listed } else { self.status.totals.unwrap_or(listed) }
    }

    /// Something was or may have been committed: a commit was sent that was not refused for every
    /// partition.
    pub fn may_have_committed(&self) -> bool {
        self.status.commits > self.status.commits_refused
    }

    /// Whether the last action is of this kind and was taken within this moment.
    pub fn was_just_tried(&self, kind: ActionKind, moment: SignedDuration) -> bool {
        let last = self.status.last_action.as_ref().filter(|action| action.kind == kind);
        last.is_some_and(|action| self.now.duration_since(action.time.0) < moment)
    }

    /// Whether offsets were changed, for a run that ends early: never more than is known.
    pub fn offsets_changed(&self) -> String {
        let totals = self.totals();
        let back = match (&self.status.receipt, self.seen.deleting) {
            (Some(receipt), true) => format!("ConfigMap {} keeps the offsets from before", receipt.config_map),
            (_, _) => "An OffsetReset with undo restores the offsets from before".to_owned(),
        };
        if self.status.is_undoing() {
            let all = self.status.partitions.iter().filter(|partition| partition.undone.is_some()).count();
            let again = format!("{} of the {all} offsets from before were committed again and read back", totals.reset);
            return format!("The offsets of the reset were committed, and the canary has failed: {again}. {back}");
        }
        match (totals.reset, totals.unconfirmed) {
            (0, 0) if !self.may_have_committed() => "No offset was changed".to_owned(),
            (0, 0) => format!("Offsets were committed, but all have since been overwritten by another client. {back}"),
            (reset, 0) => {
                format!("{reset} offsets were committed and read back before: those of the partitions with outcome Reset. {back}")
            }
            (reset, unconfirmed) => format!(
                "{reset} offsets were committed and read back, and {unconfirmed} more may have been committed: those of the \
                 partitions with outcome Unconfirmed. {back}"
            ),
        }
    }

    /// Each target in the status, with the workload that was seen.
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

    /// The consumers are stopped for certain: every target was seen, is the one that was stopped,
    /// is at zero, and none of its containers runs.
    pub fn consumers_are_stopped(&self) -> bool {
        self.seen.targets.len() == self.status.targets.len()
            && self.targets().all(|(target, seen)| match seen {
                Seen::Known(workload) => {
                    workload.uid == target.uid
                        && Guard::AtZero.allows(workload.replicas == 0)
                        && Guard::ContainersTerminated.allows(workload.pods.iter().all(|pod| pod.terminated))
                        && (!Guard::OwnPods.allows(false) || workload.details.foreign_pods.is_empty())
                }
                Seen::Unknown(_) | Seen::Missing => false,
            })
    }

    /// The first target that could not be read, and why.
    pub fn unseen_target(&self) -> Option<String> {
        self.targets().find_map(|(target, seen)| match seen {
            Seen::Unknown(why) => Some(format!("{}: {why}", name(target))),
            Seen::Missing | Seen::Known(_) => None,
        })
    }

    // The ways in which a pass ends.

    /// Waits, and looks again after a while or when something changes.
    pub fn wait(mut self, reason: Reason, message: impl Into<Message>, after: SignedDuration) -> Decision {
        self.say(reason, message);
        self.end(None, Some(after))
    }

    /// The consumers are not stopped for certain: where they run again they are stopped again;
    /// where that cannot be seen it waits.
    pub fn stop_again(self) -> Decision {
        if let Some(problem) = self.unseen_target() {
            let message = Message::new("The operator cannot see whether the consumers are still stopped")
                .detail(problem)
                .detail("No offset is committed before that, and the operator tries again every second");
            return self.wait(Reason::WaitingForContainers, message, UNSEEN_RETRY);
        }
        let message = Message::new("Consumers run again, so they are stopped again").detail("No offset is committed before that");
        self.go_on(Phase::Stopping, Reason::WaitingForContainers, message)
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
        Self {
            status: std::mem::take(&mut self.status),
            seen: self.seen,
            now: self.now,
            notes: std::mem::take(&mut self.notes),
            said: self.said.take(),
        }
    }

    /// Goes on with the next step, of this pass or of another one, which looks at everything again.
    pub fn again(self) -> Decision {
        self.end(None, Some(AT_ONCE))
    }

    /// Goes on with the next step in another phase.
    pub fn go_on(mut self, phase: Phase, reason: Reason, message: impl Into<Message>) -> Decision {
        self.enter(phase);
        self.say(reason, message);
        self.again()
    }

    /// Does one thing, and looks again.
    pub fn act(mut self, effect: Effect) -> Decision {
        let fence = match &effect {
            Effect::AddFinalizer | Effect::RemoveFinalizer | Effect::Delete => None,
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
            Effect::RemoveOffsets(removed) => Some((ActionKind::Commit, format!("no offset for {} partitions", removed.len()))),
        };
        if let Some((kind, _)) = &fence
            && self.was_just_not_allowed(&effect, *kind)
        {
            return self.look_again(NOT_ALLOWED_RETRY);
        }
        if let Some((kind, subject)) = fence {
            self.status.last_action = Some(Action { kind, subject, time: self.instant() });
        }
        self.end(Some(effect), Some(AT_ONCE))
    }

    /// The run has an outcome: the replicas are restored if any target was stopped, and then the
    /// run is over.
    pub fn finish(mut self, phase: Phase, reason: Reason, message: impl Into<Message>) -> Decision {
        let message = message.into();
        self.decide_outcome(phase, reason, &message);
        if Guard::RestoredFirst.allows(self.status.hold.is_none()) {
            return self.complete();
        }
        let restoring = Message::new("The replicas are being restored").detail(format!(
            "The outcome is {}: {}",
            phase.as_str(),
            message.full()
        ));
        self.go_on(Phase::Restoring, Reason::Restoring, restoring)
    }

    /// Records how the run ends once the replicas are restored.
    pub fn decide_outcome(&mut self, phase: Phase, reason: Reason, message: &Message) {
        self.status.outcome = Some(Outcome {
            phase,
            reason,
            message: message.summary().to_owned(),
            details: message.details(),
            advice: message.what_to_do(),
        });
    }

    /// The run is over: the replicas are restored, or no target was stopped.
    pub fn complete(mut self) -> Decision {
        let outcome = self.status.outcome.clone().unwrap_or(Outcome {
            phase: Phase::Failed,
            reason: Reason::InvalidSpec,
            message: "The outcome is missing from the status, which was probably edited by hand".into(),
            details: Some(self.offsets_changed()),
            advice: Some("Compare status.partitions with the group's offsets before you create another reset".into()),
        });
        // Another version may have decided on a phase that this one does not know.
        self.enter(if outcome.phase.is_terminal() { outcome.phase } else { Phase::Failed });
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
                let found = self.status.conditions.iter().find(|condition| condition.type_ == milestone.as_str());
                if found.is_some_and(|found| found.status == "True") {
                    continue;
                }
                // One that was set for this very reason says more than can be said here.
                if found.is_none_or(|found| found.reason != outcome.reason.as_str()) {
                    let message = format!("{} was not reached before the reset ended", milestone.as_str());
                    self.condition(milestone, Some(false), outcome.reason, message);
                }
                break;
            }
        }
        let parts = |parts: &[Option<&String>]| sentences(&parts.iter().copied().flatten().cloned().collect::<Vec<_>>());
        let happened = parts(&[Some(&outcome.message), outcome.details.as_ref()]);
        let all = parts(&[Some(&outcome.message), outcome.details.as_ref(), outcome.advice.as_ref()]);
        self.condition(ConditionType::Complete, Some(complete), outcome.reason, &all);
        self.condition(ConditionType::Failed, Some(failed), outcome.reason, happened);
        self.note(failed, outcome.reason, all, None);
        self.status.reason = Some(outcome.reason);
        self.status.message = Some(outcome.message);
        self.again()
    }

    /// Tells what is happening, without an end of the pass.
    pub fn say(&mut self, reason: Reason, message: impl Into<Message>) {
        let message = message.into();
        self.status.reason = Some(reason);
        self.status.message = Some(message.summary().to_owned());
        self.said = Some(message);
    }

    fn end(mut self, effect: Option<Effect>, requeue: Option<SignedDuration>) -> Decision {
        if !self.status.partitions.is_empty() {
            self.status.totals = Some(self.totals());
        }
        self.columns();
        self.kstatus();
        let decision = Decision { status: self.status, effect, requeue, notes: self.notes };
        #[cfg(test)]
        super::tests::messages::check(&decision);
        decision
    }

    /// The fields that only columns show.
    fn columns(&mut self) {
        let totals = self.status.totals.unwrap_or_default();
        let to_reset = totals.partitions - totals.left_alone;
        self.status.progress = (totals.partitions > 0).then(|| format!("{}/{to_reset}", totals.reset));
        let held = self.status.hold.as_ref().filter(|hold| hold.end_time.is_none());
        // Whole seconds, as they are stored: or every pass would see a change.
        self.status.held_until =
            held.map(|hold| Time(Timestamp::from_second(hold.deadline.0.as_second()).unwrap_or(hold.deadline.0)));
        self.status.target_names = self.status.targets.split_first().map(|(first, others)| match others.len() {
            0 => name(first),
            more => format!("{} +{more}", name(first)),
        });
    }

    /// Ready, Reconciling and Stalled, so that every tool that waits by kstatus understands the
    /// phase.
    ///
    /// Each has a message of its own: Ready is for those that wait, Reconciling says what the
    /// operator does or waits for, Stalled says what a person has to do.
    fn kstatus(&mut self) {
        let phase = self.status.phase.unwrap_or(Phase::Pending);
        let reason = self.status.reason.unwrap_or(Reason::Planning);
        let (ready, stalled) = match phase {
            Phase::Succeeded | Phase::Planned => (true, false),
            Phase::Failed | Phase::Cancelled => (false, true),
            Phase::Pending
            | Phase::Planning
            | Phase::Stopping
            | Phase::Draining
            | Phase::Resetting
            | Phase::Canary
            | Phase::Restoring
            | Phase::Unknown => (false, false),
        };
        let advice = self.status.outcome.as_ref().filter(|_| phase.is_terminal()).and_then(|outcome| outcome.advice.clone());
        let for_those_that_wait = match phase {
            Phase::Succeeded => "Nothing more follows: the reset is over and succeeded".to_owned(),
            Phase::Planned => {
                let outcome = self.status.outcome.as_ref();
                let details = outcome.and_then(|outcome| outcome.details.clone());
                let all = sentences(&details.into_iter().chain(advice.clone()).collect::<Vec<_>>());
                if all.is_empty() { "Nothing more follows: the dry run is over".to_owned() } else { all }
            }
            Phase::Failed => "Nothing more follows: the reset is over and failed, and will not become ready".to_owned(),
            Phase::Cancelled => "Nothing more follows: the reset was cancelled, and will not become ready".to_owned(),
            running => format!("Not over yet: the reset is in phase {}", running.as_str()),
        };
        self.condition(ConditionType::Ready, Some(ready), reason, for_those_that_wait);
        let reconciling = !phase.is_terminal();
        // With nothing new to say, what was said before stands.
        let said = match (&self.said, self.status.condition_message(ConditionType::Reconciling)) {
            (Some(said), _) => said.full(),
            (None, Some(before)) => before.to_owned(),
            (None, None) => self.status.message.clone().unwrap_or_else(|| "The operator has taken up the reset".to_owned()),
        };
        self.condition(ConditionType::Reconciling, Some(reconciling), reason, said);
        let nothing = match phase {
            Phase::Cancelled => "There is nothing to do: the OffsetReset goes away once its finalizer is removed",
            _ => "Read what happened in condition Failed, correct it, and create the reset under a new name",
        };
        self.condition(ConditionType::Stalled, Some(stalled), reason, advice.unwrap_or_else(|| nothing.to_owned()));
    }
}
