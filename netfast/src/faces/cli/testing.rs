//! A view to print, for tests.

use std::collections::BTreeMap;

use crate::model::{Endpoint, EndpointId, Labels, Network};
use crate::reconcile::flows::TableView;
use crate::reconcile::view::{
    CountView, CounterView, DirectionView, EndpointView, InstanceView, IsolationView, LinkView, MapView,
    NamedPortView, NetworkView, ObjectView, PortView, ProgramView, UplinkView,
};

/// An instance with one network and one endpoint.
pub(super) fn instance() -> InstanceView {
    let link = |direction, target: &str, alive| LinkView {
        program: "from_container".to_owned(),
        hook: "tcx",
        direction,
        target: target.to_owned(),
        program_id: Some(17),
        alive,
    };
    InstanceView {
        up: true,
        state_dir: "/var/lib/netfast".into(),
        run_dir: "/run/netfast".into(),
        bpffs: "/sys/fs/bpf/netfast".into(),
        problems: vec!["the device nf2 is down".to_owned()],
        limits: vec!["the device tun0 is not covered".to_owned()],
        networks: vec![NetworkView {
            name: "lab".to_owned(),
            bridge: Some("nf-lab".to_owned()),
            subnet: Some("10.77.0.0/24".to_owned()),
            subnet6: Some("fd77::/64".to_owned()),
            gateway: "10.77.0.1".parse().ok(),
            gateway6: "fd77::1".parse().ok(),
            more: Vec::new(),
            internal: false,
            routed: false,
            mtu: 1500,
            endpoints: 1,
        }],
        endpoints: vec![endpoint()],
        ports: vec![PortView {
            host_ip: None,
            host: "8080".to_owned(),
            protocol: "tcp",
            endpoint: "web".to_owned(),
            container: "80".to_owned(),
            from: Vec::new(),
        }],
        uplinks: vec![UplinkView {
            device: "eth0".to_owned(),
            ifindex: 2,
            ip: "192.0.2.1".parse().ok(),
            ip6: None,
            deny: Some("xdp-native"),
        }],
        programs: vec![ProgramView { name: "from_container".to_owned(), id: 17, kind: "sched_cls" }],
        object: Some(ObjectView {
            digest: "0123456789abcdef".to_owned(),
            own: "fedcba9876543210",
            is_own: false,
        }),
        maps: vec![
            MapView { name: "NF_CONFIG", limit: None, size: 1, used: None, bytes: 300 },
            MapView { name: "NF_FLOW", limit: Some("flows"), size: 1024, used: Some(9), bytes: 3 << 20 },
            MapView { name: "NF_SLOT", limit: Some("endpoints"), size: 64, used: None, bytes: 1 << 19 },
        ],
        links: vec![link(Some("ingress"), "nf1", true), link(Some("ingress"), "nf2", false)],
        deny: vec!["198.51.100.0/24".to_owned()],
        policies: vec!["default/web".to_owned()],
        generation: 3,
        monitors: 1,
        flows: Some(TableView {
            settled: 4,
            settled_size: 131_072,
            new: 2,
            new_size: 32_768,
            made: 12,
            removed: 5,
            flushed: 0,
            evicted: 1,
        }),
        counters: CounterView {
            paths: BTreeMap::from([("endpoint".to_owned(), CountView { packets: 12, bytes: 3456 })]),
            drops: BTreeMap::from([
                ("policy_ingress".to_owned(), CountView { packets: 2, bytes: 148 }),
                ("martian".to_owned(), CountView::default()),
            ]),
            audited: BTreeMap::from([("policy_egress".to_owned(), CountView { packets: 3, bytes: 222 })]),
        },
    }
}

/// An endpoint with all there is.
pub(super) fn endpoint() -> EndpointView {
    EndpointView {
        name: "web".to_owned(),
        namespace: "default".to_owned(),
        labels: Labels::from([("app".to_owned(), "web".to_owned())]),
        network: "lab".to_owned(),
        ip: "10.77.0.2".parse().ok(),
        ip6: "fd77::2".parse().ok(),
        more: Vec::new(),
        mac: "02:00:00:00:00:10".to_owned(),
        mtu: 1500,
        source_check: true,
        redirect: true,
        netns: "/run/netfast/netns/web".into(),
        host_ifname: "nf1".to_owned(),
        host_ifindex: Some(7),
        ports: vec![NamedPortView { name: Some("http".to_owned()), port: 80, protocol: "tcp" }],
        publish: vec!["8080:80/tcp".to_owned()],
        pid: None,
        isolation: IsolationView {
            ingress: DirectionView {
                isolated: true,
                policies: vec!["default/web".to_owned()],
                sources: vec!["web.yaml:3".to_owned()],
            },
            egress: DirectionView::default(),
        },
        ready: true,
        drops: BTreeMap::from([("policy_ingress".to_owned(), 2)]),
        audited: BTreeMap::from([("policy_egress".to_owned(), 3)]),
    }
}

/// An instance that is not up.
pub(super) fn nothing() -> InstanceView {
    InstanceView {
        up: false,
        problems: Vec::new(),
        limits: Vec::new(),
        networks: Vec::new(),
        endpoints: Vec::new(),
        ports: Vec::new(),
        uplinks: Vec::new(),
        programs: Vec::new(),
        object: None,
        maps: Vec::new(),
        links: Vec::new(),
        deny: Vec::new(),
        policies: Vec::new(),
        generation: 0,
        monitors: 0,
        flows: None,
        counters: CounterView::default(),
        ..instance()
    }
}

/// A network as files define it.
pub(super) fn network(name: &str, subnet: &str) -> Network {
    Network { subnet: Some(subnet.parse().unwrap()), ..Network::new(name.parse().unwrap()) }
}

/// An endpoint as files define it.
pub(super) fn definition(name: &str, network: &str) -> Endpoint {
    let id = EndpointId { namespace: "default".parse().unwrap(), name: name.parse().unwrap() };
    Endpoint::new(id, network.parse().unwrap())
}
