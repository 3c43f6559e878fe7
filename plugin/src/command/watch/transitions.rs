//! PURE: what has changed from one state of a reset to the next, one line each.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt;
use offset_reset_operator::api::{OffsetReset, OffsetResetStatus, Phase, Reason};
use serde_json::json;

use crate::{
    cli::Lines,
    exit::{Exit, has_ended},
    view::Line,
};

/// Conditions that say the same as the phase.
const SAID_BY_THE_PHASE: [&str; 5] = ["Ready", "Reconciling", "Stalled", "Complete", "Failed"];

/// What was printed already.
#[derive(Default)]
pub struct Transitions {
    phase: Option<(Option<Phase>, String)>,
    conditions: BTreeMap<String, (String, String)>,
    /// The time of the last line.
    last: Timestamp,
}

impl Transitions {
    /// The lines for what has changed. Their times never go back, although a condition keeps its time when only its reason changes,
    /// and the reader's clock may differ from the operator's.
    pub fn next(&mut self, reset: &OffsetReset, lines: Option<Lines>, now: Timestamp) -> Vec<String> {
        let status = reset.status.clone().unwrap_or_default();
        let mut found = vec![];
        let reason = status.reason.map(|reason| reason.as_str().to_owned()).unwrap_or_default();
        let phase = (status.phase, reason);
        let name = json!({"namespace": reset.namespace(), "name": reset.name_any()});
        let line = |kind: &str, at: Timestamp, what: &str, state: &str, reason: &str, message: &str| {
            let at = jiff::fmt::strtime::format("%Y-%m-%dT%H:%M:%SZ", at).unwrap_or_default();
            match lines {
                Some(Lines::Json) => {
                    let mut object = name.clone();
                    let facts = json!({"time": at, kind: what, "status": state, "reason": reason, "message": message});
                    for (key, value) in facts.as_object().into_iter().flatten().filter(|(_, value)| **value != json!("")) {
                        object[key] = value.clone();
                    }
                    object.to_string()
                }
                None => [at.as_str(), what, if state.is_empty() { reason } else { state }, message].map(str::trim).join(" "),
            }
        };
        let mut changed = vec![];
        for condition in status.conditions.iter().filter(|condition| !SAID_BY_THE_PHASE.contains(&condition.type_.as_str())) {
            let state = (condition.status.clone(), condition.reason.clone());
            let before = self.conditions.insert(condition.type_.clone(), state.clone());
            if before.as_ref() != Some(&state) {
                let same_status = before.is_some_and(|(before, _)| before == condition.status);
                changed.push((if same_status { latest(&status) } else { condition.last_transition_time.0 }, condition));
            }
        }
        changed.sort_by_key(|(at, _)| *at);
        for (at, condition) in changed {
            let at = self.not_before_the_last(at);
            found.push(line("condition", at, &condition.type_, &condition.status, &condition.reason, &condition.message));
        }
        if self.phase.as_ref() != Some(&phase) {
            let is_new_phase = self.phase.as_ref().is_none_or(|(before, _)| *before != phase.0);
            let at = status.phase_start_time.as_ref().filter(|_| is_new_phase).map_or(now, |at| at.0);
            let at = self.not_before_the_last(at);
            let what = phase.0.map_or("New", Phase::as_str);
            let message = status.message.as_deref().unwrap_or("the operator has not seen it yet");
            found.push(line("phase", at, what, "", &phase.1, message));
            self.phase = Some(phase);
        }
        found
    }

    fn not_before_the_last(&mut self, at: Timestamp) -> Timestamp {
        self.last = self.last.max(at);
        self.last
    }
}

/// The latest time in a status, by the operator's clock.
fn latest(status: &OffsetResetStatus) -> Timestamp {
    let conditions = status.conditions.iter().map(|condition| condition.last_transition_time.0);
    conditions.chain(status.phase_start_time.as_ref().map(|at| at.0)).max().unwrap_or_default()
}

/// The obstacles to a plan, each printed once.
#[derive(Default)]
pub struct Obstacles {
    last: Option<Reason>,
}

impl Obstacles {
    /// The line for an obstacle that is new.
    pub fn next(&mut self, reset: &OffsetReset) -> Option<Line> {
        let status = reset.status.as_ref().filter(|_| !has_ended(reset))?;
        let reason = status.reason.filter(|reason| !matches!(reason, Reason::Planning | Reason::DryRun));
        let is_new = self.last != reason;
        self.last = reason;
        let reason = reason.filter(|_| is_new)?;
        Some(Line::warning(format!("{reason}: {}", status.explanation())))
    }
}

/// The last line of `-o json`.
pub fn end(reset: &OffsetReset, exit: Exit) -> Line {
    let status = reset.status.clone().unwrap_or_default();
    let object = json!({
        "namespace": reset.namespace(), "name": reset.name_any(), "end": status.phase, "reason": status.reason,
        "message": status.explanation(), "totals": status.totals, "exitCode": exit as u8,
    });
    Line::plain(object.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn reset(status: &Value) -> OffsetReset {
        serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"namespace": "shop", "name": "r"},
            "spec": {"kafka": {}, "group": "g"}, "status": status,
        }))
        .unwrap()
    }

    fn condition(kind: &str, status: &str, at: &str) -> Value {
        json!({"type": kind, "status": status, "reason": "R", "message": "so it is", "lastTransitionTime": at})
    }

    #[test]
    fn each_transition_is_one_line_once() {
        let (mut transitions, now) = (Transitions::default(), "2026-11-26T22:00:00Z".parse().unwrap());
        let draining = reset(&json!({
            "phase": "Draining", "reason": "GroupNotEmpty", "message": "1 member is left", "phaseStartTime": "2026-11-26T21:57:06.000000Z",
            "conditions": [
                condition("Ready", "False", "2026-11-26T21:57:00Z"), condition("ConsumersStopped", "True", "2026-11-26T21:57:06Z"),
                condition("Planned", "True", "2026-11-26T21:57:04Z"),
            ],
        }));
        let lines = transitions.next(&draining, None, now);
        assert_eq!(
            lines,
            [
                "2026-11-26T21:57:04Z Planned True so it is",
                "2026-11-26T21:57:06Z ConsumersStopped True so it is",
                "2026-11-26T21:57:06Z Draining GroupNotEmpty 1 member is left",
            ]
        );
        assert_eq!(transitions.next(&draining, None, now), [""; 0]);
        let mut waits = draining.clone();
        waits.status.as_mut().unwrap().reason = Some(offset_reset_operator::api::Reason::KafkaError);
        assert_eq!(transitions.next(&waits, None, now), ["2026-11-26T22:00:00Z Draining KafkaError 1 member is left"]);
    }

    /// As of a canary that is undone: its condition OffsetsReset is False first for one reason and then for another.
    #[test]
    fn times_never_go_back() {
        let state = |phase: &str, at: &str, conditions: Value| {
            reset(&json!({"phase": phase, "reason": "Restoring", "message": "m", "phaseStartTime": at, "conditions": conditions}))
        };
        let because = |reason: &str| {
            json!({
                "type": "OffsetsReset", "status": "False", "reason": reason, "message": "m", "lastTransitionTime": "2026-11-28T08:43:40Z",
            })
        };
        let mut transitions = Transitions::default();
        let mut next = |reset: &OffsetReset, now: &str| transitions.next(reset, None, now.parse().unwrap());
        let undoing = state("Stopping", "2026-11-28T08:43:40.900000Z", json!([because("CanaryUndoing")]));
        assert_eq!(
            next(&undoing, "2026-11-28T08:43:41Z"),
            ["2026-11-28T08:43:40Z OffsetsReset False m", "2026-11-28T08:43:40Z Stopping Restoring m"]
        );
        let undone = [condition("GroupEmpty", "True", "2026-11-28T08:44:57Z"), because("CanaryUndone")];
        let undone = state("Restoring", "2026-11-28T08:44:57.800000Z", json!(undone));
        assert_eq!(
            next(&undone, "2026-11-28T08:44:58Z"),
            [
                "2026-11-28T08:44:57Z GroupEmpty True so it is",
                "2026-11-28T08:44:57Z OffsetsReset False m",
                "2026-11-28T08:44:57Z Restoring Restoring m",
            ]
        );
    }

    #[test]
    fn what_keeps_a_plan_from_being_made_is_said_once() {
        let with = |reason: &str| {
            let mut reset = reset(&json!({"phase": "Planning", "reason": reason, "message": "so it is"}));
            reset.spec.dry_run = true;
            reset
        };
        let mut obstacles = Obstacles::default();
        let mut next = |reason: &str| obstacles.next(&with(reason)).map(|line| line.text());
        assert_eq!(next("Planning"), None);
        assert_eq!(next("BrokerUnreachable").as_deref(), Some("⚠ BrokerUnreachable: so it is"));
        assert_eq!(next("BrokerUnreachable"), None);
        assert_eq!((next("Planning"), next("BrokerUnreachable").is_some()), (None, true));
    }

    #[test]
    fn as_json_each_line_is_an_object() {
        let now = "2026-11-26T22:00:00Z".parse().unwrap();
        let lines = Transitions::default().next(&reset(&json!(null)), Some(Lines::Json), now);
        let object: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(
            (&object["phase"], &object["namespace"], &object["time"]),
            (&json!("New"), &json!("shop"), &json!("2026-11-26T22:00:00Z"))
        );
    }
}
