//! What a reset's state or a reason means, and what to do.

use kube::ResourceExt;
use offset_reset_operator::{
    api::{CanaryState, ConditionType, OffsetResetStatus, Phase, Reason},
    machine,
};

use super::{
    end::{again, hint},
    line::{BOLD, DIM, Line},
    progress::Look,
    trouble::trouble,
    words::{full, many},
};
use crate::exit::{can_be_undone, may_have_changed};

/// What a reason means: the section of docs/reasons.md.
pub fn reason(reason: Reason) -> Vec<Line> {
    let mut lines = vec![Line::styled(BOLD, reason.as_str())];
    lines.extend(reason.paragraphs().into_iter().map(Line::plain));
    lines
}

/// How a reset stands, why, what that means, and what to do.
pub fn explained(look: &Look<'_>, unread: &[String]) -> Vec<Line> {
    let (reset, status) = (look.reset, look.status());
    let ended = machine::has_ended(&status, reset.spec.dry_run);
    let at = status.completion_time.as_ref().filter(|_| ended).map(|at| at.0).or(status.phase_start_time.as_ref().map(|at| at.0));
    let mut title = look.title();
    // The reason of a reset that has succeeded has the name of its phase.
    let phase = status.phase.map_or("", Phase::as_str);
    if let Some(reason) = status.reason.filter(|reason| reason.as_str() != phase) {
        title = title.and("  ").with(BOLD, reason.as_str());
    }
    if let Some(at) = at {
        title = title.with(DIM, format!("  {}", full(at, look.zone)));
    }
    let mut lines = vec![title];
    let mut say = |title: &str, text: String| {
        if !text.is_empty() {
            lines.push(Line::default());
            lines.push(Line::styled(BOLD, title));
            lines.extend(text.lines().map(|line| Line::plain(format!("  {line}"))));
        }
    };
    let outcome = status.outcome.as_ref();
    let happened = match outcome {
        Some(outcome) => outcome.happened(),
        None if status.phase.is_none() => {
            "The operator has not seen it yet. Is it running? kubectl offset-reset check".to_owned()
        }
        None => status.explanation(),
    };
    say(if ended { "What happened" } else { "What happens" }, happened);
    say("Now", now(look).join("\n"));
    let wrong: Vec<String> = trouble(look, unread).iter().map(Line::text).collect();
    say("Not well", wrong.join("\n"));
    let advice = outcome.and_then(|outcome| outcome.advice.clone());
    say("To do", advice.unwrap_or_default());
    // The message of a reset that has succeeded is about the reset only, and not about its consumers.
    let is_well = wrong.is_empty() || status.phase != Some(Phase::Succeeded);
    if let Some(reason) = status.reason.filter(|_| is_well) {
        say(&format!("About {reason}"), reason.paragraphs().join("\n"));
    }
    let name = reset.name_any();
    let mut commands = vec![];
    match status.phase {
        Some(Phase::Planned) => commands.push(hint("Run:", &format!("run {name}"))),
        Some(Phase::Succeeded | Phase::Failed) if can_be_undone(&status) => commands.push(hint("Undo:", &format!("undo {name}"))),
        _ if !ended && reset.spec.suspend => commands.push(hint("Resume:", &format!("resume {name}"))),
        _ => {}
    }
    if !ended {
        commands.push(hint("Watch:", &format!("watch {name}")));
        commands.push(hint("Cancel:", &format!("cancel {name}")));
    } else if status.reason == Some(Reason::AlreadyApplied) {
        commands.extend(again(reset));
    } else if status.phase == Some(Phase::Failed) {
        commands.push(hint("Again:", &format!("create --like {name} ...")));
    }
    lines.push(Line::default());
    lines.extend(commands);
    lines
}

/// What is so now: offsets, workloads, group.
fn now(look: &Look<'_>) -> Vec<String> {
    let status = look.status();
    let mut lines = vec![offsets(&status)];
    lines.extend(look.targets().into_iter().map(|(_, line)| line.text()));
    if let Some(group) = &status.group {
        let members = many(group.members.into(), "member");
        lines.push(format!("group {} was {} with {members} when the operator last looked", look.reset.spec.group, group.state));
    }
    let resumed = status.condition_message(ConditionType::ConsumersResumed);
    lines.extend(resumed.map(ToOwned::to_owned));
    if status.hold.as_ref().is_none_or(|hold| hold.end_time.is_some()) {
        lines.push("nothing is held at zero by this reset".to_owned());
    }
    lines
}

/// What the reset has done to the offsets.
fn offsets(status: &OffsetResetStatus) -> String {
    if !may_have_changed(status) {
        return "no offset was changed".to_owned();
    }
    let totals = status.totals.unwrap_or_default();
    let (reset, all) = (totals.reset, totals.partitions);
    match status.canary.as_ref().map(|canary| canary.state) {
        Some(CanaryState::Undoing) => {
            "the offsets from before are being committed over those of the reset, because the canary has failed".to_owned()
        }
        Some(CanaryState::Undone) => format!("{reset} of {all} partitions are back at the offsets from before"),
        _ if status.partitions.iter().any(|partition| partition.undone.is_some()) => {
            format!("{reset} of {all} partitions are back at the offsets from before; others may have those of the reset")
        }
        _ if totals.unconfirmed > 0 => {
            format!("{reset} of {all} partitions were reset, and {} more may have been", totals.unconfirmed)
        }
        _ => format!("{reset} of {all} partitions were reset"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn text(status: &Value) -> String {
        let reset = serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"namespace": "shop", "name": "r"},
            "spec": {"kafka": {}, "group": "orders"}, "status": status,
        }))
        .unwrap();
        let look = Look { reset: &reset, pods: &[], now: "2026-11-26T22:00:00Z".parse().unwrap(), zone: &TimeZone::UTC };
        explained(&look, &[]).iter().map(|line| line.text() + "\n").collect()
    }

    fn canary(state: &str, reset: i64) -> Value {
        json!({
            "phase": "Failed", "reason": "CanaryUndone", "message": "m", "completionTime": "2026-11-26T21:58:00Z",
            "totals": {"partitions": 2, "reset": reset, "failed": 0, "clamped": 0, "replayed": 0, "skipped": 0},
            "canary": {"state": state, "message": "It crashed", "replicas": 1, "startTime": "2026-11-26T21:57:06.000000Z"},
        })
    }

    #[rstest]
    #[case::undone("Undone", 2, "2 of 2 partitions are back at the offsets from before\n", false)]
    #[case::kept("Failed", 2, "2 of 2 partitions were reset\n", true)]
    #[case::on_the_way("Undoing", 0, "the offsets from before are being committed over those of the reset", true)]
    fn after_a_canary_it_says_whose_offsets_the_group_has(
        #[case] state: &str,
        #[case] reset: i64,
        #[case] expected: &str,
        #[case] can_be_undone: bool,
    ) {
        let said = text(&canary(state, reset));
        assert!(said.contains(expected), "{said}");
        assert_eq!(said.contains("offset-reset undo r"), can_be_undone, "{said}");
    }

    #[test]
    fn a_reset_that_has_run_before_says_how_to_run_it_again() {
        let said = text(&json!({
            "phase": "Succeeded", "reason": "AlreadyApplied", "message": "It has already run", "completionTime": "2026-11-26T21:58:00Z",
            "totals": {"partitions": 3, "reset": 0, "failed": 0, "clamped": 0, "replayed": 300, "skipped": 0},
            "receipt": {"configMap": "r-receipt-814f", "settled": true},
        }));
        assert!(said.contains("no offset was changed"), "{said}");
        assert!(said.contains("kubectl -n shop delete offsetreset/r configmap/r-receipt-814f, and create it again"), "{said}");
        assert!(!said.contains("offset-reset undo"), "{said}");
    }
}
