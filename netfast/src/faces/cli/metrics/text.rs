//! The metrics of an instance, in the text that Prometheus reads.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, Result};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::reconcile::view::{CountView, InstanceView};

/// Names and values.
type Labels = Vec<(&'static str, String)>;

/// What the text is called in HTTP.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of an instance; of one that is not up, only that it is not.
pub(super) fn text(view: &InstanceView) -> Result<String> {
    let mut metrics = Metrics::default();
    metrics.gauge("up", "Whether the instance is up", view.up.into());
    if view.up {
        metrics.health(view);
        metrics.packets(view);
        metrics.endpoints(view);
        metrics.flows(view);
        metrics.maps(view);
    }
    let mut registry = Registry::with_prefix("netfast");
    registry.register_collector(Box::new(metrics));
    let mut text = String::new();
    encode(&mut text, &registry).context("write metrics")?;
    Ok(text)
}

/// One metric, with a value for each of its sets of labels.
#[derive(Debug)]
struct Metric {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    values: Vec<(Labels, u64)>,
}

/// Metrics in the order in which they are shown.
#[derive(Debug, Default)]
struct Metrics(Vec<Metric>);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Metric { name, help, kind, values } in &self.0 {
            let mut metric = encoder.encode_descriptor(name, help, None, *kind)?;
            match values.as_slice() {
                [(labels, value)] if labels.is_empty() => encode_value(*kind, *value, metric)?,
                values => {
                    for (labels, value) in values {
                        encode_value(*kind, *value, metric.encode_family(labels)?)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn encode_value(kind: MetricType, value: u64, encoder: MetricEncoder<'_>) -> fmt::Result {
    match kind {
        MetricType::Counter => ConstCounter::new(value).encode(encoder),
        _ => ConstGauge::new(value).encode(encoder),
    }
}

impl Metrics {
    fn health(&mut self, view: &InstanceView) {
        let count = |number: usize| number.try_into().unwrap_or(u64::MAX);
        self.gauge("problems", "Things that are not as they should be", count(view.problems.len()));
        self.gauge("generation", "Number of the world in force", view.generation.into());
        self.gauge("policies", "Policies in force", count(view.policies.len()));
        self.gauge("monitors", "Monitors that read events", count(view.monitors));
        self.gauge("denied_sources", "Blocks in the deny list", count(view.deny.len()));
        let alive = view.links.iter().map(|link| {
            let direction = link.direction.unwrap_or_default();
            let labels = vec![
                ("program", link.program.clone()),
                ("target", link.target.clone()),
                ("direction", direction.to_owned()),
            ];
            (labels, link.alive.into())
        });
        self.gauges("link_alive", "Whether a program is in its place", alive);
    }

    fn packets(&mut self, view: &InstanceView) {
        let paths = &view.counters.paths;
        self.counters(
            "packets",
            "Packets let through, by the way they went",
            by("path", paths, |c| c.packets),
        );
        self.counters(
            "bytes",
            "Bytes let through, with their Ethernet headers",
            by("path", paths, |c| c.bytes),
        );
        let drops = &view.counters.drops;
        self.counters("dropped_packets", "Packets dropped, by reason", by("reason", drops, |c| c.packets));
        self.counters("dropped_bytes", "Bytes dropped, by reason", by("reason", drops, |c| c.bytes));
    }

    fn endpoints(&mut self, view: &InstanceView) {
        let labels = |namespace: &str, name: &str| {
            vec![("namespace", namespace.to_owned()), ("endpoint", name.to_owned())]
        };
        let ready = view.endpoints.iter().map(|e| (labels(&e.namespace, &e.name), e.ready.into()));
        self.gauges("endpoint_ready", "Whether packets of the endpoint pass", ready);
        let drops = view.endpoints.iter().flat_map(|endpoint| {
            endpoint.drops.iter().map(move |(reason, packets)| {
                let mut labels = labels(&endpoint.namespace, &endpoint.name);
                labels.push(("reason", reason.clone()));
                (labels, *packets)
            })
        });
        self.counters("endpoint_dropped_packets", "Packets dropped on account of an endpoint", drops);
    }

    fn flows(&mut self, view: &InstanceView) {
        let Some(flows) = &view.flows else { return };
        let table = |settled, new| [("settled", settled), ("new", new)].map(|(t, n)| (of("table", t), n));
        self.gauges("flow_entries", "Entries of flows", table(flows.settled, flows.new));
        let sizes = table(flows.settled_size.into(), flows.new_size.into());
        self.gauges("flow_entries_limit", "Entries of flows there may be", sizes);
        for (name, help, count) in [
            ("flow_entries_made", "Entries of flows ever made", flows.made),
            ("flow_entries_removed", "Entries of flows that were over or settled", flows.removed),
            ("flow_entries_flushed", "Entries of flows removed by netfast flow flush", flows.flushed),
            ("flow_entries_evicted", "Entries of flows that gave way as a table was full", flows.evicted),
        ] {
            self.counters(name, help, [(Labels::new(), count)]);
        }
    }

    fn maps(&mut self, view: &InstanceView) {
        let name = |map: &str| of("map", map);
        let used = view.maps.iter().filter_map(|map| Some((name(map.name), map.used?.into())));
        self.gauges("map_rows", "Rows that a map holds", used);
        let sizes = view.maps.iter().map(|map| (name(map.name), map.size.into()));
        self.gauges("map_rows_limit", "Rows that a map may hold", sizes);
        let bytes = view.maps.iter().map(|map| (name(map.name), map.bytes));
        self.gauges("map_bytes", "Kernel memory of a map", bytes);
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.gauges(name, help, [(Labels::new(), value)]);
    }

    fn gauges(
        &mut self,
        name: &'static str,
        help: &'static str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        self.add(name, help, MetricType::Gauge, values);
    }

    fn counters(
        &mut self,
        name: &'static str,
        help: &'static str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        self.add(name, help, MetricType::Counter, values);
    }

    fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: MetricType,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        self.0.push(Metric { name, help, kind, values: values.into_iter().collect() });
    }
}

fn of(key: &'static str, value: &str) -> Labels {
    vec![(key, value.to_owned())]
}

fn by(
    key: &'static str,
    counts: &BTreeMap<String, CountView>,
    count: impl Fn(&CountView) -> u64,
) -> impl Iterator<Item = (Labels, u64)> {
    counts.iter().map(move |(value, counts)| (of(key, value), count(counts)))
}
