//! How a reset ended, in a few lines.

use kube::ResourceExt;
use offset_reset_operator::api::{CatchUpResult, CatchUpStatus, ConditionType, OffsetReset, Phase, Reason};

use super::{
    line::{BAD, BOLD, DIM, GOOD, Line, WARN},
    progress::took,
    words::{count, many},
};
use crate::exit::{can_be_undone, is_undone, may_have_changed};

/// How it ended, what that means and what to do.
pub fn ended(reset: &OffsetReset) -> Vec<Line> {
    let status = reset.status.clone().unwrap_or_default();
    let name = reset.name_any();
    let in_time = took(&status).map(|took| format!(" {took}")).unwrap_or_default();
    let totals = status.totals.unwrap_or_default();
    let mut lines = vec![];
    match status.phase {
        // The phase is that of the earlier run.
        Some(_) if status.reason == Some(Reason::AlreadyApplied) => {
            lines.push(Line::styled(WARN, "⚠ Nothing was done").and(format!(": {}", status.explanation())));
            lines.extend(again(reset));
            lines.push(hint("Explain:", &format!("explain {name}")));
        }
        Some(Phase::Succeeded) => {
            let said = status.condition_message(ConditionType::Complete).or(status.message.as_deref()).unwrap_or_default();
            lines.push(Line::styled(GOOD, "✔ Succeeded").and(format!("{in_time}: {said}")));
            // The reset has ended; whether its consumers have resumed is another question.
            let resumed = status.conditions.iter().find(|condition| condition.type_ == ConditionType::ConsumersResumed.as_str());
            if let Some(resumed) = resumed.filter(|condition| condition.status == "Unknown") {
                lines.push(Line::styled(BOLD, "● Consumers").and(format!(": {}", resumed.message)));
                lines.push(hint("Look:", &format!("status {name}")));
            }
            lines.extend(status.consumption.as_ref().and_then(|consumption| catch_up(consumption.catch_up.as_ref()?)));
            if can_be_undone(&status) {
                lines.push(hint("Undo:", &format!("undo {name}")));
            }
        }
        Some(Phase::Planned) => {
            lines.push(Line::styled(GOOD, "✔ Planned").and(": nothing was stopped and no offset was changed"));
            lines.push(hint("Run:", &format!("run {name}")));
        }
        Some(Phase::Cancelled) => {
            lines.push(Line::styled(WARN, "✗ Cancelled").and(format!("{in_time}: {}", status.explanation())));
        }
        _ => {
            let reason = status.reason.map(|reason| format!(" {reason}")).unwrap_or_default();
            let what = if status.dry_run { "✗ Refused" } else { "✗ Failed" };
            lines.push(Line::styled(BAD, what).and(format!("{in_time}:{reason}")));
            lines.push(Line::plain(format!("  {}", status.explanation())));
            if is_undone(&status) {
                let back = format!("{} of {} partitions", count(totals.reset), count(totals.partitions));
                lines.push(Line::plain(format!("  {back} are back at the offsets from before")));
            } else if may_have_changed(&status) {
                let changed = format!("{} of {} partitions", count(totals.reset + totals.unconfirmed), count(totals.partitions));
                lines.push(Line::styled(WARN, format!("  ⚠ offsets were or may have been changed: {changed}")));
                lines.push(hint("Undo:", &format!("undo {name}")));
            }
            lines.push(hint("Explain:", &format!("explain {name}")));
        }
    }
    lines
}

/// The ways to run a reset again whose receipt says that it has run before.
pub(super) fn again(reset: &OffsetReset) -> Vec<Line> {
    let (name, namespace) = (reset.name_any(), reset.namespace().unwrap_or_default());
    let mut lines = vec![hint("Again:", &format!("create --like {name} ..."))];
    let receipt = reset.status.as_ref().and_then(|status| status.receipt.as_ref());
    lines.extend(receipt.map(|receipt| {
        let objects = format!("offsetreset/{name} configmap/{}", receipt.config_map);
        Line::styled(DIM, "or:      ").and(format!("kubectl -n {namespace} delete {objects}, and create it again"))
    }));
    lines
}

/// How fast the group catches up.
fn catch_up(found: &CatchUpStatus) -> Option<Line> {
    if found.result == Some(CatchUpResult::CaughtUp) {
        return Some(Line::styled(GOOD, "✔ Caught up").and(format!(": {} consumed since", many(found.consumed, "record"))));
    }
    let (consumed, produced) = (found.consumed_per_minute?, found.produced_per_minute?);
    let left = found.left_at_least.as_ref().map_or("never at these rates".to_owned(), |left| format!("at least {left} more"));
    let words = format!("{} to consume, {}/min consumed, {}/min produced", count(found.lag), count(consumed), count(produced));
    Some(Line::styled(BOLD, "● Catching up").and(format!(": {left}; {words}")))
}

/// A command to go on with.
pub fn hint(what: &str, command: &str) -> Line {
    Line::styled(DIM, format!("{what:<9}")).and(format!("kubectl offset-reset {command}"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::start("Unknown", true)]
    #[case::are_back("True", false)]
    fn that_the_consumers_are_not_back_yet_is_said(#[case] resumed: &str, #[case] expected: bool) {
        let reset = serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "r"}, "spec": {"kafka": {}, "group": "g"},
            "status": {"phase": "Succeeded", "message": "done", "conditions": [{
                "type": "ConsumersResumed", "status": resumed, "reason": "R", "message": "they should be back by 22:07",
                "lastTransitionTime": "2026-11-26T21:57:06Z",
            }]},
        }))
        .unwrap();
        let text: Vec<String> = ended(&reset).iter().map(Line::text).collect();
        assert_eq!(text.contains(&"● Consumers: they should be back by 22:07".to_owned()), expected, "{text:?}");
    }

    #[test]
    fn a_reset_that_has_run_before_says_that_nothing_was_done_and_how_to_run_it() {
        let reset = serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"namespace": "shop", "name": "r"},
            "spec": {"kafka": {}, "group": "g"},
            "status": {
                "phase": "Succeeded", "reason": "AlreadyApplied", "message": "It has already run",
                "receipt": {"configMap": "r-receipt-814f", "settled": true},
            },
        }))
        .unwrap();
        let text: Vec<String> = ended(&reset).iter().map(Line::text).collect();
        assert_eq!(
            text,
            [
                "⚠ Nothing was done: It has already run",
                "Again:   kubectl offset-reset create --like r ...",
                "or:      kubectl -n shop delete offsetreset/r configmap/r-receipt-814f, and create it again",
                "Explain: kubectl offset-reset explain r",
            ]
        );
    }

    #[test]
    fn after_an_undone_canary_there_is_nothing_to_undo() {
        let reset = serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "r"},
            "spec": {"kafka": {}, "group": "g"},
            "status": {
                "phase": "Failed", "reason": "CanaryUndone", "message": "The canary failed",
                "totals": {"partitions": 2, "reset": 2, "failed": 0, "clamped": 0, "replayed": 0, "skipped": 0},
                "canary": {"state": "Undone", "message": "It crashed", "replicas": 1, "startTime": "2026-11-26T21:57:06.000000Z"},
            },
        }))
        .unwrap();
        let text: Vec<String> = ended(&reset).iter().map(Line::text).collect();
        assert_eq!(
            text,
            [
                "✗ Failed: CanaryUndone",
                "  The canary failed",
                "  2 of 2 partitions are back at the offsets from before",
                "Explain: kubectl offset-reset explain r",
            ]
        );
    }

    #[rstest]
    #[case::never_stopped(0, "NotStopped", "✔ Succeeded in 4.0 s: done")]
    #[case::stopped(3, "Original", "✔ Succeeded in 4.0 s (3.0 s at zero): done")]
    fn only_what_was_stopped_has_a_downtime(#[case] replicas: i32, #[case] restored: &str, #[case] expected: &str) {
        let reset = serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "r"}, "spec": {"kafka": {}, "group": "g"},
            "status": {
                "phase": "Succeeded", "message": "done", "planningStartTime": "2026-11-26T21:57:06.000000Z",
                "completionTime": "2026-11-26T21:57:10Z",
                "hold": {
                    "startTime": "2026-11-26T21:57:07.000000Z", "deadline": "2026-11-26T22:07:07.000000Z",
                    "endTime": "2026-11-26T21:57:10.000000Z",
                },
                "targets": [{
                    "apiVersion": "apps/v1", "kind": "Deployment", "name": "c", "uid": "u", "originalReplicas": replicas,
                    "restored": restored,
                }],
            },
        }))
        .unwrap();
        assert_eq!(ended(&reset)[0].text(), expected);
    }

    #[rstest]
    #[case::caught_up(&json!({"lag": 0, "result": "CaughtUp"}), Some("✔ Caught up: 5,000 records consumed since"))]
    #[case::too_early(&json!({"lag": 900}), None)]
    #[case::on_the_way(
        &json!({"lag": 900, "consumedPerMinute": 1_200, "producedPerMinute": 60, "leftAtLeast": "47s"}),
        Some("● Catching up: at least 47s more; 900 to consume, 1,200/min consumed, 60/min produced")
    )]
    #[case::never(
        &json!({"lag": 900, "consumedPerMinute": 60, "producedPerMinute": 60, "result": "TimeOver"}),
        Some("● Catching up: never at these rates; 900 to consume, 60/min consumed, 60/min produced")
    )]
    fn how_fast_the_group_catches_up_is_said(#[case] rest: &serde_json::Value, #[case] expected: Option<&str>) {
        let time = "2026-11-26T21:57:06.000000Z";
        let mut found = json!({"startTime": time, "consumedAtStart": 0, "lagAtStart": 5_000, "time": time, "consumed": 5_000});
        found.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let found = serde_json::from_value(found).unwrap();
        assert_eq!(catch_up(&found).map(|line| line.text()).as_deref(), expected);
    }
}
