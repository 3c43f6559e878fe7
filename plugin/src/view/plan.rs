//! The plan as a table.

use jiff::tz::TimeZone;
use offset_reset_operator::api::{Clamp, ConditionType, OffsetReset, PartitionOutcome, PartitionStatus, Phase};

use super::{
    line::{BAD, BOLD, DIM, GOOD, Line, WARN},
    table::Table,
    words::{count, many, or_dash, record_time},
};
use crate::cli::Which;

/// How many partitions are listed one by one.
const LISTED: usize = 30;

/// The plan of a reset: whom it would stop, each partition, sums, warnings.
pub fn plan(reset: &OffsetReset, partitions: &[PartitionStatus], which: Option<Which>, zone: &TimeZone) -> Vec<Line> {
    let status = reset.status.clone().unwrap_or_default();
    let mut lines = vec![];
    if let Some(group) = &status.group {
        let cluster = group.cluster_id.as_ref().map(|id| format!("cluster {id}, ")).unwrap_or_default();
        let members = many(group.members.into(), "member");
        lines.push(Line::styled(GOOD, "✔ ").and(format!("{cluster}group {} is {}: {members}", reset.spec.group, group.state)));
    }
    let would = if status.phase == Some(Phase::Planned) || status.dry_run { "WOULD STOP" } else { "STOPS" };
    if reset.spec.target_refs.is_empty() {
        lines.push(Line::styled(BOLD, format!("{would}  nothing: no --target")));
    }
    for target in &status.targets {
        let replicas = target.original_replicas;
        let line = Line::styled(BOLD, format!("{would}  ")).and(format!("{}/{}", target.kind, target.name));
        let line = if replicas > 0 { line.and(format!("  {replicas} → 0 → {replicas}")) } else { line };
        lines.push(match &target.autoscaler {
            Some(scaler) => line.and(format!("    and pause {}/{}", scaler.kind, scaler.name)),
            None => line,
        });
    }
    let shown = chosen(partitions, which);
    if !shown.is_empty() {
        lines.push(Line::default());
        if which.is_none() && shown.len() > LISTED {
            lines.extend(by_topic(&shown));
        } else {
            lines.extend(by_partition(&shown, zone));
        }
    }
    lines.extend(sums(reset));
    for warning in &status.warnings {
        lines.push(Line::styled(WARN, "⚠ ").and(warning));
    }
    if let Some(problem) = refused(reset) {
        lines.push(problem);
    }
    lines
}

/// How an undo would change the offsets, as [`plan`]; what has moved since is in its warnings.
pub fn undo(reset: &OffsetReset, partitions: &[PartitionStatus], which: Option<Which>, zone: &TimeZone) -> Vec<Line> {
    let of = reset.spec.undo.as_ref().map(|undo| undo.name.clone()).unwrap_or_default();
    let mut lines = vec![Line::plain(format!("Undo of {of}: COMMITTED is now, TARGET is what {of} found"))];
    lines.extend(plan(reset, partitions, which, zone));
    lines
}

fn refused(reset: &OffsetReset) -> Option<Line> {
    let status = reset.status.as_ref().filter(|status| status.phase == Some(Phase::Failed))?;
    let reason = status.reason.map(|reason| format!("{reason}: ")).unwrap_or_default();
    Some(Line::styled(BAD, "✗ ").and(format!("{reason}{}", status.explanation())))
}

/// The partitions to list.
fn chosen(partitions: &[PartitionStatus], which: Option<Which>) -> Vec<&PartitionStatus> {
    let is_shown = |partition: &&PartitionStatus| match which {
        None | Some(Which::All) => true,
        Some(Which::Changed) => partition.before != Some(partition.target_offset),
        Some(Which::Clamped) => partition.clamped.is_some(),
        Some(Which::Failed) => partition.outcome == PartitionOutcome::Failed,
    };
    let mut shown: Vec<&PartitionStatus> = partitions.iter().filter(is_shown).collect();
    shown.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    shown
}

fn by_partition(partitions: &[&PartitionStatus], zone: &TimeZone) -> Vec<Line> {
    let mut table = Table::new(&["TOPIC", ">PART", ">COMMITTED", ">TARGET", "RECORD OF", ">REPLAY", ">SKIP", "NOTE"]);
    for partition in partitions {
        let of = partition.matched_timestamp.as_ref().map(|at| record_time(at.0, zone));
        table.row([
            partition.topic.clone(),
            partition.partition.to_string(),
            partition.before.map_or("none".to_owned(), count),
            count(partition.target_offset),
            of.unwrap_or_else(|| "-".to_owned()),
            or_dash(partition.replayed),
            or_dash(partition.skipped),
            note(partition),
        ]);
    }
    table.lines()
}

fn by_topic(partitions: &[&PartitionStatus]) -> Vec<Line> {
    let mut table = Table::new(&["TOPIC", ">PARTS", ">LOWEST TARGET", ">HIGHEST TARGET", ">REPLAY", ">SKIP", "NOTE"]);
    for topic in partitions.chunk_by(|a, b| a.topic == b.topic) {
        let targets = || topic.iter().map(|partition| partition.target_offset);
        let clamped = topic.iter().filter(|partition| partition.clamped.is_some()).count();
        let failed = topic.iter().filter(|partition| partition.outcome == PartitionOutcome::Failed).count();
        let notes = [(clamped, "moved into range"), (failed, "failed")];
        let notes: Vec<String> =
            notes.iter().filter(|(many, _)| *many > 0).map(|(many, what)| format!("{many} {what}")).collect();
        table.row([
            topic[0].topic.clone(),
            topic.len().to_string(),
            count(targets().min().unwrap_or_default()),
            count(targets().max().unwrap_or_default()),
            or_dash(topic.iter().map(|partition| partition.replayed).sum()),
            or_dash(topic.iter().map(|partition| partition.skipped).sum()),
            notes.join(", "),
        ]);
    }
    let mut lines = table.lines();
    lines.push(Line::styled(DIM, "every partition: --partitions all"));
    lines
}

/// What is special about a partition.
fn note(partition: &PartitionStatus) -> String {
    let mut notes = vec![];
    let stays = partition.before == Some(partition.target_offset);
    match partition.clamped.filter(|_| !stays) {
        Some(Clamp::BelowLogStart) => notes.push("offset deleted: first record".to_owned()),
        Some(Clamp::AboveLogEnd) => notes.push("beyond the log: its end".to_owned()),
        Some(Clamp::BeforeFirstRecord) => notes.push("older records deleted: first record".to_owned()),
        Some(Clamp::AfterLastRecord) => notes.push("no record that late: end of the log".to_owned()),
        Some(Clamp::PartitionEmpty) => notes.push("no records: end of the log".to_owned()),
        Some(Clamp::Unknown) => notes.push("moved into range".to_owned()),
        None => {}
    }
    match partition.outcome {
        PartitionOutcome::Failed => notes.push(partition.message.clone().unwrap_or_else(|| "failed".to_owned())),
        PartitionOutcome::Skipped => notes.push("left as it is".to_owned()),
        PartitionOutcome::Unconfirmed => notes.push("commit not confirmed".to_owned()),
        PartitionOutcome::Unchanged => notes.push("already there".to_owned()),
        PartitionOutcome::Planned | PartitionOutcome::Reset if partition.before == Some(partition.target_offset) => {
            notes.push("already there".to_owned());
        }
        PartitionOutcome::Planned | PartitionOutcome::Reset => {}
    }
    if partition.overwritten.is_some() {
        notes.push("overwritten since by another client".to_owned());
    }
    notes.join("; ")
}

fn sums(reset: &OffsetReset) -> Option<Line> {
    let status = reset.status.as_ref()?;
    let totals = status.totals?;
    let mut parts = vec![many(totals.partitions, "partition")];
    if totals.clamped > 0 {
        parts.push(format!("{} moved into range", count(totals.clamped)));
    }
    if totals.left_alone > 0 {
        parts.push(format!("{} left as they are", count(totals.left_alone)));
    }
    let replay = format!("{} to replay, {} to skip", many(totals.replayed, "record"), count(totals.skipped));
    let planned = status.condition_message(ConditionType::Planned).filter(|_| totals.partitions == 0);
    let line = Line::styled(BOLD, format!("{}: {replay}", parts.join(", ")));
    Some(match planned {
        Some(planned) => line.and(format!("  {planned}")),
        None => line,
    })
}
