//! Aligned columns for a terminal; where it is narrow, whole columns are left out and named.

use super::style::{Ink, Style};

/// One cell: its text and its ink.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    ink: Ink,
}

impl Cell {
    /// Plain text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ink: Ink::Plain }
    }

    /// Coloured text.
    #[must_use]
    pub fn inked(text: impl Into<String>, ink: Ink) -> Self {
        Self { text: text.into(), ink }
    }
}

/// One column.
#[derive(Debug)]
pub struct Column {
    header: String,
    /// Its label in the list of omitted columns; empty to leave it out.
    label: &'static str,
    right: bool,
    /// Blanks before it.
    gap: usize,
    /// 0 always stays; of the others the highest goes first.
    priority: u8,
    cells: Vec<Cell>,
}

impl Column {
    /// An empty column, aligned to the left.
    #[must_use]
    pub fn left(header: impl Into<String>) -> Self {
        let (header, cells) = (header.into(), Vec::new());
        Self { header, label: "", right: false, gap: 2, priority: 0, cells }
    }

    /// An empty column, aligned to the right.
    #[must_use]
    pub fn right(header: impl Into<String>) -> Self {
        Self { right: true, ..Self::left(header) }
    }

    /// Spaces before the column.
    #[must_use]
    pub const fn gap(mut self, gap: usize) -> Self {
        self.gap = gap;
        self
    }

    /// Where the table is too wide, columns are dropped in this order and named below.
    #[must_use]
    pub const fn gives_way(mut self, order: u8, label: &'static str) -> Self {
        (self.priority, self.label) = (order, label);
        self
    }

    /// Adds a row's cell.
    pub fn push(&mut self, cell: Cell) {
        self.cells.push(cell);
    }

    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| width(&cell.text));
        cells.chain([width(&self.header)]).max().unwrap_or(0)
    }
}

/// Columns on a terminal: every character here is one wide.
pub fn width(text: &str) -> usize {
    text.chars().count()
}

/// Renders the columns, each line indented by the first column's gap; those that did not fit are
/// named in `hidden`.
pub fn render(mut columns: Vec<Column>, style: Style, hidden: &mut Vec<&'static str>) -> String {
    loop {
        let total: usize = columns.iter().map(|c| c.gap + c.width()).sum();
        let next = (0..columns.len())
            .filter(|i| columns[*i].priority > 0)
            .max_by_key(|i| columns[*i].priority);
        match next {
            Some(index) if total > style.width => hidden.push(columns.remove(index).label),
            _ => break,
        }
    }
    let rows = columns.iter().map(|c| c.cells.len()).max().unwrap_or(0);
    let widths: Vec<usize> = columns.iter().map(Column::width).collect();
    let mut out = String::new();
    let header =
        columns.iter().map(|c| Cell::inked(c.header.clone(), Ink::Dim)).collect::<Vec<_>>();
    line(&mut out, &columns, &widths, &header.iter().collect::<Vec<_>>(), style);
    let blank = Cell::new("");
    for row in 0..rows {
        let cells: Vec<&Cell> =
            columns.iter().map(|c| c.cells.get(row).unwrap_or(&blank)).collect();
        line(&mut out, &columns, &widths, &cells, style);
    }
    out
}

fn line(out: &mut String, columns: &[Column], widths: &[usize], cells: &[&Cell], style: Style) {
    let mut text = String::new();
    for ((column, cell), wide) in columns.iter().zip(cells).zip(widths) {
        let pad = " ".repeat(wide - width(&cell.text));
        text.push_str(&" ".repeat(column.gap));
        // Blanks stay outside the ink, so that they can be cut at the end of a line.
        let words = cell.text.trim_end();
        let inked = style.ink(cell.ink, words) + &cell.text[words.len()..];
        if column.right {
            text.push_str(&pad);
            text.push_str(&inked);
        } else {
            text.push_str(&inked);
            text.push_str(&pad);
        }
    }
    out.push_str(text.trim_end());
    out.push('\n');
}
