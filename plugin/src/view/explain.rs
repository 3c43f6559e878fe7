//! What a reset's state or a reason means, and what to do.

use kube::ResourceExt;
use offset_reset_operator::{
    api::{ConditionType, Phase, Reason},
    machine,
};

use super::{
    end::hint,
    line::{BOLD, DIM, Line},
    progress::Look,
    trouble::trouble,
    words::{full, many},
};
use crate::exit::may_have_changed;

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
        Some(Phase::Succeeded) => commands.push(hint("Undo:", &format!("undo {name}"))),
        Some(Phase::Failed) if may_have_changed(&status) => commands.push(hint("Undo:", &format!("undo {name}"))),
        _ if !ended && reset.spec.suspend => commands.push(hint("Resume:", &format!("resume {name}"))),
        _ => {}
    }
    if !ended {
        commands.push(hint("Watch:", &format!("watch {name}")));
        commands.push(hint("Cancel:", &format!("cancel {name}")));
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
    let mut lines = vec![];
    let totals = status.totals.unwrap_or_default();
    lines.push(match (may_have_changed(&status), totals.unconfirmed) {
        (false, _) => "no offset was changed".to_owned(),
        (true, 0) => format!("{} of {} partitions were reset", totals.reset, totals.partitions),
        (true, unconfirmed) => {
            format!("{} of {} partitions were reset, and {unconfirmed} more may have been", totals.reset, totals.partitions)
        }
    });
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
