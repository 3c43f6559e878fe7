//! The question before consumers are stopped: in which cluster, what stops and until when, and what it does to records.

use std::io::{IsTerminal, Write};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use offset_reset_operator::api::OffsetReset;

use crate::{
    cli::RunArgs,
    cluster::Cluster,
    exit::{Exit, Failure, Outcome},
    interrupt,
    print::errln,
    view::{
        BOLD, Line, WARN, idle, is_at_zero_before,
        words::{clock, many, span},
    },
};

/// Whether this is the context that was meant.
pub fn right_context(cluster: &Cluster, run: &RunArgs) -> Outcome<()> {
    match &run.confirm_context {
        Some(meant) if *meant != cluster.context => Err(Failure::new(format!(
            "the context is {}, and --confirm-context says {meant}. Nothing was done.",
            cluster.context
        ))
        .advice("Choose it with --context, or correct --confirm-context.")),
        Some(_) | None => Ok(()),
    }
}

/// Asks for the group's name; with `--yes` it only says what happens.
pub fn confirmed(cluster: &Cluster, reset: &OffsetReset, run: &RunArgs, now: Timestamp) -> Outcome<bool> {
    right_context(cluster, run)?;
    let name = reset.metadata.name.clone().unwrap_or_default();
    for line in question(&cluster.context, &cluster.namespace, reset, now, &TimeZone::system()) {
        errln(&line);
    }
    let is_right = asked("group", &reset.spec.group, run.yes, &format!("run {name}"))?;
    if !is_right {
        errln(
            &Line::styled(WARN, "Not confirmed")
                .and(format!(": nothing was stopped and no offset was changed. The plan {name} stays.")),
        );
        errln(&Line::plain(format!("To run it later:  kubectl offset-reset run {name}")));
        errln(&Line::plain(format!("To delete it:     kubectl offset-reset cancel {name}")));
    }
    Ok(is_right)
}

/// Whether the user has typed this name of a group or a batch; with `yes` nothing is asked. `command` is the one to run later.
pub fn asked(what: &str, name: &str, yes: bool, command: &str) -> Outcome<bool> {
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::new("there is no terminal to ask in, so nothing was stopped.")
            .advice(format!("To run it without a question: kubectl offset-reset {command} --yes")));
    }
    Ok(is_typed(what, name))
}

/// How many attempts the user has to type the group's name.
const TRIES: usize = 3;

/// Asks for the name. The terminal edits the line: in raw mode a pasted line with its line break would count as one answer and
/// then an empty one.
fn is_typed(what: &str, name: &str) -> bool {
    errln(&Line::plain(format!("Type the name of the {what} to go on; an empty line ends it.")));
    let prompt = if what == "group" { "Group: " } else { "Batch: " };
    for left in (0..TRIES).rev() {
        match judged(&line(prompt), what, name) {
            Typed::Right => return true,
            Typed::Nothing => return false,
            Typed::Wrong(words) => {
                let again = if left > 0 { " Try again." } else { "" };
                errln(&Line::warning(format!("{words}.{again}")));
            }
        }
    }
    false
}

/// A line of the terminal; empty at the end of the input.
fn line(prompt: &str) -> String {
    let mut answer = String::new();
    let _ = write!(std::io::stderr(), "{prompt}").and_then(|()| std::io::stderr().flush());
    let _ = std::io::stdin().read_line(&mut answer);
    answer
}

#[derive(Debug, PartialEq, Eq)]
enum Typed {
    Right,
    Nothing,
    Wrong(String),
}

fn judged(answer: &str, what: &str, name: &str) -> Typed {
    match answer.trim() {
        answer if answer == name.trim() => Typed::Right,
        "" => Typed::Nothing,
        answer => Typed::Wrong(format!("{answer:?} differs from the {what}'s name, {name:?}")),
    }
}

/// The answer; `None` at the end of the input.
fn answered<T>(asked: dialoguer::Result<T>) -> Option<T> {
    match asked {
        Ok(answer) => Some(answer),
        // Ctrl-C in a terminal that reads single keys.
        Err(dialoguer::Error::IO(error)) if error.kind() == std::io::ErrorKind::Interrupted => interrupt::end(),
        Err(_) => None,
    }
}

/// What is about to happen.
fn question(context: &str, namespace: &str, reset: &OffsetReset, now: Timestamp, zone: &TimeZone) -> Vec<Line> {
    let status = reset.status.clone().unwrap_or_default();
    let mut lines = vec![Line::default()];
    lines.push(
        Line::plain("Context ")
            .with(BOLD, context)
            .and(", namespace ")
            .with(BOLD, namespace)
            .and(", group ")
            .with(BOLD, &reset.spec.group),
    );
    let held = SignedDuration::try_from(std::time::Duration::from(reset.spec.hold_timeout)).unwrap_or(SignedDuration::MAX);
    let targets = |at_zero: bool| -> Vec<String> {
        let found = status.targets.iter().filter(|target| is_at_zero_before(target) == at_zero);
        found.map(|target| format!("{}/{}", target.kind, target.name)).collect()
    };
    let (names, at_zero) = (targets(false), targets(true));
    let totals = status.totals.unwrap_or_default();
    let changes_nothing = totals.partitions > 0 && totals.left_alone == totals.partitions;
    lines.push(if changes_nothing {
        Line::plain("No offset would change. Unless that is different when the plan is made again, nothing is stopped.")
    } else if status.targets.is_empty() {
        Line::plain("Nothing is stopped: the reset has no targets.")
    } else if names.is_empty() {
        Line::plain("Nothing is stopped.")
    } else {
        let stop = if names.len() == 1 { "stops" } else { "stop" };
        let by = now.checked_add(held).unwrap_or(Timestamp::MAX);
        let (they, clock, held) = (if names.len() == 1 { "it is" } else { "they are" }, clock(by, now, zone), span(held));
        Line::styled(BOLD, names.join(", "))
            .and(format!(" {stop}; {they} restored by {clock} at the latest ({held} after the stop)."))
    });
    if !changes_nothing && !at_zero.is_empty() {
        let first = status.targets.iter().find(|target| is_at_zero_before(target)).map_or("at zero", idle);
        let (are, stay) = if at_zero.len() == 1 { ("is", "stays") } else { ("are", "stay") };
        lines.push(Line::styled(BOLD, at_zero.join(", ")).and(format!(" {are} {first} already and {stay} so.")));
    }
    if !changes_nothing {
        let (replayed, skipped) = (many(totals.replayed, "record"), many(totals.skipped, "record"));
        let line = Line::plain(format!("{replayed} will be processed again, "));
        let line = if totals.skipped > 0 { line.with(WARN, format!("{skipped} never")) } else { line.and("none is skipped") };
        lines.push(line.and("; the plan is made again on the live group before anything is stopped."));
    }
    if reset.spec.suspend {
        lines.push(Line::warning("It is suspended: it begins once it is resumed."));
    }
    lines
}

/// A question with yes and no.
pub fn agreed(what: &str, yes: bool) -> Outcome<bool> {
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(
            Failure::new("there is no terminal to ask in, so nothing was done.").advice("To do it without a question: --yes")
        );
    }
    Ok(answered(dialoguer::Confirm::new().with_prompt(what).default(false).interact()).unwrap_or(false))
}

/// What a question that was not answered with yes ends with.
pub const NOT_CONFIRMED: Exit = Exit::Cancelled;

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::as_it_is("orders", "orders", Typed::Right)]
    #[case::with_a_line_break("orders\r\n", "orders", Typed::Right)]
    #[case::with_spaces(" orders ", "orders", Typed::Right)]
    #[case::nothing("", "orders", Typed::Nothing)]
    #[case::another("order", "orders", Typed::Wrong(r#""order" differs from the group's name, "orders""#.into()))]
    #[case::in_capitals("Orders", "orders", Typed::Wrong(r#""Orders" differs from the group's name, "orders""#.into()))]
    fn only_the_groups_own_name_confirms(#[case] answer: &str, #[case] group: &str, #[case] expected: Typed) {
        assert_eq!(judged(answer, "group", group), expected);
    }

    #[test]
    fn a_target_at_zero_stays_there_and_is_not_said_to_stop() {
        let target = |name: &str, replicas: i32| json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": name, "originalReplicas": replicas});
        let said = |targets: serde_json::Value| -> Vec<String> {
            let reset = serde_json::from_value(json!({
                "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "r"},
                "spec": {"kafka": {}, "group": "orders", "dryRun": true, "targetRefs": [{"name": "c"}]},
                "status": {"targets": targets},
            }))
            .unwrap();
            let lines = question("prod-eu", "shop", &reset, "2026-11-26T21:57:04Z".parse().unwrap(), &TimeZone::UTC);
            lines[2..lines.len() - 1].iter().map(Line::text).collect()
        };
        assert_eq!(said(json!([target("c", 0)])), ["Nothing is stopped.", "Deployment/c is at zero already and stays so."]);
        assert_eq!(
            said(json!([target("c", 3), target("d", 0), target("e", 0)])),
            [
                "Deployment/c stops; it is restored by 22:07:04 at the latest (10m after the stop).",
                "Deployment/d, Deployment/e are at zero already and stay so.",
            ]
        );
    }

    #[test]
    fn the_question_says_where_what_until_when_and_how_many_records() {
        let reset = serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "r"},
            "spec": {"kafka": {}, "group": "orders", "dryRun": true, "targetRefs": [{"name": "c"}]},
            "status": {
                "targets": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "c", "uid": "u", "originalReplicas": 3}],
                "totals": {"partitions": 3, "reset": 0, "failed": 0, "clamped": 0, "replayed": 25_114, "skipped": 2_880},
            },
        }))
        .unwrap();
        let lines = question("prod-eu", "shop", &reset, "2026-11-26T21:57:04Z".parse().unwrap(), &TimeZone::UTC);
        let text: Vec<String> = lines.iter().map(Line::text).collect();
        assert_eq!(
            text,
            [
                "",
                "Context prod-eu, namespace shop, group orders",
                "Deployment/c stops; it is restored by 22:07:04 at the latest (10m after the stop).",
                "25,114 records will be processed again, 2,880 records never; the plan is made again on the live group before anything is \
                 stopped.",
            ]
        );
    }
}
