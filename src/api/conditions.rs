//! Conditions, by the conventions of Job and kstatus.
//!
//! A condition keeps its transition time: that moves only when the condition's status changes.
//! Conditions that tell of something passing or bad, and the final `Complete`, are there only while
//! they are True.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{
    reason::Reason,
    status::{OffsetResetStatus, Outcome, Phase},
};

/// The conditions of an `OffsetReset`. The first five are milestones of the run and keep
/// the state that they reached; the next two change until the operator stops looking. Two more are
/// the outcome, and the last three are what kstatus reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionType {
    /// Everything that could fail was tried, and the plan is complete.
    Planned,
    /// No container of the targets' pods runs any more.
    ConsumersStopped,
    /// The broker reports the group as empty.
    GroupEmpty,
    /// The offsets were committed and read back.
    OffsetsReset,
    /// The replicas are restored.
    ConsumersRestored,
    /// The pods are ready, and the group has as many members as before.
    ConsumersResumed,
    /// The group has committed past the target of every partition that has records to consume, and
    /// no other client has committed over an offset.
    ConsumptionProven,
    /// The reset is done: its message says what was done. Only there when True.
    Complete,
    /// The reset ended without having done what was asked: its message says what happened. Only
    /// there when True.
    Failed,
    /// kstatus: the reset, or the dry run, is done. Always there; its message says what that means
    /// for those that wait.
    Ready,
    /// kstatus: the operator is at work. Its message says on what, or what it waits for. Only there
    /// when True.
    Reconciling,
    /// kstatus: the operator has given up. Its message says what a person has to do. Only there
    /// when True.
    Stalled,
}

impl ConditionType {
    /// The name, as it stands in `status.conditions[].type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "Planned",
            Self::ConsumersStopped => "ConsumersStopped",
            Self::GroupEmpty => "GroupEmpty",
            Self::OffsetsReset => "OffsetsReset",
            Self::ConsumersRestored => "ConsumersRestored",
            Self::ConsumersResumed => "ConsumersResumed",
            Self::ConsumptionProven => "ConsumptionProven",
            Self::Complete => "Complete",
            Self::Failed => "Failed",
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }

    /// Whether the condition is there only while it is True.
    #[must_use]
    pub fn is_only_true(self) -> bool {
        match self {
            Self::Complete | Self::Failed | Self::Reconciling | Self::Stalled => true,
            Self::Planned
            | Self::ConsumersStopped
            | Self::GroupEmpty
            | Self::OffsetsReset
            | Self::ConsumersRestored
            | Self::ConsumersResumed
            | Self::ConsumptionProven
            | Self::Ready => false,
        }
    }
}

impl OffsetResetStatus {
    /// A condition's message; none when the condition is not there.
    #[must_use]
    pub fn condition_message(&self, kind: ConditionType) -> Option<&str> {
        let found = self.conditions.iter().find(|condition| condition.type_ == kind.as_str());
        found.map(|condition| condition.message.as_str())
    }

    /// Whether a condition has this reason.
    #[must_use]
    pub fn is_condition(&self, kind: ConditionType, reason: Reason) -> bool {
        self.conditions.iter().any(|condition| condition.type_ == kind.as_str() && condition.reason == reason.as_str())
    }

    /// All that the status says about its phase: `message` with the details and what to do, out of
    /// the conditions that have them.
    #[must_use]
    pub fn explanation(&self) -> String {
        let kinds: &[ConditionType] = match self.phase {
            Some(Phase::Succeeded) => &[ConditionType::Complete],
            Some(Phase::Failed | Phase::Cancelled) => &[ConditionType::Failed, ConditionType::Stalled],
            Some(Phase::Planned) => &[ConditionType::Ready],
            Some(
                Phase::Pending
                | Phase::Planning
                | Phase::Stopping
                | Phase::Draining
                | Phase::Resetting
                | Phase::Canary
                | Phase::Restoring
                | Phase::Unknown,
            )
            | None => &[ConditionType::Reconciling],
        };
        let messages: Vec<&str> = kinds.iter().filter_map(|kind| self.condition_message(*kind)).collect();
        let said = messages.join(". ");
        match &self.message {
            Some(message) if said.is_empty() => message.clone(),
            Some(message) if !said.starts_with(message) => format!("{message}. {said}"),
            Some(_) | None => said,
        }
    }
}

impl Outcome {
    /// What happened and what it means, without what to do.
    #[must_use]
    pub fn happened(&self) -> String {
        Self { advice: None, ..self.clone() }.explanation()
    }

    /// All that is known about the outcome: the message with the details and what to do.
    #[must_use]
    pub fn explanation(&self) -> String {
        let parts = [Some(&self.message), self.details.as_ref(), self.advice.as_ref()];
        parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(". ")
    }
}

/// Sets one condition. `status` is `None` for `Unknown`. `now` becomes the transition time only
/// when the status changes. A condition that is there only while it is True is removed by any other
/// status.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    kind: ConditionType,
    status: Option<bool>,
    reason: Reason,
    message: impl Into<String>,
    generation: Option<i64>,
    now: jiff::Timestamp,
) {
    if kind.is_only_true() && status != Some(true) {
        conditions.retain(|condition| condition.type_ != kind.as_str());
        return;
    }
    let status = match status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let new = Condition {
        type_: kind.as_str().into(),
        status: status.into(),
        reason: reason.as_str().into(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: Time(truncate_to_second(now)),
    };
    match conditions.iter_mut().find(|condition| condition.type_ == new.type_) {
        Some(old) if old.status == new.status => {
            let since = old.last_transition_time.clone();
            *old = Condition { last_transition_time: since, ..new };
        }
        Some(old) => *old = new,
        None => conditions.push(new),
    }
}

/// What is written has whole seconds, so what is compared must have them too, or every pass would
/// see a change.
fn truncate_to_second(at: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn keeps_the_transition_time_unless_the_status_flips() {
        let mut conditions = vec![];
        let set = |conditions: &mut Vec<Condition>, status, message: &str, now| {
            set_condition(conditions, ConditionType::Ready, status, Reason::Planning, message, Some(1), at(now));
        };
        set(&mut conditions, Some(false), "first", 10);
        set(&mut conditions, Some(false), "second", 20);
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].last_transition_time.0, at(10));
        assert_eq!(conditions[0].message, "second");
        set(&mut conditions, Some(true), "third", 30);
        assert_eq!(conditions[0].last_transition_time.0, at(30));
        set(&mut conditions, None, "fourth", 40);
        assert_eq!(conditions[0].status, "Unknown");
        assert_eq!(conditions[0].last_transition_time.0, at(40));
    }

    #[test]
    fn what_is_bad_or_passing_is_there_only_while_it_is_true() {
        let mut conditions = vec![];
        let set = |conditions: &mut Vec<Condition>, kind, status| {
            set_condition(conditions, kind, status, Reason::Planning, "m", Some(1), at(10));
        };
        let kinds = [ConditionType::Reconciling, ConditionType::Stalled, ConditionType::Complete, ConditionType::Failed];
        for kind in kinds {
            set(&mut conditions, kind, Some(true));
        }
        assert_eq!(conditions.len(), kinds.len());
        for (kind, status) in kinds.into_iter().zip([Some(false), None, Some(false), None]) {
            set(&mut conditions, kind, status);
        }
        assert_eq!(conditions, []);
    }
}
