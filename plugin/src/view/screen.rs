//! The whole picture of a reset, and what fits of it.

use offset_reset_operator::machine;

use super::{
    line::{DIM, Line, WARN},
    progress::Look,
};

/// The picture of a reset: lines, each with a rank; the higher the rank, the sooner it gives way.
pub fn screen(look: &Look<'_>) -> Vec<(u8, Line)> {
    let status = look.status();
    let mut lines = vec![(0, look.title())];
    let ended = machine::has_ended(&status, look.reset.spec.dry_run);
    let current_is_shown = status.phase.is_some_and(|phase| {
        use offset_reset_operator::api::Phase;
        matches!(phase, Phase::Planning | Phase::Stopping | Phase::Draining | Phase::Resetting | Phase::Restoring)
    });
    if !ended && !current_is_shown {
        let said = if status.phase.is_none() { "The operator has not seen it yet".to_owned() } else { status.explanation() };
        lines.push((0, Line::plain(said)));
    }
    lines.extend(look.milestones());
    lines.extend(look.targets());
    if !status.warnings.is_empty() {
        let many = super::words::many(i64::try_from(status.warnings.len()).unwrap_or(i64::MAX), "warning");
        let name = look.reset.metadata.name.as_deref().unwrap_or_default();
        lines.push((2, Line::styled(WARN, format!("⚠ {many}")).with(DIM, format!("  kubectl offset-reset status {name} -v"))));
    }
    lines
}

/// The lines that fit into a terminal. Those of the highest ranks give way first, the last ones before the first, and a line says how
/// many are missing.
pub fn fitted(lines: &[(u8, Line)], columns: usize, rows: usize) -> Vec<Line> {
    let mut kept: Vec<&(u8, Line)> = lines.iter().collect();
    // One row is for the line about what is missing.
    let room = if kept.len() > rows { rows.saturating_sub(1) } else { rows };
    while kept.len() > room {
        let highest = kept.iter().map(|(rank, _)| *rank).max().unwrap_or_default();
        let Some(last) = kept.iter().rposition(|(rank, _)| *rank == highest) else { break };
        kept.remove(last);
    }
    let mut shown: Vec<Line> = kept.iter().map(|(_, line)| line.fit(columns)).collect();
    let missing = lines.len() - shown.len();
    if missing > 0 {
        shown.push(Line::styled(DIM, format!("… {missing} more lines")).fit(columns));
    }
    shown.truncate(rows);
    shown
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::all(5, &["a", "b", "c", "d", "e"])]
    #[case::one_missing(4, &["a", "b", "e", "… 2 more lines"])]
    #[case::only_the_first(3, &["a", "e", "… 3 more lines"])]
    #[case::too_small(2, &["a", "… 4 more lines"])]
    #[case::nothing(0, &[])]
    fn what_matters_least_gives_way(#[case] rows: usize, #[case] expected: &[&str]) {
        let lines = [(0, "a"), (1, "b"), (4, "c"), (4, "d"), (0, "e")].map(|(rank, text)| (rank, Line::plain(text)));
        let shown: Vec<String> = fitted(&lines, 80, rows).iter().map(Line::text).collect();
        assert_eq!(shown, expected);
    }
}
