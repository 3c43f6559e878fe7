//! Many resets as one table, with sums.

use kube::ResourceExt;
use offset_reset_operator::api::{OffsetReset, Phase, Totals};

use super::{
    line::{BAD, BOLD, Line},
    table::Table,
    words::{count, many, or_dash},
};

/// How many warnings are listed.
const WARNINGS: usize = 20;

/// The resets, their sums, why some of them failed or were refused, and warnings.
pub fn batch(resets: &[&OffsetReset]) -> Vec<Line> {
    let mut table =
        Table::new(&["OFFSETRESET", "WORKLOADS", "GROUP", "PHASE", ">PARTS", ">REPLAY", ">SKIP", ">FAILED", ">WARNINGS"]);
    for reset in resets {
        let (status, totals) = (reset.status.clone().unwrap_or_default(), totals(reset));
        table.row([
            reset.name_any(),
            workloads(reset),
            reset.spec.group.clone(),
            phase(reset).to_owned(),
            or_dash(totals.partitions),
            or_dash(totals.replayed),
            or_dash(totals.skipped),
            or_dash(totals.failed),
            or_dash(i64::try_from(status.warnings.len()).unwrap_or(i64::MAX)),
        ]);
    }
    let mut lines = table.lines();
    lines.push(sums(resets));
    lines.extend(resets.iter().filter_map(|reset| failure(reset)));
    let warnings: Vec<Line> = resets.iter().flat_map(|reset| warnings(reset)).collect();
    let more = warnings.len().saturating_sub(WARNINGS);
    lines.extend(warnings.into_iter().take(WARNINGS));
    if more > 0 {
        lines.push(Line::plain(format!("  {}, which kubectl offset-reset status NAME shows", many_more(more))));
    }
    lines
}

fn many_more(more: usize) -> String {
    let warnings = if more == 1 { "warning" } else { "warnings" };
    format!("{more} more {warnings}")
}

/// As Kind/name, at most three of them.
pub fn workloads(reset: &OffsetReset) -> String {
    let names: Vec<String> = reset.spec.target_refs.iter().map(|target| format!("{}/{}", target.kind, target.name)).collect();
    match names.len() {
        0 => "-".to_owned(),
        1..=3 => names.join(", "),
        more => format!("{} and {} more", names[..2].join(", "), more - 2),
    }
}

/// The phase; a plan that was refused has its own word.
pub fn phase(reset: &OffsetReset) -> &'static str {
    match reset.status.as_ref().and_then(|status| status.phase) {
        Some(Phase::Failed) if reset.spec.dry_run => "Refused",
        Some(phase) => phase.as_str(),
        None => "New",
    }
}

fn totals(reset: &OffsetReset) -> Totals {
    reset.status.as_ref().and_then(|status| status.totals).unwrap_or_default()
}

/// How many resets of each phase, and the sums of partitions and records.
pub fn sums(resets: &[&OffsetReset]) -> Line {
    let mut phases: Vec<(&str, usize)> = vec![];
    for reset in resets {
        let phase = phase(reset);
        match phases.iter_mut().find(|(known, _)| *known == phase) {
            Some((_, count)) => *count += 1,
            None => phases.push((phase, 1)),
        }
    }
    phases.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let phases: Vec<String> = phases.iter().map(|(phase, count)| format!("{count} {phase}")).collect();
    let (partitions, replayed, skipped) = resets.iter().map(|reset| totals(reset)).fold((0_i64, 0_i64, 0_i64), |sums, one| {
        (sums.0.saturating_add(one.partitions), sums.1.saturating_add(one.replayed), sums.2.saturating_add(one.skipped))
    });
    let warnings: usize = resets.iter().filter_map(|reset| reset.status.as_ref()).map(|status| status.warnings.len()).sum();
    let of = i64::try_from(resets.len()).unwrap_or(i64::MAX);
    let words = format!(
        "{} ({}): {}, {} to replay, {} to skip",
        many(of, "OffsetReset"),
        phases.join(", "),
        many(partitions, "partition"),
        many(replayed, "record"),
        count(skipped),
    );
    let warnings =
        if warnings == 0 { String::new() } else { format!(", {}", many(i64::try_from(warnings).unwrap_or(i64::MAX), "warning")) };
    Line::styled(BOLD, words + &warnings)
}

/// Why a reset failed, was cancelled, or its plan was refused.
fn failure(reset: &OffsetReset) -> Option<Line> {
    let status = reset.status.as_ref()?;
    status.phase.filter(|phase| matches!(phase, Phase::Failed | Phase::Cancelled))?;
    let reason = status.reason.map(|reason| format!("{reason}: ")).unwrap_or_default();
    Some(Line::styled(BAD, "✗ ").and(format!("{}: {reason}{}", reset.name_any(), status.explanation())))
}

fn warnings(reset: &OffsetReset) -> Vec<Line> {
    let name = reset.name_any();
    let status = reset.status.iter();
    status.flat_map(|status| &status.warnings).map(|warning| Line::warning(format!("{name}: {warning}"))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reset(name: &str, spec: &Value, status: &Value) -> OffsetReset {
        let mut object = json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": name},
            "spec": {"kafka": {}, "group": name, "dryRun": true, "targetRefs": [{"name": "c"}]}, "status": status,
        });
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(object).unwrap()
    }

    fn text(resets: &[OffsetReset]) -> Vec<String> {
        batch(&resets.iter().collect::<Vec<_>>()).iter().map(Line::text).collect()
    }

    #[test]
    fn many_plans_are_one_table_with_sums_and_why_some_were_refused() {
        let totals = |replayed: i64, skipped: i64| {
            json!({
                "partitions": 3, "reset": 0, "failed": 0, "clamped": 0, "replayed": replayed, "skipped": skipped,
            })
        };
        let planned = |totals: Value| json!({"phase": "Planned", "dryRun": true, "totals": totals, "warnings": ["it is late"]});
        let refused = json!({
            "phase": "Failed", "dryRun": true, "reason": "GroupNotFound", "message": "There is no group.",
            "outcome": {"phase": "Failed", "reason": "GroupNotFound", "message": "There is no group."},
        });
        let several = json!({"targetRefs": [{"name": "a"}, {"name": "b"}, {"kind": "StatefulSet", "name": "c"}, {"name": "d"}]});
        let all = [
            reset("one", &json!({}), &planned(totals(24_879, 0))),
            reset("two", &several, &planned(totals(1, 2_880))),
            reset("three", &json!({}), &refused),
            reset("four", &json!({}), &json!({})),
        ];
        assert_eq!(
            text(&all),
            [
                "OFFSETRESET  WORKLOADS                              GROUP  PHASE    PARTS  REPLAY   SKIP  FAILED  WARNINGS",
                "one          Deployment/c                           one    Planned      3  24,879      -       -         1",
                "two          Deployment/a, Deployment/b and 2 more  two    Planned      3       1  2,880       -         1",
                "three        Deployment/c                           three  Refused      -       -      -       -         -",
                "four         Deployment/c                           four   New          -       -      -       -         -",
                "4 OffsetResets (2 Planned, 1 Refused, 1 New): 6 partitions, 24,880 records to replay, 2,880 to skip, 2 warnings",
                "✗ three: GroupNotFound: There is no group.",
                "⚠ one: it is late",
                "⚠ two: it is late",
            ]
        );
    }

    #[test]
    fn not_every_warning_is_listed() {
        let warnings: Vec<String> = (0..15).map(|number| format!("warning {number}")).collect();
        let status = json!({"phase": "Planned", "dryRun": true, "warnings": warnings});
        let all = [reset("one", &json!({}), &status), reset("two", &json!({}), &status)];
        let text = text(&all);
        assert_eq!(text.iter().filter(|line| line.starts_with('⚠')).count(), WARNINGS);
        assert_eq!(text.last().unwrap(), "  10 more warnings, which kubectl offset-reset status NAME shows");
    }
}
