//! What is printed while a batch runs: a line a phase of a reset, or JSON.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, tz::TimeZone};
use kube::ResourceExt;
use offset_reset_operator::api::{OffsetReset, Phase, Reason};

use super::follow::Seen;
use crate::{
    cli::Lines,
    command::watch::{Obstacles, Transitions, json_end},
    exit::{Exit, of_reset},
    print::{errln, outln},
    view::{DIM, Line, ended, words::clock},
};

/// What was printed already.
#[derive(Default)]
pub struct Told {
    phases: BTreeMap<String, (Option<Phase>, Option<Reason>)>,
    transitions: BTreeMap<String, Transitions>,
}

impl Told {
    /// Prints what has changed in the resets that run, or did when they were last seen.
    pub fn next(&mut self, seen: &Seen, lines: Option<Lines>, now: Timestamp) {
        for (name, reset) in seen.iter().filter(|(_, reset)| !reset.spec.dry_run) {
            if lines.is_some() {
                let transitions = self.transitions.entry(name.clone()).or_default();
                transitions.next(reset, lines, now).into_iter().for_each(|line| outln(&Line::plain(line)));
                continue;
            }
            let status = reset.status.as_ref();
            let phase = status.and_then(|status| status.phase);
            let state = (phase, status.and_then(|status| status.reason));
            // One that was told to run is Planned until the operator has seen that.
            let is_told = phase != Some(Phase::Planned);
            if self.phases.insert(name.clone(), state) != Some(state) && is_told && of_reset(reset).is_none() {
                outln(&line(reset, now, &TimeZone::system()));
            }
        }
    }
}

/// What keeps plans from being made. An obstacle of many of them, such as a broker that does not answer, is told once.
#[derive(Default)]
pub struct Hindrances {
    obstacles: BTreeMap<String, Obstacles>,
    told: BTreeSet<String>,
}

impl Hindrances {
    /// Prints those that are new.
    pub fn next(&mut self, seen: &Seen) {
        for line in self.lines(seen) {
            errln(&line);
        }
    }

    fn lines(&mut self, seen: &Seen) -> Vec<Line> {
        let mut lines = vec![];
        for (name, reset) in seen.iter().filter(|(_, reset)| reset.spec.dry_run) {
            let news = self.obstacles.entry(name.clone()).or_default().next(reset);
            lines.extend(news.filter(|line| self.told.insert(line.text())).map(|line| line.and(format!("  [{name}]"))));
        }
        lines
    }
}

fn line(reset: &OffsetReset, now: Timestamp, zone: &TimeZone) -> Line {
    let status = reset.status.clone().unwrap_or_default();
    let phase = status.phase.map_or("New", Phase::as_str);
    let message = status.message.unwrap_or_default();
    Line::styled(DIM, format!("{}  {}  {phase}  {message}", clock(now, now, zone), reset.name_any()))
}

/// Prints how a reset has ended.
pub fn end(reset: &OffsetReset, exit: Exit, lines: Option<Lines>) {
    if lines.is_some() {
        outln(&json_end(reset, exit));
        return;
    }
    of_end(reset).iter().for_each(outln);
}

/// PURE: how a reset has ended, without what to do: the batch's end says that.
fn of_end(reset: &OffsetReset) -> Vec<Line> {
    let is_command = |text: &str| text.contains(" kubectl offset-reset ") || text.starts_with("or: ");
    let mut lines: Vec<Line> = ended(reset).into_iter().filter(|line| !is_command(&line.text())).collect();
    if let Some(first) = lines.first_mut() {
        *first = std::mem::take(first).and(format!("  [{}]", reset.name_any()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reset(name: &str, dry_run: bool, status: &serde_json::Value) -> (String, OffsetReset) {
        let object = json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": name},
            "spec": {"kafka": {}, "group": "g", "dryRun": dry_run}, "status": status,
        });
        (name.to_owned(), serde_json::from_value(object).unwrap())
    }

    #[test]
    fn an_obstacle_of_many_plans_is_told_once() {
        let waits = |name: &str, why: &str| {
            reset(name, true, &json!({"phase": "Planning", "reason": "BrokerUnreachable", "message": why}))
        };
        let mut told = Hindrances::default();
        let seen = Seen::from([waits("a", "no broker"), waits("b", "no broker"), waits("c", "another")]);
        let text: Vec<String> = told.lines(&seen).iter().map(Line::text).collect();
        assert_eq!(text, ["⚠ BrokerUnreachable: no broker  [a]", "⚠ BrokerUnreachable: another  [c]"]);
        assert!(told.lines(&seen).is_empty());
    }

    #[test]
    fn an_end_has_the_name_and_no_commands() {
        let totals = json!({"partitions": 3, "reset": 1, "failed": 2, "clamped": 0, "replayed": 0, "skipped": 0});
        let status = json!({"phase": "Failed", "reason": "GroupNotEmpty", "message": "It is not.", "totals": totals});
        let failed = reset("r", false, &status).1;
        let text: Vec<String> = of_end(&failed).iter().map(Line::text).collect();
        assert_eq!(
            text,
            ["✗ Failed: GroupNotEmpty  [r]", "  It is not.", "  ⚠ offsets were or may have been changed: 1 of 3 partitions"]
        );
        let receipt = json!({"configMap": "r-receipt-814f", "settled": true});
        let status = json!({"phase": "Succeeded", "reason": "AlreadyApplied", "message": "It has run.", "receipt": receipt});
        let applied = reset("r", false, &status).1;
        let text: Vec<String> = of_end(&applied).iter().map(Line::text).collect();
        assert_eq!(text, ["⚠ Nothing was done: It has run.  [r]"]);
    }
}
