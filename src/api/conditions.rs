//! Conditions keep their transition time: it moves only when the status of the condition flips.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::Reason;

/// The conditions of an `OffsetReset`. The first eight are milestones of the run and stay as they were reached;
/// the last three are what kstatus reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionType {
    /// Everything that could fail was tried, and the plan stands.
    Planned,
    /// No container of the targets' pods runs any more.
    ConsumersStopped,
    /// The broker calls the group free.
    GroupEmpty,
    /// The offsets were committed and read back.
    OffsetsReset,
    /// The replicas are put back.
    ConsumersRestored,
    /// The pods are ready and the group has its members again.
    ConsumersResumed,
    /// The reset is done: offsets read back and replicas accepted.
    Complete,
    /// The reset ended without having done what was asked.
    Failed,
    /// kstatus: the object is as wished.
    Ready,
    /// kstatus: the operator is at work.
    Reconciling,
    /// kstatus: it ended, and not as wished.
    Stalled,
}

impl ConditionType {
    /// The name that stands in `status.conditions[].type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "Planned",
            Self::ConsumersStopped => "ConsumersStopped",
            Self::GroupEmpty => "GroupEmpty",
            Self::OffsetsReset => "OffsetsReset",
            Self::ConsumersRestored => "ConsumersRestored",
            Self::ConsumersResumed => "ConsumersResumed",
            Self::Complete => "Complete",
            Self::Failed => "Failed",
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }
}

/// Sets one condition. `status` is `None` for `Unknown`. `now` becomes the transition time only when the status changes.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    kind: ConditionType,
    status: Option<bool>,
    reason: Reason,
    message: impl Into<String>,
    generation: Option<i64>,
    now: jiff::Timestamp,
) {
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

/// What is written has whole seconds, so what is compared must have them too, or every pass would see a change.
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
}
