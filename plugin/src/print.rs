//! Output: colors only where a terminal takes them and NO_COLOR is not set.

use std::io::Write;

use anstream::{AutoStream, ColorChoice, stream::RawStream};

use crate::{
    cli::Format,
    exit::{Failure, Outcome},
    view::Line,
};

/// Whether colors go there.
pub fn colored(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// A line on the standard output, broken at spaces where a terminal is narrower. When the reader has gone, as with `| head`, there is no one to print for.
pub fn outln(line: &Line) {
    for line in broken(line, columns()) {
        if writeln!(anstream::stdout(), "{line}").is_err() {
            std::process::exit(0);
        }
    }
}

/// A line on the standard error output.
pub fn errln(line: &Line) {
    use std::io::IsTerminal;
    let columns = std::io::stderr().is_terminal().then(width);
    for line in broken(line, columns) {
        let _ = writeln!(anstream::stderr(), "{line}");
    }
}

fn broken(line: &Line, columns: Option<usize>) -> Vec<Line> {
    columns.map_or_else(|| vec![line.clone()], |columns| line.wrap(columns))
}

/// A terminal that does not tell its size says 0.
fn width() -> usize {
    crossterm::terminal::size().ok().filter(|(columns, _)| *columns > 0).map_or(80, |(columns, _)| columns.into())
}

/// An object, as `-o` says.
pub fn object(value: &impl serde::Serialize, format: Format) -> Outcome<()> {
    let wrong = |error: &dyn std::fmt::Display| Failure::new(format!("cannot print the object: {error}"));
    let text = match format {
        Format::Json => serde_json::to_string_pretty(value).map_err(|error| wrong(&error))? + "\n",
        Format::Yaml => serde_saphyr::to_string(value).map_err(|error| wrong(&error))?,
    };
    text.lines().for_each(raw);
    Ok(())
}

/// Text as it is.
pub fn raw(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// How many columns the terminal has; `None` without a terminal.
pub fn columns() -> Option<usize> {
    use std::io::IsTerminal;
    std::io::stdout().is_terminal().then(width)
}
