//! Ctrl-C ends the command at once, wherever it is, and says what goes on without it.

use std::{
    io::{IsTerminal, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
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

/// What there is in the cluster when a command ends before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing was asked for yet.
    Nothing,
    /// An object may have been created, which stops nothing.
    MaybePlan(String),
    /// A plan, which stops nothing.
    Plan(String),
    /// A plan that may have been told to run.
    MaybeRuns(String),
    /// A reset that runs.
    Runs(String),
    /// A reset that runs once the operator does: why it does not.
    Waits(String, String),
    /// A reset that is being cancelled.
    Cancelled(String),
    /// Some of several changes; those that are done were printed.
    Printed,
}

static LEFT: Mutex<Left> = Mutex::new(Left::Nothing);

/// Whether the live screen has the terminal.
static IS_LIVE: AtomicBool = AtomicBool::new(false);

/// Says what would be left from now on.
pub fn leaves(left: Left) {
    *LEFT.lock().unwrap_or_else(PoisonError::into_inner) = left;
}

/// Says whether the live screen has the terminal.
pub fn is_live(is_live: bool) {
    IS_LIVE.store(is_live, Ordering::Relaxed);
}

/// Whether the live screen has the terminal.
pub fn has_live_screen() -> bool {
    IS_LIVE.load(Ordering::Relaxed)
}

/// Listens from now on, in a thread of its own: the command may wait for the cluster, for a file or for an answer meanwhile.
pub fn listen() {
    std::thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            end();
        }
    });
}

/// Ends the process, with what is left as its last words.
pub fn end() -> ! {
    // Held to the end, so that nothing is drawn any more.
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

/// What is left, and what to do about it.
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
        Left::Printed => vec![Line::plain("Interrupted. What is printed above was done, and the next step may have been.")],
    }
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
    #[case::some(Left::Printed, &["What is printed above was done"])]
    fn ctrl_c_says_what_goes_on_and_what_to_do(#[case] left: Left, #[case] expected: &[&str]) {
        let text: String = said(&left).iter().map(|line| line.text() + "\n").collect();
        for words in expected {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
