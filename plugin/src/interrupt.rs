//! Ctrl-C ends the command at once, at any point, and prints which work goes on without the command.

use std::{
    io::{IsTerminal, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crossterm::{
    cursor::Show,
    queue,
    terminal::{EndSynchronizedUpdate, LeaveAlternateScreen},
};

use crate::{
    exit::Exit,
    print::errln,
    view::{DIM, Line, hint},
};

/// The state of the cluster when Ctrl-C ends a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// The command has requested no change yet.
    Nothing,
    /// The command may have created an object, which stops nothing.
    MaybePlan(String),
    /// A plan, which stops nothing.
    Plan(String),
    /// A plan for which `dryRun` may have been set to false.
    MaybeRuns(String),
    /// A reset that runs.
    Runs(String),
    /// A reset that waits for the operator, and why no operator works.
    Waits(String, String),
    /// A reset that is being cancelled.
    Cancelled(String),
    /// The plans of a batch, some of which may not be created yet.
    BatchPlans(String),
    /// A batch that runs: its name, the resets that run, and the plans that were not started.
    Batch(String, Vec<String>, Vec<String>),
    /// A batch that is being cancelled.
    BatchCancelled(String),
    /// Some of several changes; the completed ones were printed.
    Printed,
}

static LEFT: Mutex<Left> = Mutex::new(Left::Nothing);

/// Whether the live screen has the terminal.
static IS_LIVE: AtomicBool = AtomicBool::new(false);

/// Sets the state that Ctrl-C would leave from now on.
pub fn leaves(left: Left) {
    *LEFT.lock().unwrap_or_else(PoisonError::into_inner) = left;
}

/// Sets whether the live screen has the terminal.
pub fn is_live(is_live: bool) {
    IS_LIVE.store(is_live, Ordering::Relaxed);
}

/// Whether the live screen has the terminal.
pub fn has_live_screen() -> bool {
    IS_LIVE.load(Ordering::Relaxed)
}

/// Listens for Ctrl-C from now on, in a thread of its own, because the command may block on the cluster, a file or an answer.
pub fn listen() {
    std::thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            end();
        }
    });
}

/// Prints the state that remains, and ends the process.
pub fn end() -> ! {
    // The terminal, or the program that reads the output, may have stopped to read: nothing is written then.
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(1));
        std::process::exit(Exit::Interrupted as i32);
    });
    // The lock is held to the end, so that the live screen draws nothing more.
    let mut out = std::io::stdout().lock();
    if has_live_screen() {
        let _ = queue!(out, EndSynchronizedUpdate, Show, LeaveAlternateScreen).and_then(|()| out.flush());
    } else if std::io::stderr().is_terminal() {
        // The terminal has shown ^C in the middle of a line.
        eprintln!();
    }
    let left = LEFT.lock().unwrap_or_else(PoisonError::into_inner).clone();
    said(&left).iter().for_each(errln);
    std::process::exit(Exit::Interrupted as i32)
}

/// The state that remains, and the commands for it.
fn said(left: &Left) -> Vec<Line> {
    let lines = |words: String, hints: &[(&str, &str)], name: &str| {
        let mut lines = vec![Line::plain(words)];
        lines.extend(hints.iter().map(|(what, command)| hint(what, format!("{command} {name}").trim())));
        lines
    };
    let running = [("Watch:", "watch"), ("Cancel:", "cancel")];
    match left {
        Left::Nothing => vec![Line::styled(DIM, "Interrupted. Nothing was created, and nothing was changed.")],
        Left::MaybePlan(name) => lines(
            format!("Interrupted. Nothing is stopped, and no offset is changed. The plan {name} may have been created."),
            &[("Look:", "status"), ("Delete:", "cancel")],
            name,
        ),
        Left::Plan(name) => lines(
            format!("Interrupted. Nothing was stopped, and no offset was changed. The plan {name} stays."),
            &[("Run:", "run"), ("Delete:", "cancel")],
            name,
        ),
        Left::MaybeRuns(name) => lines(
            format!("Interrupted while {name} was told to run: it may run, and goes on without this command."),
            &running,
            name,
        ),
        Left::Runs(name) => lines("The reset goes on without this command.".to_owned(), &running, name),
        Left::Waits(name, why) => {
            let mut said = lines(format!("The reset {name} stays, and goes on once the operator runs. {why}"), &running, name);
            said.push(hint("Check:", "check"));
            said
        }
        Left::Cancelled(_) => lines("It is being cancelled without this command, too.".to_owned(), &[("Look:", "holds")], ""),
        Left::BatchPlans(batch) => lines(
            format!(
                "Interrupted. Nothing was stopped, and no offset was changed. Some plans of batch {batch} may have been created; the \
                 same command again creates the others."
            ),
            &[("Look:", "list --batch"), ("Delete:", "cancel --batch")],
            batch,
        ),
        Left::Batch(batch, runs, waits) => of_batch(batch, runs, waits),
        Left::BatchCancelled(batch) => lines(
            format!(
                "Interrupted. Some OffsetResets of batch {batch} are being cancelled without this command, and others may not be."
            ),
            &[("Look:", "list --batch"), ("Go on:", "cancel --batch")],
            batch,
        ),
        Left::Printed => vec![Line::plain("Interrupted. What is printed above was done, and the next step may have been.")],
    }
}

/// Which resets of a batch go on without the command, and which were not started.
fn of_batch(batch: &str, runs: &[String], waits: &[String]) -> Vec<Line> {
    let names = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let mut lines = vec![
        Line::plain("Interrupted. Running resets continue without this command, and no other is started."),
        Line::plain(format!("Running:      {}", names(runs))),
        Line::plain(format!("Not started:  {}", names(waits))),
    ];
    if !runs.is_empty() {
        lines.push(hint("Watch:", &format!("watch --batch {batch}")));
    }
    if !waits.is_empty() {
        lines.push(hint("Go on:", &format!("run --batch {batch}")));
    }
    lines.push(hint("Cancel:", &format!("cancel --batch {batch}")));
    lines
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::before_anything(Left::Nothing, &["Nothing was created"])]
    #[case::while_creating(Left::MaybePlan("r".into()), &["Nothing is stopped", "may have been created", "cancel r"])]
    #[case::planned(Left::Plan("r".into()), &["Nothing was stopped", "The plan r stays", "run r", "cancel r"])]
    #[case::confirmed(Left::MaybeRuns("r".into()), &["it may run", "watch r", "cancel r"])]
    #[case::running(Left::Runs("r".into()), &["goes on without this command", "watch r", "cancel r"])]
    #[case::no_operator(Left::Waits("r".into(), "It has 0 replicas.".into()), &["once the operator runs", "It has 0 replicas.", "check"])]
    #[case::cancelled(Left::Cancelled("r".into()), &["being cancelled", "kubectl offset-reset holds"])]
    #[case::plans_of_a_batch(Left::BatchPlans("b".into()), &["Nothing was stopped", "may have been created", "list --batch b", "cancel --batch b"])]
    #[case::a_batch(
        Left::Batch("b".into(), vec!["r".into()], vec!["s".into(), "t".into()]),
        &["Running:      r\n", "Not started:  s, t\n", "watch --batch b", "run --batch b", "cancel --batch b"]
    )]
    #[case::a_batch_that_has_not_begun(Left::Batch("b".into(), vec![], vec!["s".into()]), &["Running:      none\n", "run --batch b"])]
    #[case::a_batch_cancelled(Left::BatchCancelled("b".into()), &["being cancelled", "cancel --batch b"])]
    #[case::some(Left::Printed, &["What is printed above was done"])]
    fn ctrl_c_says_what_goes_on_and_what_to_do(#[case] left: Left, #[case] expected: &[&str]) {
        let text: String = said(&left).iter().map(|line| line.text() + "\n").collect();
        for words in expected {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
