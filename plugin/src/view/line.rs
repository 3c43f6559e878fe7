//! Lines with styles, cut to a width.

use std::fmt;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthChar;

/// What is well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// What is not.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// What needs attention.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// What is less important.
pub const DIM: Style = Style::new().dimmed();
/// What is more important.
pub const BOLD: Style = Style::new().bold();

/// A line: texts, each with its style. Signs and words say what a color says, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    spans: Vec<(Style, String)>,
}

impl Line {
    /// A line of plain text.
    pub fn plain(text: impl Into<String>) -> Self {
        Self::default().and(text)
    }

    /// A line in a style.
    pub fn styled(style: Style, text: impl Into<String>) -> Self {
        Self::default().with(style, text)
    }

    /// A warning, after its sign.
    pub fn warning(text: impl Into<String>) -> Self {
        Self::styled(WARN, "⚠ ").and(text)
    }

    /// Adds plain text.
    pub fn and(self, text: impl Into<String>) -> Self {
        self.with(Style::new(), text)
    }

    /// Adds text in a style. What would break the line or steer the terminal, such as words of a broker, becomes a space.
    pub fn with(mut self, style: Style, text: impl Into<String>) -> Self {
        let text: String = text.into();
        self.spans.push((style, text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()));
        self
    }

    /// Adds another line's texts.
    pub fn join(mut self, other: Self) -> Self {
        self.spans.extend(other.spans);
        self
    }

    /// Adds spaces up to a column.
    pub fn at_column(self, column: usize) -> Self {
        let missing = column.saturating_sub(self.width());
        self.and(" ".repeat(missing))
    }

    /// How many columns it takes.
    pub fn width(&self) -> usize {
        self.spans.iter().flat_map(|(_, text)| text.chars()).map(|letter| letter.width().unwrap_or(0)).sum()
    }

    /// The text without styles.
    pub fn text(&self) -> String {
        self.spans.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// Broken at spaces into lines of so many columns. What follows stands below the text of the first line, after its sign.
    pub fn wrap(&self, columns: usize) -> Vec<Self> {
        let letters: Vec<(Style, char)> =
            self.spans.iter().flat_map(|(style, text)| text.chars().map(|letter| (*style, letter))).collect();
        let text = self.text();
        let spaces = text.chars().take_while(|letter| *letter == ' ').count();
        let has_sign = text.trim_start().starts_with(['✔', '✗', '⚠', '►', '●', '?']);
        let indent = (if has_sign { spaces + 2 } else { spaces }).min(columns / 2);
        let (mut lines, mut rest) = (vec![], letters.as_slice());
        loop {
            let before = if lines.is_empty() { 0 } else { indent };
            let (mut width, mut end, mut space) = (before, rest.len(), None);
            for (index, (_, letter)) in rest.iter().enumerate() {
                width += letter.width().unwrap_or(0);
                if width > columns.max(indent + 1) {
                    end = index;
                    break;
                }
                // Not a space of the indentation.
                if *letter == ' ' && index > 0 && rest[..index].iter().any(|(_, letter)| *letter != ' ') {
                    space = Some(index);
                }
            }
            let is_last = end == rest.len();
            let next_is_space = rest.get(end).is_some_and(|(_, letter)| *letter == ' ');
            let end = if is_last || next_is_space { end } else { space.unwrap_or(end) };
            // Even where not one letter fits.
            let end = end.max(1).min(rest.len());
            let kept =
                rest[..end].iter().fold(Self::plain(" ".repeat(before)), |line, (style, letter)| line.push(*style, *letter));
            lines.push(kept);
            rest = &rest[end..];
            while let Some(((_, ' '), more)) = rest.split_first() {
                rest = more;
            }
            if rest.is_empty() {
                return lines;
            }
        }
    }

    fn push(mut self, style: Style, letter: char) -> Self {
        match self.spans.last_mut() {
            Some((last, text)) if *last == style => text.push(letter),
            _ => self.spans.push((style, letter.to_string())),
        }
        self
    }

    /// Cut to so many columns, with an ellipsis where something is missing.
    pub fn fit(&self, columns: usize) -> Self {
        if self.width() <= columns {
            return self.clone();
        }
        let (mut left, mut spans) = (columns.saturating_sub(1), vec![]);
        'spans: for (style, text) in &self.spans {
            let mut kept = String::new();
            for letter in text.chars() {
                let width = letter.width().unwrap_or(0);
                if width > left {
                    spans.push((*style, kept));
                    break 'spans;
                }
                left -= width;
                kept.push(letter);
            }
            spans.push((*style, kept));
        }
        spans.push((Style::new(), "…".to_owned()));
        Self { spans }
    }
}

impl From<&str> for Line {
    fn from(text: &str) -> Self {
        Self::plain(text)
    }
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Self::plain(text)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (style, text) in &self.spans {
            write!(f, "{style}{text}{style:#}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_by_columns_and_not_by_bytes() {
        let line = Line::plain("grün").with(GOOD, "漢字").and("abc");
        assert_eq!((line.width(), line.fit(11).text().as_str()), (11, "grün漢字abc"));
        assert_eq!(line.fit(8).text(), "grün漢…");
        assert_eq!(line.fit(6).text(), "grün…");
        assert_eq!(line.fit(1).text(), "…");
    }

    #[test]
    fn a_line_is_broken_at_spaces_below_its_text() {
        let broken = |line: Line, columns: usize| line.wrap(columns).iter().map(Line::text).collect::<Vec<_>>();
        assert_eq!(broken(Line::warning("one two three four"), 11), ["⚠ one two", "  three", "  four"]);
        assert_eq!(broken("  one two three".into(), 10), ["  one two", "  three"]);
        assert_eq!(broken("abcdefghij k".into(), 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(broken("fits".into(), 4), ["fits"]);
        assert_eq!(broken(Line::default(), 4), [""]);
    }

    #[test]
    fn words_from_elsewhere_do_not_steer_the_terminal() {
        assert_eq!(Line::plain("a\u{1b}[2Jb\nc\r").text(), "a [2Jb c ");
    }
}
