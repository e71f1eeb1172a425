use super::*;
use crate::model::{Attachment, Endpoint, FurtherAddress, Network, PortRange, Protocol, Publish, Subnet};

fn network(name: &str, subnet: &str, subnet6: &str) -> Network {
    Network {
        subnet: subnet.parse().ok(),
        subnet6: subnet6.parse().ok(),
        ..Network::new(name.parse().unwrap())
    }
}

fn endpoint(name: &str, network: &str) -> Endpoint {
    let id = EndpointId { namespace: "default".parse().unwrap(), name: name.parse().unwrap() };
    Endpoint::new(id, network.parse().unwrap())
}

#[test]
fn what_another_plugin_made_stays_apart() {
    let adopted = |ip: &str| {
        let mut endpoint = endpoint("a", "other");
        endpoint.attachment = Attachment::Adopted("/run/netns/a".into());
        endpoint.ip = ip.parse().ok();
        endpoint
    };
    let networks = || vec![network("lab", "10.77.0.0/24", ""), Network::adopted("other".parse().unwrap())];
    assert_eq!(problems(networks(), vec![adopted("10.88.0.2")]), [""; 0]);
    assert_eq!(
        problems(networks(), vec![adopted("10.77.0.2")]),
        [
            "endpoint a: ip: 10.77.0.2 is an address of network lab, which is netfast's own (give one of the two another subnet)"
        ]
    );
    assert_eq!(
        problems(networks(), vec![endpoint("a", "other")]),
        [
            "endpoint a: network: network other is another plugin's, which makes what is in it (choose another network)"
        ]
    );
    let inside = Endpoint { network: "lab".parse().unwrap(), ..adopted("10.77.0.2") };
    assert_eq!(
        problems(networks(), vec![inside]),
        [
            "endpoint a: network: network lab is netfast's own, and another plugin's devices cannot be in it (choose another network)"
        ]
    );
}

fn publish(ip: Option<&str>, first: u16, last: u16, protocol: Protocol) -> Publish {
    let ports = PortRange { first, last };
    let host_ip = ip.map(|ip| ip.parse().unwrap());
    Publish { host_ip, host: Some(ports), container: ports, protocol, from: Vec::new(), bindable: false }
}

fn world(networks: Vec<Network>, endpoints: Vec<Endpoint>) -> World {
    World {
        networks: networks.into_iter().map(|n| (n.name.clone(), n)).collect(),
        endpoints: endpoints.into_iter().map(|e| (e.id.clone(), e)).collect(),
        ..World::default()
    }
}

fn problems(networks: Vec<Network>, endpoints: Vec<Endpoint>) -> Vec<String> {
    check(&world(networks, endpoints)).iter().map(ToString::to_string).collect()
}

/// Problems of two endpoints in one network.
fn of_two(change: impl FnOnce(&mut Endpoint, &mut Endpoint)) -> Vec<String> {
    let (mut a, mut b) = (endpoint("a", "lab"), endpoint("b", "lab"));
    change(&mut a, &mut b);
    problems(vec![network("lab", "10.77.0.0/24", "fd77::/64")], vec![a, b])
}

#[test]
fn subnets_are_usable() {
    for (subnet, subnet6, wanted) in [
        ("10.0.0.0/30", "", &[][..]),
        (
            "10.0.0.0/31",
            "",
            &["network lab: subnet: 10.0.0.0/31 leaves no address for an endpoint (use a shorter prefix)"],
        ),
        (
            "10.0.0.0/32",
            "",
            &["network lab: subnet: 10.0.0.0/32 leaves no address for an endpoint (use a shorter prefix)"],
        ),
        ("", "fd00::/126", &[]),
        (
            "",
            "fd00::/127",
            &["network lab: subnet6: fd00::/127 leaves no address for an endpoint (use a shorter prefix)"],
        ),
        ("224.0.0.0/24", "", &["network lab: subnet: 224.0.0.0/24 holds multicast addresses"]),
        (
            "127.0.0.0/24",
            "fe80::/64",
            &[
                "network lab: subnet: 127.0.0.0/24 holds loopback addresses",
                "network lab: subnet6: fe80::/64 holds link-local addresses",
            ],
        ),
        ("", "", &["network lab: it has neither a subnet nor a subnet6"]),
    ] {
        assert_eq!(problems(vec![network("lab", subnet, subnet6)], vec![]), wanted, "{subnet} {subnet6}");
    }
}

#[test]
fn a_subnet_has_room_for_its_endpoints() {
    let endpoints = |count| (0..count).map(|n| endpoint(&format!("e{n}"), "lab")).collect::<Vec<_>>();
    assert!(problems(vec![network("lab", "10.0.0.0/29", "")], endpoints(5)).is_empty());
    assert_eq!(
        problems(vec![network("lab", "10.0.0.0/29", "fd00::/64")], endpoints(6)),
        ["network lab: subnet: 10.0.0.0/29 has addresses for 5 endpoints, not for 6 (use a shorter prefix)"]
    );
    assert!(problems(vec![network("lab", "10.0.0.0/16", "")], endpoints(1000)).is_empty());
    assert_eq!(
        problems(vec![network("lab", "10.0.0.0/16", "")], endpoints(1001)),
        ["network lab: 1001 endpoints; a network takes 1000 (spread them over several networks)"]
    );
}

#[test]
fn all_subnets_of_a_network_are_looked_at() {
    let subnet =
        |net: &str, gateway: &str| Subnet { net: net.parse().unwrap(), fixed_gateway: gateway.parse().ok() };
    let network = |subnets: &[Subnet]| network("lab", "", "").with_subnets(subnets.iter().copied());
    let endpoints = |count| (0..count).map(|n| endpoint(&format!("e{n}"), "lab")).collect::<Vec<_>>();
    let two = [subnet("10.0.0.0/30", ""), subnet("10.1.0.0/30", "10.1.0.2")];
    assert_eq!(problems(vec![network(&two)], endpoints(2)), [""; 0]);
    assert_eq!(
        problems(vec![network(&two)], endpoints(3)),
        [
            "network lab: subnet: 10.0.0.0/30 and 10.1.0.0/30 have addresses for 2 endpoints, not for 3 (use a shorter prefix)"
        ]
    );
    let wrong = [
        subnet("10.0.0.0/24", ""),
        subnet("10.0.0.0/16", "10.0.255.255"),
        subnet("fd00::/64", ""),
        subnet("fe80::/64", ""),
    ];
    assert_eq!(
        problems(vec![network(&wrong)], vec![]),
        [
            "network lab: gateway: 10.0.255.255 is no address of a host in the network's subnet",
            "network lab: subnet6: fe80::/64 holds link-local addresses",
            "network lab: subnet: 10.0.0.0/24 overlaps with 10.0.0.0/16 of network lab",
        ]
    );
    let mut asking = endpoints(2);
    let further = |ip: &str| FurtherAddress { ip: ip.parse().ok(), ranges: Vec::new() };
    asking[0].more = vec![further("10.1.0.1"), further("10.2.0.1")];
    asking[1].more = vec![further("10.1.0.1")];
    assert_eq!(
        problems(vec![network(&two)], asking),
        [
            "endpoint e0: ip: 10.2.0.1 is not in 10.0.0.0/30 or 10.1.0.0/30 of network lab",
            "endpoint e1: ip: endpoint e0 has the same",
        ]
    );
}

#[test]
fn subnets_do_not_overlap() {
    let nets = vec![
        network("a", "10.0.0.0/8", "fd00::/64"),
        network("b", "10.1.0.0/16", "fd00:0:0:1::/64"),
        network("c", "10.2.0.0/16", "fd00::/64"),
    ];
    assert_eq!(
        problems(nets, vec![]),
        [
            "network b: subnet: 10.1.0.0/16 overlaps with 10.0.0.0/8 of network a",
            "network c: subnet: 10.2.0.0/16 overlaps with 10.0.0.0/8 of network a",
            "network c: subnet6: fd00::/64 overlaps with fd00::/64 of network a",
        ]
    );
}

#[test]
fn flags_and_sizes_fit() {
    let mut lab = network("lab", "10.0.0.0/24", "fd00::/64");
    (lab.internal, lab.routed, lab.mtu) = (true, true, 1279);
    assert_eq!(
        problems(vec![lab], vec![]),
        [
            "network lab: routed: an internal network has no outside to be routed to (drop one of internal and routed)",
            "network lab: mtu: 1279 is too small: IPv6 needs 1280",
        ]
    );
    let mut lab = network("lab", "10.0.0.0/24", "");
    lab.mtu = 576;
    let mut web = endpoint("web", "lab");
    web.mtu = Some(65522);
    assert_eq!(
        problems(vec![lab], vec![web]),
        ["endpoint web: mtu: 65522 is too large: a veth pair takes 65521"]
    );
}

#[test]
fn addresses_are_free_and_inside() {
    for (ip, wanted) in [
        ("10.77.0.2", None),
        ("10.77.0.0", Some("10.77.0.0 is the first address of network lab, which means the network itself")),
        ("10.77.0.1", Some("10.77.0.1 is the gateway of network lab")),
        ("10.77.0.255", Some("10.77.0.255 is the broadcast address of network lab")),
        ("10.78.0.2", Some("10.78.0.2 is not in 10.77.0.0/24 of network lab")),
    ] {
        let wanted: Vec<_> = wanted.iter().map(|w| format!("endpoint a: ip: {w}")).collect();
        assert_eq!(of_two(|a, _| a.ip = ip.parse().ok()), wanted, "{ip}");
    }
    assert_eq!(
        of_two(|a, _| a.ip6 = "fd77::1".parse().ok()),
        ["endpoint a: ip6: fd77::1 is the gateway of network lab"]
    );
    let mut web = endpoint("web", "lab");
    web.ip6 = "fd77::2".parse().ok();
    assert_eq!(
        problems(vec![network("lab", "10.0.0.0/24", "")], vec![web]),
        ["endpoint web: ip6: network lab has no subnet of this family"]
    );
}

#[test]
fn nothing_is_owned_twice() {
    assert_eq!(
        of_two(|a, b| {
            (a.ip, b.ip) = ("10.77.0.9".parse().ok(), "10.77.0.9".parse().ok());
            (a.mac, b.mac) = (Some([2, 0, 0, 0, 0, 1]), Some([2, 0, 0, 0, 0, 1]));
            (a.attachment, b.attachment) =
                (Attachment::Path("/run/netns/x".into()), Attachment::Path("/run/netns/x".into()));
        }),
        [
            "endpoint b: ip: endpoint a has the same",
            "endpoint b: mac: endpoint a has the same",
            "endpoint b: netns: endpoint a is there already, and both would be eth0",
        ]
    );
    assert_eq!(
        of_two(|a, b| (a.attachment, b.attachment) = (Attachment::Pid(7), Attachment::Pid(7))),
        ["endpoint b: pid: endpoint a is there already, and both would be eth0"]
    );
}

#[test]
fn macs_are_those_of_one_card() {
    assert_eq!(of_two(|a, _| a.mac = Some([0; 6])), ["endpoint a: mac: all zeros are no address"]);
    assert_eq!(
        of_two(|a, _| a.mac = Some([1, 0, 0, 0, 0, 1])),
        ["endpoint a: mac: a multicast address; the first byte must be even"]
    );
}

#[test]
fn names_and_networks_exist() {
    let lost = endpoint("a.b", "nowhere");
    assert_eq!(
        problems(vec![network("lab", "10.0.0.0/24", "")], vec![lost]),
        [
            "endpoint a.b: name: \"a.b\" is not a host name: no dots, at most 63 characters",
            "endpoint a.b: network: there is no network nowhere (known: lab)",
        ]
    );
}

#[test]
fn a_host_port_has_one_owner() {
    use Protocol::{Tcp, Udp};
    let clash = |a: Publish, b: Publish| of_two(|one, two| (one.publish, two.publish) = (vec![a], vec![b]));
    let (v4, v6) = (Some("10.0.0.1"), Some("fd00::1"));
    for (a, b) in [
        (publish(None, 80, 80, Tcp), publish(None, 80, 80, Udp)),
        (publish(None, 80, 80, Tcp), publish(None, 81, 81, Tcp)),
        (publish(v4, 80, 80, Tcp), publish(v6, 80, 80, Tcp)),
        (publish(v4, 80, 80, Tcp), publish(Some("10.0.0.2"), 80, 80, Tcp)),
    ] {
        assert!(clash(a, b).is_empty());
    }
    for (a, b, ports) in [
        (publish(None, 80, 80, Tcp), publish(None, 80, 80, Tcp), "80/tcp"),
        (publish(None, 80, 80, Udp), publish(v6, 80, 80, Udp), "80/udp"),
        (publish(v4, 80, 80, Tcp), publish(None, 80, 80, Tcp), "80/tcp"),
        (publish(Some("0.0.0.0"), 80, 80, Tcp), publish(v6, 80, 80, Tcp), "80/tcp"),
        (publish(v4, 80, 90, Tcp), publish(v4, 85, 99, Tcp), "85-90/tcp"),
        (publish(v4, 85, 85, Tcp), publish(v4, 80, 99, Tcp), "85/tcp"),
    ] {
        let wanted = format!("endpoint b: publish[0]: host port {ports} is published by endpoint a already");
        assert_eq!(clash(a, b), [wanted]);
    }
    assert_eq!(
        of_two(|a, _| a.publish = vec![publish(None, 80, 80, Tcp), publish(None, 80, 80, Tcp)]),
        ["endpoint a: publish[1]: host port 80/tcp is published twice, by publish[0] too"]
    );
}

#[test]
fn nothing_is_published_from_an_internal_network() {
    let mut lab = network("lab", "10.0.0.0/24", "");
    lab.internal = true;
    let mut web = endpoint("web", "lab");
    web.publish = vec![publish(None, 80, 80, Protocol::Tcp)];
    assert_eq!(
        problems(vec![lab], vec![web]),
        ["endpoint web: publish: network lab is internal, so nothing can be published"]
    );
}

#[test]
fn policies_have_names_of_their_own() {
    let policy = |namespace: &str, line| Policy {
        namespace: namespace.parse().unwrap(),
        name: "p".parse().unwrap(),
        source: crate::model::Source { file: "p.yaml".to_owned(), line },
        selector: crate::model::Selector::default(),
        ingress: None,
        egress: None,
        audit: false,
    };
    let of_cluster = |line| ClusterPolicy {
        name: "p".parse().unwrap(),
        source: crate::model::Source { file: "c.yaml".to_owned(), line },
        tier: crate::model::Tier::Admin,
        priority: 0,
        namespaces: crate::model::Selector::default(),
        endpoints: crate::model::Selector::default(),
        ingress: Vec::new(),
        egress: Vec::new(),
        audit: false,
    };
    let world = World {
        policies: vec![policy("a", 1), policy("b", 5), policy("a", 9)],
        cluster_policies: vec![of_cluster(1), of_cluster(3)],
        ..World::default()
    };
    let found: Vec<_> = check(&world).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "policy a/p: it is there twice: p.yaml:1 and p.yaml:9 (give one of them another name)",
            "cluster policy p: it is there twice: c.yaml:1 and c.yaml:3 (give one of them another name)",
        ]
    );
}
