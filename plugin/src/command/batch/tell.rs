//! What is printed while a batch runs: a line a phase of a reset, or JSON.

use std::collections::BTreeMap;

use jiff::{Timestamp, tz::TimeZone};
use kube::ResourceExt;
use offset_reset_operator::api::{OffsetReset, Phase};

use super::follow::Seen;
use crate::{
    cli::Lines,
    command::watch::{Transitions, json_end},
    exit::{Exit, of_reset},
    print::outln,
    view::{DIM, Line, ended, words::clock},
};

/// What was printed already.
#[derive(Default)]
pub struct Told {
    phases: BTreeMap<String, Option<Phase>>,
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
            let phase = reset.status.as_ref().and_then(|status| status.phase);
            // One that was told to run is Planned until the operator has seen that.
            let is_told = phase != Some(Phase::Planned);
            if self.phases.insert(name.clone(), phase) != Some(phase) && is_told && of_reset(reset).is_none() {
                outln(&line(reset, now, &TimeZone::system()));
            }
        }
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
    let lines = ended(reset).into_iter();
    let mut lines = lines.filter(|line| !line.text().contains(" kubectl offset-reset ")).collect::<Vec<_>>();
    if let Some(first) = lines.first_mut() {
        *first = std::mem::take(first).and(format!("  [{}]", reset.name_any()));
    }
    lines
}
