//! The probes' results as an aligned table.

use crate::demo::probe::Row;
use crate::output;

/// One line for each row, the verdict in colour.
pub(crate) fn render(rows: &[Row]) -> String {
    let width = |cell: fn(&Row) -> &String| rows.iter().map(|row| cell(row).len()).max().unwrap_or(0);
    let (from, to, what) = (width(|row| &row.from), width(|row| &row.to), width(|row| &row.what));
    let verdict = width(|row| &row.verdict);
    let lines = rows.iter().map(|row| {
        let Row { from: source, to: target, what: about, verdict: outcome, detail, good } = row;
        let mark = if *good { output::good("ok  ") } else { output::bad("FAIL") };
        format!("  {mark}  {source:from$} -> {target:to$}  {about:what$}  {outcome:verdict$}  {detail}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let row = |from: &str, to: &str| Row {
            from: from.to_owned(),
            to: to.to_owned(),
            what: "what".to_owned(),
            verdict: "answered".to_owned(),
            detail: "by web".to_owned(),
            good: true,
        };
        let text = render(&[row("outside", "192.0.2.1:8080"), row("web", "[::1]:80")]);
        let columns: Vec<_> = text.lines().map(|line| line.find("what")).collect();
        assert_eq!(columns[0], columns[1]);
    }
}
