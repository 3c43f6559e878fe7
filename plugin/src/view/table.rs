//! Tables as kubectl has them: no lines, two spaces between columns.

use comfy_table::{CellAlignment, ContentArrangement, presets};

use super::line::Line;

/// A table that grows row by row.
pub struct Table {
    table: comfy_table::Table,
    rows: usize,
}

impl Table {
    /// With these titles; a title that begins with `>` is that of a column of numbers.
    pub fn new(titles: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(titles.iter().map(|title| title.trim_start_matches('>')));
        for (index, title) in titles.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_padding((0, 2));
                if title.starts_with('>') {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Self { table, rows: 0 }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        // A cell never breaks its row.
        self.table.add_row(cells.map(|cell| cell.replace(|letter: char| letter.is_control(), " ")));
        self.rows += 1;
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The lines.
    pub fn lines(&self) -> Vec<Line> {
        self.table.lines().map(|line| Line::plain(line.trim_end())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_on_the_right() {
        let mut table = Table::new(&["TOPIC", ">OFFSET", "NOTE"]);
        table.row(["orders".into(), "1,204".into(), String::new()]);
        table.row(["a".into(), "7".into(), "b\nc".into()]);
        let lines: Vec<String> = table.lines().iter().map(Line::text).collect();
        assert_eq!(lines, ["TOPIC   OFFSET  NOTE", "orders   1,204", "a            7  b c"]);
    }
}
