//! The part of docs/performance.md that a run writes.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};

use super::{Results, plots, report};

const BEGIN: &str = "<!-- begin: written by `make bench` -->\n";
const END: &str = "<!-- end: written by `make bench` -->\n";

/// Writes the results between the markers of a page, and the plots beside it.
pub fn write(results: &Results, docs: &Path) -> Result<()> {
    let drawn = plots::draw(results, &docs.join("performance"))?;
    let page = docs.join("performance.md");
    let text = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    Ok(fs::write(&page, replaced(&text, &section(results, &drawn))?)?)
}

fn section(results: &Results, drawn: &[(String, String)]) -> String {
    let taken = results.taken.map_or_else(String::new, |taken| taken.strftime("%Y-%m-%d").to_string());
    let how = if results.quick { "the short run, `make bench-quick`" } else { "`make bench`" };
    let mut text = format!("Taken on {taken} on commit {} by {how}; {}.\n\n", results.commit, results.machine);
    text.push_str(&report::tables(results));
    text.push_str("### Plots\n\n");
    for (title, file) in drawn {
        let _ = writeln!(text, "![{title}](performance/{file})\n");
    }
    if !results.trace.is_empty() {
        let _ = writeln!(text, "### One reset, request by request\n\n{}", report::trace(&results.trace));
    }
    text
}

/// The page with this between its markers.
fn replaced(page: &str, section: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).context("the page has the first marker")?;
    let (_, after) = rest.split_once(END).context("the page has the last marker, after the first")?;
    Ok(format!("{before}{BEGIN}{section}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let page = format!("Above.\n{BEGIN}Old.\n{END}Below.\n");
        assert_eq!(replaced(&page, "New.\n").unwrap(), format!("Above.\n{BEGIN}New.\n{END}Below.\n"));
        assert!(replaced("No markers.", "New.").is_err());
        assert!(replaced(&format!("{END}{BEGIN}"), "New.").is_err());
    }

    #[test]
    fn the_page_of_the_repository_has_the_markers() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/performance.md");
        assert!(replaced(&fs::read_to_string(page).unwrap(), "").is_ok());
    }
}
