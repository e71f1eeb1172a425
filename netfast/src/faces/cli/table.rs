//! Aligned columns.

/// Rows of `N` cells. A column without any content is left out.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    header: Option<[&'static str; N]>,
    right: [bool; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table whose columns have names.
    pub(super) fn new(header: [&'static str; N]) -> Self {
        Self { header: Some(header), ..Self::bare() }
    }

    /// A table whose columns need none.
    pub(super) fn bare() -> Self {
        Self { header: None, right: [false; N], rows: Vec::new() }
    }

    /// Aligns columns of numbers, from 0, to the right.
    pub(super) fn right(mut self, columns: &[usize]) -> Self {
        for (index, right) in self.right.iter_mut().enumerate() {
            *right = columns.contains(&index);
        }
        self
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// Whether it has no rows.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Its lines, each with `indent` before it.
    pub(super) fn render(&self, indent: &str) -> String {
        let widths = self.widths();
        let mut text = String::new();
        let mut line = |cells: [&str; N], blank: &str| {
            let mut line = indent.to_owned();
            for ((cell, right), width) in cells.into_iter().zip(self.right).zip(&widths) {
                let Some(width) = *width else { continue };
                let cell = if cell.is_empty() { blank } else { cell };
                let padded = if right { format!("{cell:>width$}  ") } else { format!("{cell:width$}  ") };
                line.push_str(&padded);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        };
        if let Some(header) = self.header {
            line(header, "");
        }
        for row in &self.rows {
            line(row.each_ref().map(String::as_str), if self.header.is_some() { "-" } else { "" });
        }
        text
    }

    /// The width of every column; `None`: no row has anything in it.
    fn widths(&self) -> [Option<usize>; N] {
        std::array::from_fn(|column| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            let widest = cells.max().filter(|width| *width > 0)?;
            let header = self.header.map_or(0, |header| header[column].chars().count());
            Some(widest.max(header))
        })
    }
}

/// Rows of any number of cells in aligned columns.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells<const N: usize>(cells: [&str; N]) -> [String; N] {
        cells.map(str::to_owned)
    }

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let mut table = Table::new(["NAME", "NOTHING", "COUNT", "NOTE"]).right(&[2]);
        table.row(cells(["web", "", "7", ""]));
        table.row(cells(["größer", "", "1234567", "x"]));
        assert_eq!(
            table.render("  "),
            "  NAME      COUNT  NOTE\n  web           7  -\n  größer  1234567  x\n"
        );
    }

    #[test]
    fn without_a_header_blanks_stay_blank() {
        let mut table = Table::bare();
        assert!(table.is_empty());
        table.row(cells(["network", "lab", "10.0.0.0/24"]));
        table.row(cells(["", "web", ""]));
        assert_eq!(table.render(""), "network  lab  10.0.0.0/24\n         web\n");
    }
}
