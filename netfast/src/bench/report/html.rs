//! The report as a page for browsers, in one file that loads nothing.

use std::fmt::Write as _;

use super::{COMPARED, Figure, Report, TestReport, VariantReport, plot};
use crate::bench::stats::Spread;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");

/// The page.
pub fn html(report: &Report) -> String {
    let mut body = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        body,
        "<h1>netfast {}, measured</h1>\n<p>{}</p>\n<p>{} rounds of {} ms, {} seconds in all. Figures are medians; the thin \
         line over a bar, and the range in a table, hold the middle half of the rounds. Ratios are made within a round, and are \
         above 1 where something is better, whether more or less of it is.</p>\n",
        escape(report.version),
        escape(&report.machine.line()),
        report.rounds,
        report.slice_ms,
        report.seconds
    );
    if report.machine.is_busy() {
        body.push_str("<p class=\"loss\">The machine had other things to do: absolute figures are rough, and ratios less so.</p>\n");
    }
    if !report.is_complete {
        body.push_str(
            "<p class=\"loss\">It was stopped before its end: this is what had been measured by then.</p>\n",
        );
    }
    body.push_str("<dl>\n");
    for peer in &report.peers {
        let _ = writeln!(body, "<dt class=\"{0}\">{0}</dt><dd>{1}</dd>", peer.peer.id(), escape(peer.about));
    }
    body.push_str("</dl>\n");
    for test in &report.tests {
        section(&mut body, test);
    }
    costs(&mut body, report);
    PAGE.replace("/*STYLE*/", STYLE).replacen("<!--BODY-->", &body, 1)
}

fn section(body: &mut String, test: &TestReport) {
    let _ = writeln!(body, "<section id=\"{}\">\n<h2>{}</h2>", escape(&test.id), escape(&test.title));
    for metric in COMPARED {
        body.push_str(&plot::plot(test, metric));
    }
    for loss in &test.losses {
        let _ = writeln!(body, "<p class=\"loss\">netfast loses: {}</p>", escape(loss));
    }
    for left in &test.left_out {
        let _ = writeln!(body, "<p>Left out: {}: {}</p>", left.variant.peer, escape(&left.why));
    }
    if !test.variants.is_empty() {
        table(body, test);
    }
    body.push_str("</section>\n");
}

fn table(body: &mut String, test: &TestReport) {
    body.push_str("<details><summary>figures</summary><table>\n<tr><th>who</th>");
    for metric in &test.metrics {
        let _ = write!(body, "<th>{metric}</th><th>range</th>");
    }
    body.push_str("<th>against first</th><th>netfast against it</th></tr>\n");
    for variant in &test.variants {
        let _ = write!(body, "<tr><td>{}</td>", escape(&variant.name));
        for metric in &test.metrics {
            match variant.figures.iter().find(|figure| figure.metric == *metric) {
                Some(Figure { value, .. }) => {
                    let [lower, median, upper] =
                        [value.lower, value.median, value.upper].map(|v| metric.show(v));
                    let _ = write!(body, "<td>{median}</td><td>{lower}..{upper}</td>");
                }
                None => body.push_str("<td></td><td></td>"),
            }
        }
        let first = ratios(variant, |figure| figure.against_first);
        let netfast = ratios(variant, |figure| figure.netfast_against_it);
        let _ = writeln!(body, "<td>{first}</td><td>{netfast}</td></tr>");
    }
    body.push_str("</table></details>\n");
}

fn ratios(variant: &VariantReport, of: impl Fn(&Figure) -> Option<Spread>) -> String {
    let compared = variant.figures.iter().filter(|figure| COMPARED.contains(&figure.metric));
    let of = |figure| {
        let ratio: Spread = of(figure)?;
        Some(format!("{:.2}x ({:.2}..{:.2})", ratio.median, ratio.lower, ratio.upper))
    };
    compared.filter_map(of).collect::<Vec<_>>().join(" / ")
}

fn costs(body: &mut String, report: &Report) {
    if !report.programs.is_empty() {
        body.push_str(
            "<section><h2>netfast's programs by themselves</h2><p>Nanoseconds for a packet of an open flow, by \
             BPF_PROG_TEST_RUN.</p><table>\n<tr><th>program</th><th>packet</th><th>ns</th></tr>\n",
        );
        for cost in &report.programs {
            let _ = writeln!(
                body,
                "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(cost.program),
                escape(cost.packet),
                cost.ns
            );
        }
        body.push_str("</table></section>\n");
    }
    if let Some(memory) = &report.memory {
        let _ = writeln!(
            body,
            "<section><h2>Memory</h2><p>netfast takes {} MiB of kernel memory for its maps, and {} processes.</p></section>",
            memory.maps.div_ceil(1 << 20),
            memory.processes
        );
    }
}

/// A text that is no markup.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::testing::report;
    use super::*;

    #[test]
    fn the_page_says_what_the_report_says_and_loads_nothing() {
        let page = html(&report());
        for wanted in [
            "Best &lt;CPU&gt;, virtual machine, 2 CPUs, Linux 6.18 x86_64",
            "It was stopped before its end",
            "netfast against bridge: 0.50x in per second",
            "iptables-legacy: it is not installed",
            "<td>from_endpoint</td><td>established TCP</td><td>123</td>",
            "42 MiB",
            "<svg",
        ] {
            assert!(page.contains(wanted), "{wanted}\n{page}");
        }
        for loading in ["src=", "href=", "@import", "url(", "<script", "/*STYLE*/", "<!--BODY-->"] {
            assert!(!page.contains(loading), "{loading}");
        }
    }

    #[test]
    fn every_peer_has_a_colour() {
        for peer in crate::bench::peers::Peer::ALL {
            assert!(STYLE.contains(&format!(".{} {{", peer.id())), "{peer}");
        }
    }
}
