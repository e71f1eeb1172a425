//! Plots, as SVG.

use std::fmt::Write as _;

use super::{Figure, TestReport, VariantReport};
use crate::bench::metric::Metric;
use crate::bench::peers::Peer;

/// Where bars begin and end.
const LEFT: f64 = 290.0;
const RIGHT: f64 = 700.0;
const WIDTH: f64 = 860.0;
/// Height of a row of bars.
const ROW: f64 = 26.0;

/// Height of a line of text.
const LINE: f64 = 15.0;

/// Height of a plot of curves, and its margins.
const HEIGHT: f64 = 300.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 262.0;

/// A plot of a metric: bars, or curves where the variants are of several sizes.
pub(super) fn plot(test: &TestReport, metric: Metric) -> String {
    let points: Vec<_> =
        test.variants.iter().filter_map(|variant| Some((variant, of(variant, metric)?))).collect();
    if points.is_empty() {
        return String::new();
    }
    if sizes(&points).len() > 1 { curves(&points, metric) } else { bars(&points, metric) }
}

type Point<'r> = (&'r VariantReport, &'r Figure);

fn of(variant: &VariantReport, metric: Metric) -> Option<&Figure> {
    variant.figures.iter().find(|figure| figure.metric == metric)
}

/// The size of a variant's world: what it has most of.
fn size(variant: &VariantReport) -> u16 {
    variant.variant.scale.ports.max(variant.variant.scale.rules)
}

fn sizes(points: &[Point<'_>]) -> Vec<u16> {
    let mut sizes: Vec<_> = points.iter().map(|(variant, _)| size(variant)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// A bar for every variant, as long as the median; a line over the middle half of the rounds.
fn bars(points: &[Point<'_>], metric: Metric) -> String {
    let most = points.iter().map(|(_, figure)| figure.value.upper).fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| LEFT + (RIGHT - LEFT) * value / most;
    let mut rows = String::new();
    let mut top = 4.0;
    for (variant, figure) in points {
        let value = &figure.value;
        let (middle, text) = (top + ROW / 2.0 - 2.0, top + ROW / 2.0 + 2.0);
        let ratio = figure.against_first.map(|ratio| format!(" ({:.2}x)", ratio.median)).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = write!(
            rows,
            "<text x=\"{label:.0}\" y=\"{text:.0}\" text-anchor=\"end\">{name}</text>\
             <rect class=\"fill {class}\" x=\"{LEFT:.0}\" y=\"{top:.0}\" width=\"{long:.1}\" height=\"{high:.0}\"/>\
             <line class=\"range\" x1=\"{lower:.1}\" x2=\"{upper:.1}\" y1=\"{middle:.0}\" y2=\"{middle:.0}\"/>\
             <text x=\"{after:.1}\" y=\"{text:.0}\">{shown}{ratio}</text>",
            label = LEFT - 8.0,
            name = super::html::escape(&variant.name),
            class = variant.variant.peer.id(),
            long = x(value.median) - LEFT,
            high = ROW - 6.0,
            lower = x(value.lower),
            upper = x(value.upper),
            after = x(value.upper) + 6.0,
            shown = metric.show(value.median),
        );
        top += ROW;
    }
    svg(metric, top + 4.0, &rows)
}

/// A curve for every peer, on scales whose steps are factors.
fn curves(points: &[Point<'_>], metric: Metric) -> String {
    let sizes = sizes(points);
    let edge = |pick: fn(f64, f64) -> f64, of: fn(&Figure) -> f64| {
        points.iter().map(|(_, figure)| of(figure)).reduce(pick).unwrap_or(1.0).max(f64::MIN_POSITIVE)
    };
    let (least, most) =
        (edge(f64::min, |figure| figure.value.lower), edge(f64::max, |figure| figure.value.upper));
    // Whole powers of ten above and below, so that the same figure is never a cliff on one plot and flat on another.
    let (low, high) = (least.log10().floor(), most.log10().ceil().max(least.log10().floor() + 1.0));
    let widest = f64::from(sizes.last().copied().unwrap_or(1)).log10().max(1.0);
    let x = |size: u16| 80.0 + (RIGHT - 80.0) * f64::from(size).log10() / widest;
    let y = |value: f64| BOTTOM - (BOTTOM - TOP) * (value.log10() - low) / (high - low);
    let mut inside = String::new();
    let mut power = low;
    while power <= high {
        let (value, at) = (10_f64.powf(power), y(10_f64.powf(power)));
        let _ = write!(
            inside,
            "<line class=\"grid\" x1=\"80\" x2=\"{RIGHT:.0}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"72\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            at + 4.0
        );
        power += 1.0;
    }
    for size in &sizes {
        let _ = write!(
            inside,
            "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{size}</text>",
            x(*size),
            BOTTOM + 20.0
        );
    }
    let mut labels = Vec::new();
    for peer in Peer::ALL {
        let own: Vec<_> = points.iter().filter(|(variant, _)| variant.variant.peer == peer).collect();
        let Some((end, end_figure)) = own.last() else { continue };
        let at =
            |(variant, figure): &&Point<'_>| format!("{:.1},{:.1}", x(size(variant)), y(figure.value.median));
        let line: Vec<_> = own.iter().map(at).collect();
        let _ = write!(inside, "<polyline class=\"line {}\" points=\"{}\"/>", peer.id(), line.join(" "));
        for (variant, figure) in &own {
            let (at, value) = (x(size(variant)), &figure.value);
            let _ = write!(
                inside,
                "<line class=\"line {}\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                peer.id(),
                y(value.lower),
                y(value.upper)
            );
        }
        labels.push((y(end_figure.value.median) + 4.0, x(size(end)) + 8.0, peer));
    }
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut above = f64::MIN;
    for (own, x, peer) in labels {
        // Names of curves that end together stand below each other, in the order of the curves.
        above = own.max(above + LINE);
        let _ = write!(inside, "<text class=\"end {0}\" x=\"{x:.1}\" y=\"{above:.1}\">{0}</text>", peer.id());
    }
    svg(metric, HEIGHT, &inside)
}

fn svg(metric: Metric, height: f64, inside: &str) -> String {
    let better = if metric.is_cost() { "less is better" } else { "more is better" };
    format!(
        "<figure><figcaption>{metric}, {better}</figcaption>\
         <svg viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" aria-label=\"{metric}\">{inside}</svg></figure>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::measured;
    use super::*;
    use crate::bench::plan::Scale;

    #[test]
    fn variants_of_one_size_are_bars() {
        let svg = plot(&TestReport::new(&measured()), Metric::P50Us);
        assert_eq!((svg.matches("<rect").count(), svg.matches("class=\"range\"").count()), (2, 2));
        assert!(svg.contains("10.00 (2.00x)"), "{svg}");
        // The bridge takes twice as long; its slowest round would be the right edge.
        assert!(svg.contains("class=\"fill bridge\"") && svg.contains("less is better"));
    }

    #[test]
    fn variants_of_several_sizes_are_curves() {
        let mut measured = measured();
        for variant in measured.test.variants.clone() {
            let large = super::super::Variant { scale: Scale::ports(10_000), ..variant };
            measured.test.variants.push(large);
            if let Some(rounds) = measured.rounds.get(&variant).cloned() {
                measured.rounds.insert(large, rounds);
            }
        }
        let svg = plot(&TestReport::new(&measured), Metric::P50Us);
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<rect").count()), (2, 0));
        assert!(svg.contains(">10000</text>"), "{svg}");
    }

    #[test]
    fn nothing_measured_is_no_plot() {
        assert_eq!(plot(&TestReport::new(&measured()), Metric::Milliseconds), "");
    }
}
