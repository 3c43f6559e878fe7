//! How a reset ended, in a few lines.

use kube::ResourceExt;
use offset_reset_operator::api::{ConditionType, OffsetReset, Phase};

use super::{
    line::{BAD, DIM, GOOD, Line, WARN},
    progress::took,
    words::count,
};
use crate::exit::may_have_changed;

/// How it ended, what that means and what to do.
pub fn ended(reset: &OffsetReset) -> Vec<Line> {
    let status = reset.status.clone().unwrap_or_default();
    let name = reset.name_any();
    let in_time = took(&status).map(|took| format!(" {took}")).unwrap_or_default();
    let totals = status.totals.unwrap_or_default();
    let mut lines = vec![];
    match status.phase {
        Some(Phase::Succeeded) => {
            let said = status.condition_message(ConditionType::Complete).or(status.message.as_deref()).unwrap_or_default();
            lines.push(Line::styled(GOOD, "✔ Succeeded").and(format!("{in_time}: {said}")));
            if totals.reset > 0 {
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
            if may_have_changed(&status) {
                let changed = format!("{} of {} partitions", count(totals.reset + totals.unconfirmed), count(totals.partitions));
                lines.push(Line::styled(WARN, format!("  ⚠ offsets were or may have been changed: {changed}")));
                lines.push(hint("Undo:", &format!("undo {name}")));
            }
            lines.push(hint("Explain:", &format!("explain {name}")));
        }
    }
    lines
}

/// A command to go on with.
pub fn hint(what: &str, command: &str) -> Line {
    Line::styled(DIM, format!("{what:<9}")).and(format!("kubectl offset-reset {command}"))
}
