//! `completion`, and what kubectl asks for it.

use clap::CommandFactory;

use crate::cli::Cli;

/// What may follow these words, each with its description, as kubectl reads it from a `kubectl_complete-` program: a line for each,
/// and a last line with a number that says not to complete file names.
pub fn complete(words: Vec<std::ffi::OsString>) -> String {
    let last = words.len();
    let all = std::iter::once("kubectl-offset_reset".into()).chain(words).collect();
    let found = clap_complete::engine::complete(&mut Cli::command(), all, last, None).unwrap_or_default();
    let mut lines: Vec<String> = found
        .iter()
        .filter(|candidate| !candidate.is_hide_set())
        .map(|candidate| {
            let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
            let value = candidate.get_value().to_string_lossy();
            let first = help.lines().next().unwrap_or_default();
            if first.is_empty() { value.into_owned() } else { format!("{value}\t{first}") }
        })
        .collect();
    lines.push(":4".to_owned());
    lines.join("\n")
}
