//! What came of a run: figures, and how they compare. Ratios are made within a round, as the machine is another one from
//! minute to minute, and then the middle of them is told.

mod html;
mod plot;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use self::html::html;
use super::machine::Machine;
use super::metric::Metric;
use super::peers::Peer;
use super::plan::{Test, Variant};
use super::stats::Spread;
use super::workloads::Values;

/// Version of the form of the JSON.
pub const SCHEMA: u32 = 1;

/// What was measured of a test: for every variant the rounds, in their order.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) test: Test,
    pub(super) rounds: BTreeMap<Variant, BTreeMap<usize, Values>>,
    /// Variants that could not be measured, and why.
    pub(super) left_out: BTreeMap<Variant, String>,
}

/// The whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The version of netfast.
    pub version: &'static str,
    /// Where it ran.
    pub machine: Machine,
    /// Whether it came to its end, instead of being stopped.
    pub is_complete: bool,
    /// How long it took, in seconds.
    pub seconds: u64,
    /// Rounds there were to be.
    pub rounds: usize,
    /// How long each measurement took, in milliseconds.
    pub slice_ms: u64,
    /// Who was measured.
    pub peers: Vec<PeerReport>,
    /// What was measured of them.
    pub tests: Vec<TestReport>,
    /// What the programs cost without the rest of the way.
    pub programs: Vec<ProgramReport>,
    /// What netfast's maps take.
    pub memory: Option<MemoryReport>,
}

/// Somebody who was measured.
#[derive(Clone, Debug, Serialize)]
pub struct PeerReport {
    /// Who.
    pub peer: Peer,
    /// What it is.
    pub about: &'static str,
    /// Whether bridged packets go to iptables in its host's namespace.
    pub br_netfilter: bool,
}

/// A test.
#[derive(Clone, Debug, Serialize)]
pub struct TestReport {
    /// What it is called by programs.
    pub id: String,
    /// What it is called by people.
    pub title: String,
    /// What was measured, the first being what counts.
    pub metrics: Vec<Metric>,
    /// On what; all are compared to the first.
    pub variants: Vec<VariantReport>,
    /// On what it could not be measured.
    pub left_out: Vec<LeftOut>,
    /// Where netfast is behind another by more than [`TOLERANCE`], in words.
    pub losses: Vec<String>,
}

/// A variant of a test.
#[derive(Clone, Debug, Serialize)]
pub struct VariantReport {
    /// Which.
    #[serde(flatten)]
    pub variant: Variant,
    /// What it is called in its test.
    pub name: String,
    /// Its figures.
    pub figures: Vec<Figure>,
}

/// A figure of a variant.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Of what.
    pub metric: Metric,
    /// How much.
    pub value: Spread,
    /// How many times better than the first variant of the test, above 1 whether more or less of it is better.
    pub against_first: Option<Spread>,
    /// How many times better netfast is than this variant. `None` where netfast was not measured alike.
    pub netfast_against_it: Option<Spread>,
    /// What each round came to.
    pub rounds: BTreeMap<usize, f64>,
}

/// A variant that was not measured.
#[derive(Clone, Debug, Serialize)]
pub struct LeftOut {
    /// Which.
    #[serde(flatten)]
    pub variant: Variant,
    /// Why.
    pub why: String,
}

/// What a program costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProgramReport {
    /// Its name.
    pub program: &'static str,
    /// What the packet is.
    pub packet: &'static str,
    /// Nanoseconds for each packet.
    pub ns: u64,
}

/// What netfast takes in memory. There is no process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryReport {
    /// Kernel memory of all maps in bytes, with the limits an instance has by default.
    pub maps: u64,
    /// Processes that must run for packets to move.
    pub processes: usize,
}

/// The metrics that are compared: the others say the same in other words, or are told only.
pub const COMPARED: [Metric; 5] = [
    Metric::P50Us,
    Metric::GigabitsPerSecond,
    Metric::CpuSecondsPerGigabyte,
    Metric::NsPerPacket,
    Metric::Milliseconds,
];

/// How far behind, in three rounds of four, is told as a loss: less is not to be told from noise.
pub const TOLERANCE: f64 = 0.02;

impl TestReport {
    /// Makes figures of what was measured.
    pub(super) fn new(measured: &Measured) -> Self {
        let Measured { test, rounds, left_out } = measured;
        let metrics: BTreeSet<Metric> =
            rounds.values().flat_map(BTreeMap::values).flat_map(BTreeMap::keys).copied().collect();
        let order: Vec<_> = test.variants.iter().filter(|variant| rounds.contains_key(variant)).collect();
        let names = Names::of(test);
        let variants: Vec<_> = order
            .iter()
            .map(|variant| {
                let figure = |metric: &Metric| figure(measured, *order[0], **variant, *metric);
                let figures = metrics.iter().filter_map(figure).collect();
                VariantReport { variant: **variant, name: names.name(**variant), figures }
            })
            .collect();
        Self {
            id: test.id.clone(),
            title: test.title.clone(),
            metrics: metrics.into_iter().collect(),
            losses: variants.iter().filter_map(loss).collect(),
            variants,
            left_out: left_out
                .iter()
                .map(|(variant, why)| LeftOut { variant: *variant, why: why.clone() })
                .collect(),
        }
    }

    /// A figure of a variant, by the name of the variant.
    pub fn figure(&self, name: &str, metric: Metric) -> Option<&Figure> {
        let variant = self.variants.iter().find(|variant| variant.name == name)?;
        variant.figures.iter().find(|figure| figure.metric == metric)
    }
}

fn figure(measured: &Measured, first: Variant, variant: Variant, metric: Metric) -> Option<Figure> {
    let of = |variant: Variant| -> BTreeMap<usize, f64> {
        let rounds = measured.rounds.get(&variant).into_iter().flatten();
        rounds.filter_map(|(round, values)| Some((*round, *values.get(&metric)?))).collect()
    };
    let own = of(variant);
    let against = |better: &BTreeMap<usize, f64>, worse: &BTreeMap<usize, f64>| {
        Spread::of(better.iter().filter_map(|(round, own)| metric.advantage(*own, *worse.get(round)?)))
    };
    let netfast = of(Variant { peer: Peer::Netfast, ..variant });
    let netfast_against_it = if variant.peer == Peer::Netfast { None } else { against(&netfast, &own) };
    Some(Figure {
        metric,
        value: Spread::of(own.values().copied())?,
        against_first: if variant == first { None } else { against(&own, &of(first)) },
        netfast_against_it,
        rounds: own,
    })
}

/// Where netfast is behind a variant. The limit is not there to be beaten.
fn loss(variant: &VariantReport) -> Option<String> {
    if variant.variant.peer == Peer::Direct {
        return None;
    }
    let behind = |figure: &Figure| {
        let is_behind = |ratio: &Spread| ratio.median < 1.0 - TOLERANCE && ratio.upper < 1.0;
        let ratio = figure.netfast_against_it.filter(is_behind)?;
        Some(format!("{:.2}x in {}", ratio.median, figure.metric))
    };
    let behind: Vec<_> = variant.figures.iter().filter_map(behind).collect();
    (!behind.is_empty()).then(|| format!("netfast against {}: {}", variant.name, behind.join(", ")))
}

/// What variants are called: by all that tells those of one test apart.
struct Names {
    by_way: bool,
    by_ports: bool,
    by_rules: bool,
}

impl Names {
    fn of(test: &Test) -> Self {
        let differ =
            |key: fn(&Variant) -> u32| test.variants.iter().map(key).collect::<BTreeSet<_>>().len() > 1;
        Self {
            by_way: test.variants.iter().map(|variant| variant.way).collect::<BTreeSet<_>>().len() > 1,
            by_ports: differ(|variant| variant.scale.ports.into()),
            by_rules: differ(|variant| variant.scale.rules.into()),
        }
    }

    fn name(&self, variant: Variant) -> String {
        let plural =
            |count: u16, noun: &str| format!(", {count} {noun}{}", if count == 1 { "" } else { "s" });
        let mut name = variant.peer.to_string();
        if self.by_ports {
            name.push_str(&plural(variant.scale.ports, "port"));
        }
        if self.by_rules {
            name.push_str(&plural(variant.scale.rules, "rule"));
        }
        if self.by_way {
            name = format!("{name}, {}", variant.way);
        }
        name
    }
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests {
    use super::testing::{measured, report};
    use super::*;

    #[test]
    fn ratios_are_made_within_a_round() {
        // The machine gets slower from round to round; who is how much faster stays.
        let report = TestReport::new(&measured());
        let figure = report.figure("netfast", Metric::P50Us).unwrap();
        assert_eq!(figure.value, Spread { lower: 7.5, median: 10.0, upper: 15.0, count: 3 });
        assert_eq!(figure.against_first.unwrap(), Spread { lower: 2.0, median: 2.0, upper: 2.0, count: 3 });
        let bridge = report.figure("bridge", Metric::P50Us).unwrap();
        assert_eq!(bridge.netfast_against_it, figure.against_first);
        assert_eq!(bridge.against_first, None);
    }

    #[test]
    fn a_round_that_one_of_two_missed_is_not_compared() {
        let mut measured = measured();
        let netfast = measured.test.variants[1];
        measured.rounds.get_mut(&netfast).unwrap().remove(&1);
        let figure = TestReport::new(&measured).figure("netfast", Metric::P50Us).unwrap().clone();
        assert_eq!((figure.value.count, figure.against_first.unwrap().count), (2, 2));
    }

    #[test]
    fn losses_are_told_beyond_what_is_noise() {
        assert_eq!(TestReport::new(&measured()).losses, ["netfast against bridge: 0.50x in per second"]);
    }

    #[test]
    fn the_json_has_every_round_and_says_what_was_left_out() {
        let value = serde_json::to_value(report()).unwrap();
        assert_eq!(value["schema"], 1);
        let test = &value["tests"][0];
        assert_eq!(test["id"], "between/tcp-rr");
        let variant = &test["variants"][1];
        assert_eq!(
            (&variant["peer"], &variant["ports"], &variant["way"]),
            (&"netfast".into(), &1.into(), &"between".into())
        );
        assert_eq!(variant["figures"][0]["metric"], "p50_us");
        assert_eq!(variant["figures"][0]["rounds"]["1"], 10.0);
        assert_eq!(test["left_out"][0]["why"], "it is not installed");
    }
}
