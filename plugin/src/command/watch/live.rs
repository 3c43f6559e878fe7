//! The live screen: redrawn in place, as large as the terminal is.

use std::io::{self, Write};

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    queue,
    terminal::{
        BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, size,
    },
};
use jiff::{Timestamp, tz::TimeZone};
use kube::ResourceExt;
use offset_reset_operator::api::OffsetReset;

use crate::{
    interrupt::is_live,
    print::colored,
    view::{DIM, Line, Look, PodState, fitted, screen},
};

/// The screen, which is left when this is dropped: what stood in the terminal before is there again.
pub struct Live {
    zone: TimeZone,
    shown: Vec<String>,
    size: (u16, u16),
}

impl Live {
    /// Takes the terminal.
    pub fn open() -> Self {
        let mut out = io::stdout();
        is_live(true);
        let _ = queue!(out, EnterAlternateScreen, Hide).and_then(|()| out.flush());
        Self { zone: TimeZone::system(), shown: vec![], size: (0, 0) }
    }

    /// Draws a reset; nothing is written when nothing has changed.
    pub fn draw(&mut self, reset: &OffsetReset, pods: &[PodState], trouble: Option<&Line>) {
        // A terminal that does not tell its size says 0.
        let size = size().ok().filter(|(columns, rows)| *columns > 0 && *rows > 0).unwrap_or((80, 24));
        let (columns, rows) = (usize::from(size.0), usize::from(size.1));
        let name = reset.name_any();
        let long = format!("Ctrl-C leaves it running. Cancel: kubectl offset-reset cancel {name}");
        let words = if long.chars().count() <= columns { long } else { "Ctrl-C leaves it running.".to_owned() };
        let mut below = vec![Line::styled(DIM, words)];
        below.extend(trouble.cloned());
        let look = Look { reset, pods, now: Timestamp::now(), zone: &self.zone };
        let mut lines = fitted(&screen(&look, columns), columns, rows.saturating_sub(below.len()));
        lines.extend(below.iter().map(|line| line.fit(columns)));
        lines.truncate(rows);
        let is_colored = colored(&io::stdout());
        let lines: Vec<String> = lines.iter().map(|line| if is_colored { line.to_string() } else { line.text() }).collect();
        if lines != self.shown || size != self.size {
            // A terminal that does not take it is no reason to end: the reset goes on.
            let _ = put(&lines, size != self.size);
            (self.shown, self.size) = (lines, size);
        }
    }
}

fn put(lines: &[String], resized: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    queue!(out, BeginSynchronizedUpdate)?;
    if resized {
        queue!(out, Clear(ClearType::All))?;
    }
    for (row, line) in lines.iter().enumerate() {
        queue!(out, MoveTo(0, u16::try_from(row).unwrap_or(u16::MAX)))?;
        write!(out, "{line}")?;
        queue!(out, Clear(ClearType::UntilNewLine))?;
    }
    let below = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    if lines.len() < usize::from(size()?.1) {
        queue!(out, MoveTo(0, below), Clear(ClearType::FromCursorDown))?;
    }
    queue!(out, EndSynchronizedUpdate)?;
    out.flush()
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut out = io::stdout();
        let _ = queue!(out, Show, LeaveAlternateScreen).and_then(|()| out.flush());
        is_live(false);
    }
}
