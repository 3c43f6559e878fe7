//! The results as tables, for the terminal and for docs/performance.md.

use std::fmt::Write as _;

use super::samples::{Results, Step, Table, median, quantile};

/// All tables, as Markdown.
pub fn tables(results: &Results) -> String {
    let mut text = String::new();
    for table in &results.tables {
        text.push_str(&self::table(table));
    }
    text
}

pub fn table(table: &Table) -> String {
    let load = if table.load.is_empty() { String::new() } else { format!(" The machine's load at its end was {}.", table.load) };
    let mut text = format!("### {}\n\n{}{load}\n\n", table.title, table.note);
    // A difference may be below zero, and nothing is a multiple of that.
    let baseline = table.baseline.as_ref().and_then(|name| table.series.iter().find(|series| series.name == *name));
    let baseline = baseline.filter(|series| median(&series.samples) > 0.0);
    let head = baseline.map_or(String::new(), |of| format!(" times {} | pair by pair |", of.name));
    let _ = writeln!(text, "| | median, {} | min–max | runs |{head}", table.unit);
    let _ = writeln!(text, "|---|---|---|---|{}", if baseline.is_some() { "---|---|" } else { "" });
    for series in &table.series {
        let spread = spread(&series.samples);
        let _ = write!(text, "| {} | {} | {spread} | {} |", series.name, number(median(&series.samples)), series.samples.len());
        if let Some(baseline) = baseline {
            let of_medians = number(median(&series.samples) / median(&baseline.samples));
            let ratios = table.ratios(series);
            let pairs = if ratios.is_empty() {
                String::new()
            } else {
                format!("{} ({})", number(median(&ratios)), self::spread(&ratios))
            };
            let _ = write!(text, " {of_medians} | {pairs} |");
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

/// The trace of one reset, as Markdown.
pub fn trace(steps: &[Step]) -> String {
    let mut text = String::from("| ms since the creation | | the API server took, ms |\n|---|---|---|\n");
    for step in steps {
        let took = step.took.map_or(String::new(), |took| format!("{took:.1}"));
        let what = if step.took.is_some() { step.what.clone() } else { format!("**{}**", step.what) };
        let _ = writeln!(text, "| {:.0} | {what} | {took} |", step.at);
    }
    text
}

fn spread(samples: &[f64]) -> String {
    format!("{}–{}", number(quantile(samples, 0.0)), number(quantile(samples, 1.0)))
}

/// With three digits that mean something.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_has_requests_and_moments() {
        let steps =
            [Step { at: 12.3, took: Some(4.56), what: "get leases".into() }, Step { at: 20.0, took: None, what: "empty".into() }];
        let text = trace(&steps);
        assert!(text.ends_with("| 12 | get leases | 4.6 |\n| 20 | **empty** |  |\n"), "{text}");
    }

    #[test]
    fn each_row_has_median_spread_and_ratio() {
        let mut one = Table::new("t", "Title", "ms", "Note.").beside("floor");
        for (name, sample) in [("floor", 1_000.0), ("ours", 1_500.0), ("floor", 1_200.0), ("ours", 1_500.0)] {
            one.add(name, sample);
        }
        let expected = "### Title\n\nNote.\n\n| | median, ms | min–max | runs | times floor | pair by pair |\n|---|---|---|---|---|---|\n\
                        | floor | 1100 | 1000–1200 | 2 | 1 |  |\n| ours | 1500 | 1500–1500 | 2 | 1.36 | 1.38 (1.25–1.5) |\n\n";
        assert_eq!(table(&one), expected);
        let mut below = Table::new("t", "Title", "ms", "Note.").beside("ours");
        below.add("ours", -10.0);
        below.add("theirs", 5.0);
        assert!(table(&below).ends_with("| ours | -10 | -10–-10 | 1 |\n| theirs | 5 | 5–5 | 1 |\n\n"), "{}", table(&below));
    }
}
