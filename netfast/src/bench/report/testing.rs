//! A run that was never made, for tests.

use super::*;
use crate::bench::plan::{Scale, Way, Work};
use crate::bench::workloads::Workload;

/// netfast takes half the bridge's time, on a machine that gets slower; and does half as much, which cannot be.
pub(in crate::bench) fn measured() -> Measured {
    let of = |peer| Variant { peer, scale: Scale::ONE, way: Way::Between };
    let test = Test {
        id: "between/tcp-rr".to_owned(),
        title: "container to container: TCP_RR".to_owned(),
        work: Work::Traffic(Workload::TcpRr),
        variants: vec![of(Peer::Bridge), of(Peer::Netfast), of(Peer::IptablesLegacy)],
    };
    let rounds = |p50: f64, rate: f64| -> BTreeMap<usize, Values> {
        let slower = [0.5, 1.0, 2.0];
        let values = slower
            .map(|slower| Values::from([(Metric::P50Us, p50 * slower), (Metric::PerSecond, rate / slower)]));
        values.into_iter().enumerate().collect()
    };
    Measured {
        rounds: [(of(Peer::Bridge), rounds(20.0, 50_000.0)), (of(Peer::Netfast), rounds(10.0, 25_000.0))]
            .into(),
        left_out: [(of(Peer::IptablesLegacy), "it is not installed".to_owned())].into(),
        test,
    }
}

/// The run that holds it.
pub(crate) fn report() -> Report {
    let machine = Machine {
        processor: "Best <CPU>".to_owned(),
        cpus: 2,
        latency_cpu: 1,
        stream_cpus: [1, 0],
        kernel: "6.18".to_owned(),
        architecture: "x86_64".to_owned(),
        is_virtual: true,
        load_before: "0.10".to_owned(),
    };
    let peer = |peer: Peer| PeerReport { peer, about: peer.about(), br_netfilter: peer.is_filtered() };
    Report {
        schema: SCHEMA,
        version: "0.1.0",
        machine,
        is_complete: false,
        seconds: 61,
        rounds: 3,
        slice_ms: 100,
        peers: [Peer::Bridge, Peer::Netfast].map(peer).into(),
        tests: vec![TestReport::new(&measured())],
        programs: vec![ProgramReport { program: "from_endpoint", packet: "established TCP", ns: 123 }],
        memory: Some(MemoryReport { maps: 42 << 20, processes: 0 }),
    }
}
