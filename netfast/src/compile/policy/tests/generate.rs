//! Random small worlds, dense enough for everything to meet everything.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::build::{Scene, cluster_policy, endpoint, name, named_port, policy, rule, step as tier_rule};
use crate::compile::policy::{Assigned, Family, Side};
use crate::model::{
    Action, ClusterPolicy, EndpointId, Labels, NamedPort, Operator, Peer, Policy, PortMatch, PortRange,
    Ports, Protocol, Requirement, Rule, Selector, Tier, TierRule,
};

const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const KEYS: [&str; 2] = ["app", "tier"];
const VALUES: [&str; 3] = ["web", "db", ""];
const PORT_NAMES: [&str; 3] = ["http", "dns", "nowhere"];
/// Ports around the bounds of the ranges drawn.
const PORTS: [u16; 10] = [1, 2, 79, 80, 81, 1023, 8080, 32768, 65534, 65535];
/// Nested blocks that hold endpoints, outsiders, or both; some are holes that hide in a mapped family.
const BLOCKS: [&str; 23] = [
    "0.0.0.0/0",
    "0.0.0.0/1",
    "10.0.0.0/8",
    "10.0.0.0/28",
    "10.0.0.2/31",
    "10.0.0.2/32",
    "10.0.0.3/32",
    "10.0.0.4/30",
    "10.0.0.18/31",
    "10.0.0.18/32",
    "192.0.2.0/24",
    "192.0.2.128/25",
    "192.0.2.129/32",
    "255.255.255.255/32",
    "::/0",
    "::/64",
    "::ffff:0:0/96",
    "::ffff:10.0.0.0/104",
    "fd00::/120",
    "fd00::2/127",
    "fd00::3/128",
    "fd00::12/127",
    "2001:db8::/32",
];
const OUTSIDE: [&str; 10] = [
    "0.0.0.0",
    "10.0.0.14",
    "10.200.0.1",
    "192.0.2.1",
    "192.0.2.129",
    "255.255.255.255",
    "::1",
    "fd00::e",
    "2001:db8::1",
    "ffff::1",
];

fn protocol() -> impl Strategy<Value = Protocol> {
    select(&[Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Sctp])
}

fn labels() -> impl Strategy<Value = Labels> {
    vec(option::of(select(&VALUES)), KEYS.len()).prop_map(|values| {
        let pairs = KEYS.iter().zip(values);
        pairs.filter_map(|(key, value)| Some(((*key).to_owned(), value?.to_owned()))).collect()
    })
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let values = || btree_set(select(&VALUES).prop_map(str::to_owned), 1..3);
    let operator = prop_oneof![
        3 => values().prop_map(Operator::In),
        1 => values().prop_map(Operator::NotIn),
        1 => Just(Operator::Exists),
        1 => Just(Operator::DoesNotExist),
    ];
    (select(&KEYS), operator).prop_map(|(key, operator)| Requirement { key: key.to_owned(), operator })
}

fn selector() -> impl Strategy<Value = Selector> {
    vec(requirement(), 0..3).prop_map(|requirements| Selector { requirements })
}

fn namespaces() -> impl Strategy<Value = Selector> {
    let by_name = select(&NAMESPACES).prop_map(|name| Selector {
        requirements: vec![Requirement {
            key: crate::model::NAMESPACE_NAME_LABEL.to_owned(),
            operator: Operator::In([name.to_owned()].into()),
        }],
    });
    prop_oneof![selector(), by_name]
}

fn block() -> impl Strategy<Value = Peer> {
    (select(&BLOCKS), vec(select(&BLOCKS), 0..4)).prop_map(|(cidr, except)| {
        let cidr: IpNet = cidr.parse().unwrap();
        let except = except.iter().map(|net| net.parse().unwrap());
        Peer::Block { cidr, except: except.filter(|e| *e != cidr && cidr.contains(e)).collect() }
    })
}

fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        (option::of(namespaces()), selector())
            .prop_map(|(namespaces, endpoints)| Peer::Endpoints { namespaces, endpoints }),
        block(),
    ]
}

fn port_match() -> impl Strategy<Value = PortMatch> {
    let ports = prop_oneof![
        1 => Just(Ports::Any),
        3 => (select(&PORTS), select(&PORTS))
            .prop_map(|(a, b)| Ports::Range(PortRange { first: a.min(b), last: a.max(b) })),
        3 => select(&PORTS).prop_map(|port| Ports::Range(PortRange::single(port))),
        3 => select(&PORT_NAMES).prop_map(|name| Ports::Named(name.to_owned())),
    ];
    (protocol(), ports).prop_map(|(protocol, ports)| PortMatch { protocol, ports })
}

fn rules() -> impl Strategy<Value = Option<Vec<Rule>>> {
    let rule = (option::weighted(0.8, vec(peer(), 1..3)), option::weighted(0.8, vec(port_match(), 1..3)))
        .prop_map(|(peers, ports)| rule(peers, ports));
    option::weighted(0.7, vec(rule, 0..4))
}

fn policies() -> impl Strategy<Value = Vec<Policy>> {
    let one = (select(&NAMESPACES), selector(), rules(), rules());
    vec(one, 0..6).prop_map(|drawn| {
        drawn
            .into_iter()
            .enumerate()
            .map(|(i, (namespace, selector, ingress, egress))| {
                policy(namespace, &format!("p{i}"), selector, ingress, egress)
            })
            .collect()
    })
}

fn steps() -> impl Strategy<Value = Vec<TierRule>> {
    let action = select(&[Action::Accept, Action::Deny, Action::Pass]);
    let step = (action, vec(peer(), 1..3), option::weighted(0.7, vec(port_match(), 1..4)));
    vec(step.prop_map(|(action, peers, ports)| tier_rule(action, peers, ports)), 0..4)
}

/// Policies of the cluster, of which some have the same priority. Half of the worlds have none.
fn cluster_policies() -> impl Strategy<Value = Vec<ClusterPolicy>> {
    let tier = select(&[Tier::Admin, Tier::Admin, Tier::Baseline]);
    let one = (tier, 0_u16..4, namespaces(), selector(), steps(), steps());
    let some = vec(one, 1..5).prop_map(|drawn| {
        drawn
            .into_iter()
            .enumerate()
            .map(|(i, (tier, priority, namespaces, endpoints, ingress, egress))| ClusterPolicy {
                namespaces,
                ..cluster_policy(&format!("c{i}"), (tier, priority), endpoints, ingress, egress)
            })
            .collect()
    });
    prop_oneof![Just(Vec::new()), some]
}

fn ports() -> impl Strategy<Value = Vec<NamedPort>> {
    let one = (select(&PORT_NAMES[..2]), select(&PORTS), protocol());
    vec(one.prop_map(|(name, port, protocol)| named_port(name, port, protocol)), 0..4)
}

/// A world in which endpoint `i` has the addresses `10.0.0.i` and `fd00::i`, or one of them, or none; some have another one or
/// two of each family.
pub(in crate::compile::policy) fn scene() -> impl Strategy<Value = Scene> {
    let endpoint_parts = (select(&NAMESPACES), labels(), ports(), 0_u8..16);
    let policies = (policies(), cluster_policies());
    (vec(option::weighted(0.8, endpoint_parts), 1..8), vec(labels(), NAMESPACES.len()), policies).prop_map(
        |(drawn, namespace_labels, (policies, cluster_policies))| {
            let mut scene = Scene::default();
            scene.world.policies = policies;
            scene.world.cluster_policies = cluster_policies;
            scene.world.namespaces = NAMESPACES.map(name).into_iter().zip(namespace_labels).collect();
            for (i, drawn) in drawn.into_iter().enumerate() {
                let Some((namespace, labels, ports, family)) = drawn else { continue };
                let i = u8::try_from(i).unwrap() + 1;
                let id = EndpointId { namespace: name(namespace), name: name(&format!("e{i}")) };
                let ip = (family != 1).then_some(Ipv4Addr::new(10, 0, 0, i));
                let ip6 = (family > 2).then_some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(i)));
                if family != 0 {
                    let further4 = IpAddr::from(Ipv4Addr::new(10, 0, 0, i + 16));
                    let further6 = [16, 32]
                        .map(|n| IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(i) + n)));
                    let more = if family > 12 { [&[further4], &further6[..]].concat() } else { Vec::new() };
                    scene.addresses.insert(id.clone(), Assigned { ip, ip6, more });
                }
                scene.world.endpoints.insert(id.clone(), endpoint(id, labels, ports));
            }
            scene
        },
    )
}

/// A world and one like it: some policies, endpoints, labels and ports are those of another world.
pub(super) fn scenes() -> impl Strategy<Value = (Scene, Scene)> {
    (scene(), scene(), vec(any::<bool>(), 8), 0_u8..4).prop_map(|(first, other, mix, kind)| {
        let mut second = first.clone();
        if kind != 1 {
            for (own, other) in second.world.cluster_policies.iter_mut().zip(other.world.cluster_policies) {
                if mix[0] {
                    *own = ClusterPolicy { name: own.name.clone(), ..other };
                }
            }
            let pairs = other.world.policies.into_iter().zip(mix).enumerate();
            for (i, (policy, _)) in pairs.filter(|(_, (_, change))| *change) {
                if i < second.world.policies.len() {
                    second.world.policies[i] = policy;
                } else {
                    second.world.policies.push(policy);
                }
            }
        }
        if kind != 2 {
            for (id, endpoint) in other.world.endpoints.into_iter().take(2) {
                let given = other.addresses.get(&id).cloned().unwrap_or_default();
                second.addresses.retain(|_, known| !known.all().any(|ip| given.all().any(|own| own == ip)));
                second.addresses.insert(id.clone(), given);
                second.world.endpoints.insert(id, endpoint);
            }
        }
        if kind == 3 {
            second.world.policies.reverse();
            second.world.cluster_policies.pop();
        }
        (first, second)
    })
}

/// What a probe may be: any two ends of one family, with protocol and port.
pub(in crate::compile::policy) fn probes(scene: &Scene) -> Vec<(Side, Side)> {
    let mut by_family: [BTreeSet<String>; 2] = Default::default();
    let mut sides: [Vec<Side>; 2] = Default::default();
    for addr in OUTSIDE {
        let parsed: IpAddr = addr.parse().unwrap();
        by_family[usize::from(parsed.is_ipv6())].insert(addr.to_owned());
        sides[usize::from(parsed.is_ipv6())].push(Side::Outside(parsed));
    }
    for (id, assigned) in &scene.addresses {
        if scene.world.endpoints.contains_key(id) {
            sides[0].extend(assigned.ip.map(|_| Side::Endpoint(id.clone(), Family::V4)));
            sides[1].extend(assigned.ip6.map(|_| Side::Endpoint(id.clone(), Family::V6)));
            for addr in &assigned.more {
                sides[usize::from(addr.is_ipv6())].push(Side::Further(id.clone(), *addr));
            }
        }
    }
    let pairs = |sides: &[Side]| -> Vec<(Side, Side)> {
        let from = sides.iter().flat_map(|from| sides.iter().map(move |to| (from.clone(), to.clone())));
        // An endpoint's traffic to itself is nobody's business.
        let is_itself =
            |(from, to): &(Side, Side)| from.endpoint().is_some() && from.endpoint() == to.endpoint();
        from.filter(|pair| pair.0 != pair.1 && !is_itself(pair)).collect()
    };
    sides.iter().flat_map(|sides| pairs(sides)).collect()
}

/// Protocols and ports to ask about.
pub(in crate::compile::policy) fn services() -> impl Strategy<Value = Vec<(u8, u16)>> {
    let port = prop_oneof![3 => select(&PORTS), 1 => 1_u16..];
    let one = prop_oneof![
        8 => (protocol().prop_map(Protocol::number), port),
        1 => select(&[1_u8, 58, 47, 255]).prop_map(|protocol| (protocol, 0)),
    ];
    vec(one, 1..4)
}
