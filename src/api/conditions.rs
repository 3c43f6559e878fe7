//! Conditions keep their transition time: it changes only together with the status of the
//! condition.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::reason::Reason;

/// The types of conditions of an `OffsetReset`. The first six are milestones of the run and stay
/// once they are reached. Complete, Failed, Reconciling and Stalled are present only while they are
/// True.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionType {
    /// The plan is complete, and everything that can be tried in advance has succeeded.
    Planned,
    /// No container of the targets' pods runs any more.
    ConsumersStopped,
    /// The broker reports the group empty.
    GroupEmpty,
    /// The offsets were committed and read back.
    OffsetsReset,
    /// The replicas are restored.
    ConsumersRestored,
    /// The pods are ready, and the group has as many members as before.
    ConsumersResumed,
    /// The reset succeeded: the offsets were read back, and the API server accepted the replica
    /// counts.
    Complete,
    /// The reset ended without success.
    Failed,
    /// For kstatus: the object is as its spec wants it.
    Ready,
    /// For kstatus: the operator is working on the object.
    Reconciling,
    /// For kstatus: the reset ended without success.
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
            Self::Complete => "Complete",
            Self::Failed => "Failed",
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }
}

/// Sets one condition. `status` is `None` for `Unknown`. `now` becomes the transition time only
/// when the status changes.
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

/// The API server keeps whole seconds. A condition with fractions would differ from the stored one
/// on every pass.
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
