//! A run in words and tables.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use super::super::table::Table;
use crate::bench::plan::Settings;
use crate::bench::report::{COMPARED, Figure, Report, TestReport, VariantReport};
use crate::bench::{Metric, Progress, Spread};

/// The figures of tables, in the order of their columns.
const FIGURES: [Metric; 8] = [
    Metric::P50Us,
    Metric::P99Us,
    Metric::PerSecond,
    Metric::GigabitsPerSecond,
    Metric::CpuSecondsPerGigabyte,
    Metric::LostPercent,
    Metric::NsPerPacket,
    Metric::Milliseconds,
];

/// The whole report.
pub(super) fn text(report: &Report) -> String {
    let mut text = format!("netfast {} on {}\n", report.version, report.machine.line());
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{} rounds of {} ms; figures are medians, RANGE holds the middle half of the rounds; ratios are made within a round, above 1 is better",
        report.rounds, report.slice_ms
    );
    if report.machine.is_busy() {
        text.push_str("the machine had other things to do: absolute figures are rough, and ratios less so\n");
    }
    if !report.is_complete {
        text.push_str("it was stopped before its end: what follows is what had been measured by then\n");
    }
    text.push('\n');
    for peer in &report.peers {
        let _ = writeln!(text, "{:16} {}", peer.peer, peer.about);
    }
    for test in &report.tests {
        let _ = write!(text, "\n{}\n{}", test.title, table(test));
        for left in &test.left_out {
            let _ = writeln!(text, "  left out: {}: {}", left.variant.peer, left.why);
        }
        for loss in &test.losses {
            let _ = writeln!(text, "  netfast loses: {loss}");
        }
    }
    text.push_str(&costs(report));
    text
}

fn table(test: &TestReport) -> String {
    let mut table = Table::new([
        "WHO",
        "P50 µs",
        "P99 µs",
        "PER SECOND",
        "GBIT/S",
        "CPU S/GB",
        "LOST %",
        "NS/PACKET",
        "MS",
        "RANGE",
        "AGAINST FIRST",
        "NETFAST AGAINST IT",
    ])
    .right(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    for variant in &test.variants {
        let [p50, p99, rate, gigabits, cpu, lost, ns, ms] = FIGURES.map(|metric| median(variant, metric));
        let range =
            variant.figures.first().map(|figure| range(figure.metric, &figure.value)).unwrap_or_default();
        let first = ratios(variant, |figure| figure.against_first);
        let netfast = ratios(variant, |figure| figure.netfast_against_it);
        table.row([variant.name.clone(), p50, p99, rate, gigabits, cpu, lost, ns, ms, range, first, netfast]);
    }
    if table.is_empty() { String::new() } else { table.render("  ") }
}

fn median(variant: &VariantReport, metric: Metric) -> String {
    let figure = variant.figures.iter().find(|figure| figure.metric == metric);
    figure.map(|figure| metric.show(figure.value.median)).unwrap_or_default()
}

fn range(metric: Metric, spread: &Spread) -> String {
    format!("{}..{}", metric.show(spread.lower), metric.show(spread.upper))
}

fn ratios(variant: &VariantReport, of: impl Fn(&Figure) -> Option<Spread>) -> String {
    let compared = variant.figures.iter().filter(|figure| COMPARED.contains(&figure.metric));
    let ratios: Vec<_> = compared.filter_map(|figure| Some(format!("{:.2}x", of(figure)?.median))).collect();
    ratios.join(" / ")
}

/// What netfast costs by itself.
fn costs(report: &Report) -> String {
    let mut text = String::new();
    if !report.programs.is_empty() {
        let mut table = Table::new(["PROGRAM", "PACKET", "NS"]).right(&[2]);
        for program in &report.programs {
            table.row([program.program.to_owned(), program.packet.to_owned(), program.ns.to_string()]);
        }
        let _ = write!(
            text,
            "\nnetfast's programs by themselves, for a packet of an open flow\n{}",
            table.render("  ")
        );
    }
    if let Some(memory) = &report.memory {
        let _ = writeln!(
            text,
            "\nnetfast takes {} MiB of kernel memory for its maps, and {} processes",
            memory.maps.div_ceil(1 << 20),
            memory.processes
        );
    }
    text
}

/// What would be measured.
pub(super) fn plan(settings: &Settings) -> String {
    let mut table = Table::new(["TEST", "WHAT", "ON"]);
    for test in &settings.tests {
        let peers: BTreeSet<_> = test.variants.iter().map(|variant| variant.peer).collect();
        let peers: Vec<_> = peers.iter().map(ToString::to_string).collect();
        table.row([test.id.clone(), test.title.clone(), peers.join(", ")]);
    }
    table.render("")
}

/// How far a run has come.
pub(super) fn progress(progress: &Progress) -> String {
    let Progress { doing, done, all, left } = progress;
    let left = left.map(|left| format!(", about {} left", span(left))).unwrap_or_default();
    format!("[{done}/{all}] {doing}{left}")
}

fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 100 { format!("{} s", seconds.max(1)) } else { format!("{} min", seconds.div_ceil(60)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::plan::Depth;
    use crate::bench::report::testing::report;

    #[test]
    fn the_table_says_who_is_how_fast_and_where_netfast_loses() {
        let text = text(&report());
        let wanted = "
container to container: TCP_RR
  WHO      P50 µs  PER SECOND         RANGE  AGAINST FIRST  NETFAST AGAINST IT
  bridge    20.00       50000  15.00..30.00              -               2.00x
  netfast   10.00       25000   7.50..15.00          2.00x                   -
  left out: iptables-legacy: it is not installed
  netfast loses: netfast against bridge: 0.50x in per second

netfast's programs by themselves, for a packet of an open flow
  PROGRAM        PACKET            NS
  from_endpoint  established TCP  123

netfast takes 42 MiB of kernel memory for its maps, and 0 processes
";
        assert!(text.ends_with(wanted), "{text}");
        assert!(
            text.starts_with("netfast 0.1.0 on Best <CPU>, virtual machine, 2 CPUs, Linux 6.18 x86_64"),
            "{text}"
        );
        assert!(text.contains("it was stopped before its end"), "{text}");
    }

    #[test]
    fn the_plan_names_every_test() {
        let plan = plan(&Settings::new(Depth::Full));
        for wanted in
            ["between/tcp-rr", "published/udp-rr", "ports/tcp-crr", "rules/tcp-rr", "drop", "setup/ports"]
        {
            assert!(plan.lines().any(|line| line.starts_with(&format!("{wanted} "))), "{wanted}: {plan}");
        }
    }

    #[test]
    fn progress_says_how_long_the_rest_takes() {
        let line = |left| {
            let doing = "TCP_RR: round 1 of 5".to_owned();
            progress(&Progress { doing, done: 3, all: 60, left })
        };
        assert_eq!(line(None), "[3/60] TCP_RR: round 1 of 5");
        assert_eq!(line(Some(Duration::from_millis(200))), "[3/60] TCP_RR: round 1 of 5, about 1 s left");
        assert_eq!(line(Some(Duration::from_secs(121))), "[3/60] TCP_RR: round 1 of 5, about 3 min left");
    }
}
