//! The parts of a reset's picture: milestones, members, workloads, pods.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use offset_reset_operator::api::{
    ConditionType, GroupStatus, HoldStatus, OffsetReset, OffsetResetStatus, Phase, Restored, TargetStatus,
};

use super::{
    line::{BAD, BOLD, DIM, GOOD, Line, WARN},
    words::{clock, count, precise, size, span, until},
};

/// What is looked at, and when and where.
pub struct Look<'a> {
    /// The reset.
    pub reset: &'a OffsetReset,
    /// The pods of its targets, when they are known.
    pub pods: &'a [PodState],
    /// The time.
    pub now: Timestamp,
    /// The reader's time zone.
    pub zone: &'a TimeZone,
}

/// A pod of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodState {
    /// Its workload, as Kind/name.
    pub workload: String,
    /// Its name.
    pub name: String,
    /// Its state, such as Terminating or Running.
    pub state: String,
    /// Its node.
    pub node: Option<String>,
    /// Until when its containers may take to terminate.
    pub grace_until: Option<Timestamp>,
    /// That a container of it was started again, how often, and how it ended.
    pub crash: Option<String>,
}

const COLUMN: usize = 20;

/// A terminal of fewer columns has no room for words beside a milestone.
const NARROW: usize = 60;

/// The milestones in their order, each with the phase that works on it.
const MILESTONES: [(ConditionType, Option<Phase>); 7] = [
    (ConditionType::Planned, Some(Phase::Planning)),
    (ConditionType::ConsumersStopped, Some(Phase::Stopping)),
    (ConditionType::GroupEmpty, Some(Phase::Draining)),
    (ConditionType::OffsetsReset, Some(Phase::Resetting)),
    (ConditionType::ConsumersRestored, Some(Phase::Restoring)),
    (ConditionType::ConsumersResumed, None),
    // Before the replicas are restored, a canary has to prove it.
    (ConditionType::ConsumptionProven, Some(Phase::Canary)),
];

impl Look<'_> {
    pub(super) fn status(&self) -> OffsetResetStatus {
        self.reset.status.clone().unwrap_or_default()
    }

    fn clock(&self, at: Timestamp) -> String {
        clock(at, self.now, self.zone)
    }

    /// Which reset, its phase, and how long it has taken.
    pub(super) fn title(&self) -> Line {
        let line = self.name().and("  ").join(self.phase());
        match times(&self.status(), self.now) {
            Some(times) => line.and(format!("  {times}")),
            None => line,
        }
    }

    /// The same for a terminal that is too narrow for one line: what changes comes first.
    pub(super) fn narrow_title(&self) -> [Line; 2] {
        let phase = match times(&self.status(), self.now) {
            Some(times) => self.phase().and(format!("  {times}")),
            None => self.phase(),
        };
        [phase, self.name()]
    }

    fn name(&self) -> Line {
        let namespace = self.reset.namespace().unwrap_or_default();
        let line = Line::styled(BOLD, format!("{namespace}/{}", self.reset.name_any()));
        line.and(format!("  group {}", self.reset.spec.group))
    }

    fn phase(&self) -> Line {
        let status = self.status();
        let phase = status.phase.map_or("New", Phase::as_str);
        let style = match status.phase {
            Some(Phase::Succeeded | Phase::Planned) => GOOD,
            Some(Phase::Failed) => BAD,
            Some(Phase::Cancelled) => WARN,
            _ => BOLD,
        };
        let dry = if self.reset.spec.dry_run { " (dry run)" } else { "" };
        Line::styled(style, format!("{phase}{dry}"))
    }

    /// A line for each milestone, with what belongs to the current one. Lines of rank 0 stay in any case; the higher the rank, the
    /// sooner a line gives way.
    pub(super) fn milestones(&self, columns: usize) -> Vec<(u8, Line)> {
        let status = self.status();
        let mut lines = vec![];
        for (kind, phase) in MILESTONES {
            if self.reset.spec.dry_run && kind != ConditionType::Planned {
                break;
            }
            let found = status.conditions.iter().find(|condition| condition.type_ == kind.as_str());
            let is_current = phase.is_some() && phase == status.phase;
            let rank = match (is_current, found) {
                (true, _) => 0,
                (false, Some(_)) => 2,
                (false, None) => 3,
            };
            if columns >= NARROW {
                lines.push((rank, self.milestone(&status, kind, found, is_current, true)));
            } else {
                lines.push((rank, self.milestone(&status, kind, found, is_current, false)));
                let said = status.message.iter().filter(|_| is_current);
                lines.extend(said.flat_map(|said| Line::plain(format!("  {said}")).wrap(columns)).map(|line| (1, line)));
            }
            if is_current && columns >= NARROW {
                lines.extend(self.beside(&status, kind));
            }
        }
        lines
    }

    fn milestone(
        &self,
        status: &OffsetResetStatus,
        kind: ConditionType,
        found: Option<&Condition>,
        is_current: bool,
        with_words: bool,
    ) -> Line {
        let is_after = matches!(kind, ConditionType::ConsumersResumed | ConditionType::ConsumptionProven);
        let watched = is_after && status.hold.as_ref().is_some_and(|hold| hold.watched_until.is_some());
        let (style, sign) = match found.map(|condition| condition.status.as_str()) {
            Some("True") => (GOOD, "✔"),
            _ if is_current || (watched && found.is_some()) => (BOLD, "●"),
            Some("False") => (BAD, "✗"),
            Some(_) => (DIM, "?"),
            None => (DIM, "○"),
        };
        let line = Line::styled(style, sign).and(" ").with(if sign == "○" { DIM } else { anstyle::Style::new() }, kind.as_str());
        let line = match found.filter(|condition| condition.status == "True") {
            Some(condition) => line.at_column(COLUMN).and(self.clock(condition.last_transition_time.0)),
            None => line,
        };
        if !with_words {
            return line;
        }
        let said = if is_current { status.message.clone() } else { found.map(|condition| condition.message.clone()) };
        match (said, &status.hold) {
            (Some(said), _) => line.at_column(COLUMN + 10).and(said),
            (None, Some(HoldStatus { end_time: None, deadline, .. }))
                if kind == ConditionType::ConsumersRestored && stops(status) =>
            {
                line.at_column(COLUMN + 10).with(DIM, format!("by {} whatever happens", self.clock(deadline.0)))
            }
            (None, _) => line,
        }
    }

    /// What belongs to the milestone that is worked on.
    fn beside(&self, status: &OffsetResetStatus, kind: ConditionType) -> Vec<(u8, Line)> {
        let (indent, mut lines) = (" ".repeat(COLUMN + 10), vec![]);
        if kind == ConditionType::GroupEmpty
            && let Some(group) = &status.group
        {
            let hold = status.hold.as_ref();
            let mut times = vec![];
            if let Some(end) = hold.and_then(|hold| hold.session_end_time.as_ref()) {
                times.push(format!("sessionTimeout ends {} ({})", self.clock(end.0), until(end.0, self.now)));
            }
            if let Some(end) = hold.and_then(|hold| hold.drain_deadline.as_ref()) {
                times.push(format!("given up {} ({})", self.clock(end.0), until(end.0, self.now)));
            }
            if !times.is_empty() {
                lines.push((1, Line::plain(format!("{indent}{}", times.join("; ")))));
            }
            lines.extend(members(group).into_iter().map(|member| (4, Line::plain(format!("{indent}{member}")))));
        }
        if kind == ConditionType::ConsumptionProven
            && let Some(canary) = &status.canary
            && let Some(deadline) = &canary.deadline
        {
            let advanced = if canary.partitions_with_records > 0 {
                format!("{} of {} partitions; ", canary.partitions_consumed, canary.partitions_with_records)
            } else {
                String::new()
            };
            let time = format!("{advanced}must pass by {} ({})", self.clock(deadline.0), until(deadline.0, self.now));
            lines.push((1, Line::plain(format!("{indent}{time}"))));
        }
        if kind == ConditionType::OffsetsReset
            && let Some(bar) = status.progress.as_deref().and_then(bar)
        {
            lines.push((1, Line::plain(indent).and(bar)));
        }
        lines
    }

    /// A line for each workload, and below it its pods that terminate or start.
    pub(super) fn targets(&self) -> Vec<(u8, Line)> {
        let status = self.status();
        let mut lines = vec![];
        for target in &status.targets {
            let name = format!("{}/{}", target.kind, target.name);
            let line = Line::plain("⧉ ").with(BOLD, &name).and("  ").join(replicas(target));
            let line = match autoscaler(target) {
                Some(words) => line.with(DIM, format!("; {words}")),
                None => line,
            };
            lines.push((1, line));
            for pod in self.pods.iter().filter(|pod| pod.workload == name) {
                let mut words = vec![pod.state.clone()];
                words.extend(pod.node.as_ref().map(|node| format!("node {node}")));
                words.extend(pod.crash.clone());
                words.extend(pod.grace_until.map(|at| format!("grace until {}", self.clock(at))));
                lines.push((5, Line::plain(format!("  └ {}  {}", pod.name, words.join(", ")))));
            }
        }
        lines
    }
}

/// How long the consumers are at zero, or how long the reset took.
fn times(status: &OffsetResetStatus, now: Timestamp) -> Option<String> {
    match (&status.hold, &status.completion_time) {
        (Some(HoldStatus { end_time: None, start_time, deadline, .. }), _) => {
            let (since, most) = (span(now.duration_since(start_time.0)), span(deadline.0.duration_since(start_time.0)));
            Some(match (stops(status), status.phase) {
                (false, _) => format!("for {since}, at most {most}"),
                (true, Some(Phase::Canary)) => format!("{since} held, at most {most}"),
                (true, _) => format!("{since} at zero, at most {most}"),
            })
        }
        (_, Some(end)) => Some(format!("ended {} ago", span(now.duration_since(end.0)))),
        (_, None) => {
            let since = status.phase_start_time.as_ref()?.0;
            Some(format!("for {}", span(now.duration_since(since))))
        }
    }
}

/// Whether a target runs, so that the reset stops it. One that is at zero already stays there.
fn stops(status: &OffsetResetStatus) -> bool {
    status.targets.iter().any(|target| !is_at_zero_before(target))
}

/// Whether the reset has found a target at zero, and so neither stops nor restores it.
pub fn is_at_zero_before(target: &TargetStatus) -> bool {
    target.original_replicas == 0
}

/// What such a target is: a connector has no replicas.
pub fn idle(target: &TargetStatus) -> &'static str {
    if target.is_connector() { "stopped" } else { "at zero" }
}

/// The members of a group, one line each.
fn members(group: &GroupStatus) -> Vec<String> {
    let mut lines: Vec<String> = group
        .member_details
        .iter()
        .map(|member| {
            let name = member.instance_id.as_ref().map_or(member.client_id.clone(), |id| format!("{id} (static)"));
            let host = member.host.trim_start_matches('/');
            let pod = member.pod.as_ref().map(|pod| format!(", pod {pod}")).unwrap_or_default();
            format!("member {name} at {host}{pod}")
        })
        .collect();
    let more = usize::try_from(group.members).unwrap_or(0).saturating_sub(lines.len());
    if more > 0 && !lines.is_empty() {
        lines.push(format!("and {more} more"));
    }
    lines
}

/// The state of a workload's replicas.
fn replicas(target: &TargetStatus) -> Line {
    let (is_connector, replicas) = (target.is_connector(), target.original_replicas);
    let many = size(replicas, target.original_state.as_deref());
    let ready = target.ready_pods.filter(|_| !is_connector);
    match target.restored {
        Some(Restored::Original) => {
            let line = Line::styled(GOOD, format!("restored to {many}"));
            match ready {
                Some(ready) => line.and(format!(", {ready} of {many} pods ready")),
                None => line,
            }
        }
        Some(Restored::NotStopped) if is_at_zero_before(target) => Line::plain(format!("was {} already", idle(target))),
        Some(Restored::NotStopped) => Line::plain(format!("{}, never stopped", target.original_size())),
        Some(Restored::LeftAsScaledByOthers) => {
            Line::styled(WARN, format!("left as another client has scaled it; before it had {many}"))
        }
        Some(Restored::Gone) => Line::styled(WARN, "does not exist any more"),
        Some(Restored::Replaced) => Line::styled(WARN, "another workload of that name was left alone"),
        Some(Restored::Unknown) => Line::plain("restored by another version of the operator"),
        None => {
            let line = match (target.stop_requested, target.stopped) {
                _ if is_at_zero_before(target) => Line::plain(format!("is {} already and stays so", idle(target))),
                _ if target.canary_replicas.is_some() => {
                    let canary = target.canary_replicas.unwrap_or_default();
                    Line::styled(BOLD, format!("a canary of {canary}")).and(format!(", {many} to restore"))
                }
                (_, true) => Line::styled(BOLD, "at zero").and(format!(", {many} to restore")),
                (true, false) => Line::styled(BOLD, "stopping").and(format!(", {many} to restore")),
                (false, false) => Line::plain(target.original_size()),
            };
            match &target.last_refusal {
                Some(refusal) => line.with(BAD, format!("; restore refused {} times: {}", target.refusals, refusal.message)),
                None => line,
            }
        }
    }
}

fn autoscaler(target: &TargetStatus) -> Option<String> {
    let found = target.autoscaler.as_ref()?;
    let name = format!("{}/{}", found.kind, found.name);
    Some(match (found.left, found.resumed, found.pauses > 0) {
        (true, ..) => format!("{name} is still paused"),
        (_, true, _) => format!("{name} resumed"),
        (_, _, true) => format!("{name} paused"),
        _ if found.paused_by_owner => format!("{name} was paused before"),
        _ => name,
    })
}

/// A bar for "2/3".
fn bar(progress: &str) -> Option<String> {
    const CELLS: usize = 24;
    let (done, all) = progress.split_once('/')?;
    let (done, all): (usize, usize) = (done.parse().ok()?, all.parse().ok()?);
    let filled = (done * CELLS).checked_div(all)?.min(CELLS);
    let number = |number: usize| count(i64::try_from(number).unwrap_or(i64::MAX));
    Some(format!("[{}{}] {} of {} partitions", "█".repeat(filled), "░".repeat(CELLS - filled), number(done), number(all)))
}

/// How long a reset took from the first step to the end, and of that at zero.
pub(super) fn took(status: &OffsetResetStatus) -> Option<String> {
    let (start, end) = (status.planning_start_time.as_ref()?.0, status.completion_time.as_ref()?.0);
    // The end is in whole seconds.
    let whole = end.duration_since(start).max(SignedDuration::ZERO);
    let was_stopped = |target: &TargetStatus| !is_at_zero_before(target) && target.restored != Some(Restored::NotStopped);
    let hold = status.hold.as_ref().filter(|_| status.targets.iter().any(was_stopped));
    match hold.and_then(|hold| hold.end_time.as_ref().map(|end| end.0.duration_since(hold.start_time.0))) {
        Some(at_zero) => Some(format!("in {} ({} at zero)", precise(whole.max(at_zero)), precise(at_zero))),
        None => Some(format!("in {}", precise(whole))),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0/3", Some("[░░░░░░░░░░░░░░░░░░░░░░░░] 0 of 3 partitions"))]
    #[case("1500/3000", Some("[████████████░░░░░░░░░░░░] 1,500 of 3,000 partitions"))]
    #[case("3/3", Some("[████████████████████████] 3 of 3 partitions"))]
    #[case("0/0", None)]
    #[case("all", None)]
    fn progress_is_a_bar(#[case] progress: &str, #[case] expected: Option<&str>) {
        assert_eq!(bar(progress).as_deref(), expected);
    }
}
