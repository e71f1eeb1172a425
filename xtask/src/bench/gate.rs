//! Floors: how many times better than another netfast must be, by the medians of ratios within one run.

use std::collections::BTreeMap;

use serde_json::Value;

/// A floor: in a test, one variant against another, by a metric.
#[derive(Debug)]
pub(super) struct Floor {
    pub(super) test: &'static str,
    own: &'static str,
    other: &'static str,
    metric: &'static str,
    least: f64,
    /// It holds where it was not measured: runtimes are not installed everywhere.
    is_optional: bool,
}

const P50: &str = "p50_us";

const fn floor(test: &'static str, own: &'static str, other: &'static str, least: f64) -> Floor {
    Floor { test, own, other, metric: P50, least, is_optional: false }
}

const fn runtime(test: &'static str, own: &'static str, other: &'static str, least: f64) -> Floor {
    Floor { is_optional: true, ..floor(test, own, other, least) }
}

/// What must hold on two CPUs. Where less is better, 3 is a third of the cost.
pub(super) const FLOORS: &[Floor] = &[
    floor("between/tcp-rr", "netfast", "bridge", 1.00),
    floor("between/tcp-crr", "netfast", "bridge", 0.97),
    floor("between/tcp-rr", "netfast", "bridge-filtered", 1.06),
    floor("between/tcp-crr", "netfast", "bridge-filtered", 1.04),
    floor("between/tcp-rr", "netfast", "iptables-nft", 1.25),
    floor("between/tcp-crr", "netfast", "iptables-nft", 1.25),
    floor("between/tcp-rr", "netfast", "iptables-legacy", 1.20),
    floor("between/tcp-crr", "netfast", "iptables-legacy", 1.20),
    floor("between/tcp-rr", "netfast", "direct", 0.88),
    floor("between/tcp-crr", "netfast", "direct", 0.86),
    floor("published/tcp-rr", "netfast", "iptables-nft", 1.25),
    floor("published/tcp-crr", "netfast", "iptables-nft", 1.25),
    floor("published/tcp-rr", "netfast", "iptables-legacy", 1.20),
    floor("published/tcp-crr", "netfast", "iptables-legacy", 1.20),
    floor("ports/tcp-crr", "netfast, 10000 ports", "iptables-nft, 10000 ports", 9.0),
    floor("ports/tcp-crr", "netfast, 10000 ports", "iptables-legacy, 10000 ports", 3.0),
    floor("ports/tcp-rr", "netfast, 10000 ports", "netfast, 1 port", 0.97),
    floor("ports/tcp-crr", "netfast, 10000 ports", "netfast, 1 port", 0.95),
    floor("rules/tcp-rr", "netfast, 10000 rules", "netfast, 1 rule", 0.97),
    floor("rules/tcp-crr", "netfast, 10000 rules", "netfast, 1 rule", 0.95),
    floor("outward/tcp-crr", "netfast", "iptables-nft", 1.2),
    floor("outward/tcp-crr", "netfast", "iptables-legacy", 1.2),
    floor("localhost/tcp-rr", "netfast, host to 127.0.0.1:published", "netfast, host to container", 0.95),
    floor("localhost/tcp-crr", "netfast, host to 127.0.0.1:published", "netfast, host to container", 0.95),
    floor(
        "hairpin/tcp-rr",
        "netfast, container to host's address:published",
        "netfast, container to container",
        0.95,
    ),
    floor(
        "hairpin/tcp-crr",
        "netfast, container to host's address:published",
        "netfast, container to container",
        0.95,
    ),
    runtime(
        "localhost/tcp-rr",
        "netfast, host to 127.0.0.1:published",
        "dockerd, host to 127.0.0.1:published",
        10.0,
    ),
    runtime(
        "localhost/tcp-crr",
        "netfast, host to 127.0.0.1:published",
        "dockerd, host to 127.0.0.1:published",
        10.0,
    ),
    runtime(
        "hairpin/tcp-rr",
        "netfast, container to host's address:published",
        "dockerd, container to host's address:published",
        10.0,
    ),
    runtime(
        "hairpin/tcp-crr",
        "netfast, container to host's address:published",
        "dockerd, container to host's address:published",
        10.0,
    ),
    // No more than 1.03 times the CPU.
    Floor {
        metric: "cpu_seconds_per_gigabyte",
        ..floor("between/tcp-stream", "netfast", "iptables-nft", 1.0 / 1.03)
    },
    Floor {
        metric: "cpu_seconds_per_gigabyte",
        ..floor("between/tcp-stream", "netfast", "iptables-legacy", 1.0 / 1.03)
    },
    Floor { metric: "ns_per_packet", ..floor("drop", "netfast", "iptables-nft", 3.0) },
    Floor { metric: "ns_per_packet", ..floor("drop", "netfast", "iptables-legacy", 3.0) },
    Floor { metric: "milliseconds", ..floor("setup/ports", "netfast", "iptables-nft", 5.0) },
];

/// What became of a floor.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) text: String,
    pub(super) holds: bool,
}

/// Holds a report against all floors.
pub(super) fn judge(report: &Value) -> Vec<Verdict> {
    FLOORS.iter().map(|floor| floor.judge(report)).collect()
}

impl Floor {
    fn judge(&self, report: &Value) -> Verdict {
        let Self { test, own, other, metric, least, is_optional } = self;
        let what = format!("{test}: {own} against {other}, {metric}");
        let ratios = self.ratios(report);
        match median(ratios) {
            Some(ratio) => {
                Verdict { text: format!("{what}: {ratio:.3}x, at least {least:.2}x"), holds: ratio >= *least }
            }
            None => {
                Verdict { text: format!("{what}: not measured, at least {least:.2}x"), holds: *is_optional }
            }
        }
    }

    /// How many times better in each round. Every metric that has a floor is a cost.
    fn ratios(&self, report: &Value) -> Vec<f64> {
        let (own, other) = (self.rounds(report, self.own), self.rounds(report, self.other));
        own.iter().filter_map(|(round, own)| Some(other.get(round)? / own)).collect()
    }

    fn rounds(&self, report: &Value, variant: &str) -> BTreeMap<String, f64> {
        let find = |list: &Value, key: &str, wanted: &str| -> Option<Value> {
            list.as_array()?.iter().find(|entry| entry[key] == wanted).cloned()
        };
        let figure = find(&report["tests"], "id", self.test)
            .and_then(|test| find(&test["variants"], "name", variant))
            .and_then(|variant| find(&variant["figures"], "metric", self.metric));
        let rounds = figure.as_ref().and_then(|figure| figure["rounds"].as_object()).into_iter().flatten();
        rounds.filter_map(|(round, value)| Some((round.clone(), value.as_f64()?))).collect()
    }
}

fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let (below, above) = (numbers.len().checked_sub(1)? / 2, numbers.len() / 2);
    Some(f64::midpoint(*numbers.get(below)?, *numbers.get(above)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(netfast: [f64; 3], bridge: [f64; 3]) -> Value {
        let variant = |name: &str, [a, b, c]: [f64; 3]| json!({"name": name, "figures": [{"metric": "p50_us", "rounds": {"0": a, "1": b, "2": c}}]});
        json!({"tests": [{"id": "between/tcp-rr", "variants": [variant("bridge", bridge), variant("netfast", netfast)]}]})
    }

    fn first(report: &Value) -> Verdict {
        judge(report).into_iter().next().unwrap()
    }

    #[test]
    fn a_ratio_below_its_floor_does_not_hold() {
        let slow = first(&report([11.0, 20.0, 12.0], [10.0, 10.0, 12.0]));
        assert!(!slow.holds);
        assert_eq!(slow.text, "between/tcp-rr: netfast against bridge, p50_us: 0.909x, at least 1.00x");
        assert!(first(&report([10.0, 20.0, 12.0], [10.0, 10.0, 12.0])).holds);
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        let verdicts = judge(&json!({"tests": []}));
        assert_eq!(verdicts.len(), FLOORS.len());
        assert!(verdicts.iter().all(|verdict| verdict.text.contains("not measured")));
        // But for real runtimes, which are not everywhere.
        let holding: Vec<_> = verdicts.iter().filter(|verdict| verdict.holds).collect();
        assert!(
            holding.len() == 4 && holding.iter().all(|verdict| verdict.text.contains("dockerd")),
            "{holding:?}"
        );
    }
}
