//! What was measured, as tables.

use std::fmt::Write as _;
use std::time::Duration;

use super::chain::{Chain, Times};

/// A chain in each line, and how many times as long as the first one it takes.
pub(crate) fn comparison(chains: &[Chain<'_>]) -> String {
    let rows: Vec<_> = chains.iter().map(|chain| (chain.name, chain.times.as_slice())).collect();
    render(&rows)
}

/// One container and many.
pub(crate) fn growth(few: &[Times], many: &[Times]) -> String {
    render(&[("one", few), ("many", many)])
}

fn render(rows: &[(&str, &[Times])]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = format!("  {:width$}  {:>9}  {:>6}  {:>9}  {:>6}", "", "ADD", "ratio", "DEL", "ratio");
    let (mut first_add, mut first_del) = (None, None);
    for (name, times) in rows {
        let (add, del) = (median(times, |times| times.add), median(times, |times| times.del));
        let of = |time: Duration, first: &mut Option<Duration>| {
            let first = *first.get_or_insert(time);
            format!("{:.1}", time.as_secs_f64() / first.as_secs_f64().max(f64::MIN_POSITIVE))
        };
        let (adds, dels) = (of(add, &mut first_add), of(del, &mut first_del));
        let (add, del) = (milliseconds(add), milliseconds(del));
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {name:width$}  {add:>9}  {adds:>6}  {del:>9}  {dels:>6}");
    }
    text
}

/// A time for people.
pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn median(times: &[Times], of: impl Fn(&Times) -> Duration) -> Duration {
    let mut sorted: Vec<_> = times.iter().map(of).collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_what_others_are_compared_with() {
        let times = |add: [u64; 3], del| {
            add.map(|add| Times { add: Duration::from_millis(add), del: Duration::from_millis(del) })
        };
        let text = render(&[("ours", &times([10, 90, 11], 20)), ("another", &times([200, 99, 1], 30))]);
        let wanted = "
                 ADD   ratio        DEL   ratio
  ours       11.0 ms     1.0    20.0 ms     1.0
  another    99.0 ms     9.0    30.0 ms     1.5";
        assert_eq!(format!("\n{}", text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")), wanted);
    }
}
