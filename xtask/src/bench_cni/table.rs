//! What was measured, as tables.

use std::time::Duration;

use super::chain::{Chain, Times, Took};

/// A chain in each line, how many times as long as the first one it takes, and where the first one loses.
pub(crate) fn comparison(chains: &[Chain<'_>]) -> String {
    let rows: Vec<_> = chains.iter().map(|chain| (chain.name, chain.times.as_slice())).collect();
    format!("{}\n{}", render(&rows), losses(&rows))
}

/// One container and many.
pub(crate) fn growth(few: &[Times], many: &[Times]) -> String {
    render(&[("one", few), ("many", many)])
}

/// What is measured of a chain in one round.
type Call = fn(&Times) -> Took;

/// The columns.
const CALLS: [(&str, Call); 2] = [("ADD", |times| times.add), ("DEL", |times| times.del)];

fn render(rows: &[(&str, &[Times])]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut lines = vec![format!("  {:width$}", "")];
    lines.extend(rows.iter().map(|(name, _)| format!("  {name:width$}")));
    let first = rows.first().map_or(&[][..], |(_, times)| times);
    for (name, call) in CALLS {
        let heads = [format!("  {name:>9}  {:>6}  {:>9}", "ratio", "processor")];
        let cells = rows.iter().map(|(_, times)| {
            let wall = milliseconds(median(times, |times| call(times).wall));
            let cpu = milliseconds(median(times, |times| call(times).cpu));
            format!("  {wall:>9}  {:>6.2}  {cpu:>9}", ratio(times, first, call))
        });
        for (line, cell) in lines.iter_mut().zip(heads.into_iter().chain(cells)) {
            line.push_str(&cell);
        }
    }
    lines.join("\n")
}

/// Where the first chain takes longer than another one.
fn losses(rows: &[(&str, &[Times])]) -> String {
    let Some(((own, first), others)) = rows.split_first() else { return String::new() };
    let mut lost = Vec::new();
    for (name, call) in CALLS {
        let faster = others.iter().filter(|(_, times)| ratio(times, first, call) < 1.0);
        lost.extend(faster.map(|(other, _)| format!("{other} ({name})")));
    }
    if lost.is_empty() {
        return format!("{own} is the fastest in both");
    }
    format!("{own} loses against {}", lost.join(", "))
}

/// How many times as long as the first chain another one takes: the median of the rounds.
fn ratio(times: &[Times], first: &[Times], call: Call) -> f64 {
    let seconds = |times: &Times| call(times).wall.as_secs_f64().max(f64::MIN_POSITIVE);
    let mut ratios: Vec<_> = times.iter().zip(first).map(|(a, b)| seconds(a) / seconds(b)).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or_default()
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

    fn times(add: [u64; 3], del: u64) -> [Times; 3] {
        let took = |wall, cpu| Took { wall: Duration::from_millis(wall), cpu: Duration::from_millis(cpu) };
        add.map(|add| Times { add: took(add, 5), del: took(del, 1) })
    }

    #[test]
    fn ratios_are_those_of_rounds() {
        let (ours, another) = (times([10, 90, 11], 20), times([40, 99, 55], 30));
        let text = render(&[("ours", &ours), ("another", &another)]);
        let wanted = "
                 ADD   ratio  processor        DEL   ratio  processor
  ours       11.0 ms    1.00     5.0 ms    20.0 ms    1.00     1.0 ms
  another    55.0 ms    4.00     5.0 ms    30.0 ms    1.50     1.0 ms";
        assert_eq!(format!("\n{}", text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")), wanted);
    }

    #[test]
    fn it_is_said_who_is_faster() {
        let (ours, another) = (times([10, 90, 11], 20), times([9, 99, 5], 30));
        assert_eq!(losses(&[("ours", &ours), ("another", &another)]), "ours loses against another (ADD)");
        assert_eq!(
            losses(&[("ours", &ours), ("another", &times([90; 3], 21))]),
            "ours is the fastest in both"
        );
    }
}
