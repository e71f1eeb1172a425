//! A network of two containers: settings as the kernel tells them, and packets.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::super::fdb::FdbKind;
use super::super::sysctl::{DeviceSetting, read, set_device};
use super::super::{
    BridgeSpec, ContainerSpec, FdbEntry, Neighbour, Netlink, Netns, PortFlags, Scope, VethPair, VethSpec,
    configure_container, wait_until_running,
};
use super::{json, namespace, need_root, output};

const GATEWAY_MAC: [u8; 6] = [2, 0x6e, 0x66, 0, 0, 1];
const GATEWAYS: [&str; 2] = ["10.99.0.1", "fd99::1"];

struct Container {
    netns: Netns,
    pair: VethPair,
    mac: [u8; 6],
    ips: [IpAddr; 2],
}

struct Network {
    host: Netns,
    netlink: Netlink,
    bridge: u32,
    containers: Vec<Container>,
}

/// A host with a bridge and two containers, all static entries in place.
fn network() -> Network {
    let host = namespace();
    let netlink = Netlink::open(&host).unwrap();
    let bridge = netlink
        .create_bridge(&BridgeSpec {
            name: "nf.test".to_owned(),
            mac: GATEWAY_MAC,
            mtu: 1400,
            addresses: vec!["10.99.0.1/24".parse().unwrap(), "fd99::1/64".parse().unwrap()],
            alias: "netfast test".to_owned(),
        })
        .unwrap();
    let containers: Vec<_> = [2, 3].map(|number| container(&netlink, bridge, number)).into();
    // There is no program here to answer ARP and neighbour solicitations, and nothing is flooded.
    let macs: Vec<_> = containers.iter().flat_map(|c| c.ips.map(|ip| (ip, c.mac))).collect();
    for container in &containers {
        let inside = Netlink::open(&container.netns).unwrap();
        for (ip, mac) in macs.iter().filter(|(_, mac)| *mac != container.mac) {
            inside.add_neighbour(container.pair.container, *ip, *mac).unwrap();
        }
        for ip in GATEWAYS {
            inside.add_neighbour(container.pair.container, ip.parse().unwrap(), GATEWAY_MAC).unwrap();
        }
    }
    Network { host, netlink, bridge, containers }
}

fn inside(addresses: &[IpNet], gateways: [Option<IpAddr>; 2]) -> ContainerSpec<'static> {
    let (addresses, gateways) = (addresses.to_vec(), gateways.into_iter().flatten().collect());
    ContainerSpec { device: "eth0", addresses, gateways, default_route: true, routes: &[] }
}

fn container(netlink: &Netlink, bridge: u32, number: u8) -> Container {
    let netns = namespace();
    let mac = [2, 0x6e, 0x66, 0, 1, number];
    let name = format!("nfv{number}");
    let spec = VethSpec {
        host_name: &name,
        host_mac: Some([2, 0x6e, 0x66, 0, 2, number]),
        bridge: Some(bridge),
        alias: "netfast end",
        container_netns: &netns,
        container_name: "eth0",
        container_mac: mac,
        mtu: 1400,
    };
    let pair = netlink.create_veth(&spec).unwrap();
    assert!(!netlink.link(&name).unwrap().up);
    let ips = [format!("10.99.0.{number}"), format!("fd99::{number}")].map(|ip| ip.parse().unwrap());
    let addresses =
        [format!("10.99.0.{number}/24"), format!("fd99::{number}/64")].map(|a| a.parse().unwrap());
    let gateways = GATEWAYS.map(|ip| Some(ip.parse().unwrap()));
    for _ in 0..2 {
        configure_container(&netns, pair.container, &inside(&addresses, gateways)).unwrap();
    }
    netlink.add_fdb(pair.host, mac).unwrap();
    netlink.add_fdb(pair.host, mac).unwrap();
    for ip in ips {
        netlink.add_neighbour(bridge, ip, mac).unwrap();
    }
    netlink.set_up(pair.host).unwrap();
    Container { netns, pair, mac, ips }
}

#[test]
fn the_host_is_as_asked_for() {
    need_root!();
    let net = network();
    let host = &net.host;
    let bridge = &json(host, "ip -d -j link show nf.test")[0];
    assert_eq!(bridge["mtu"], 1400);
    assert_eq!(bridge["address"], "02:6e:66:00:00:01", "pinned, though the ports' are other");
    assert_eq!(bridge["ifalias"], "netfast test");
    assert_eq!(bridge["linkinfo"]["info_data"]["stp_state"], 0);
    assert_eq!(bridge["linkinfo"]["info_data"]["mcast_snooping"], 0);
    assert!(bridge["flags"].as_array().unwrap().contains(&json!("UP")));
    assert_eq!(inet(&json(host, "ip -j addr show nf.test")[0]), ["10.99.0.1/24", "fd99::1/64"]);
    assert_eq!(output(host, "ip -6 addr show tentative"), "");

    let port = &json(host, "ip -d -j link show nfv2")[0];
    let settings = &port["linkinfo"]["info_slave_data"];
    for off in ["learning", "flood", "mcast_flood", "bcast_flood"] {
        assert_eq!(settings[off], false, "{off}: {settings}");
    }
    assert_eq!(port["inet6_addr_gen_mode"], "none");
    assert_eq!(port["master"], "nf.test");
    assert_eq!(port["ifalias"], "netfast end");
    let inside = &json(&net.containers[0].netns, "ip -d -j link show eth0")[0];
    for end in [port, inside] {
        assert_eq!([&end["num_tx_queues"], &end["num_rx_queues"]], [&json!(1), &json!(1)]);
    }
    assert_eq!(json(host, "ip -j addr show nfv2")[0]["addr_info"], json!([]));

    let link = net.netlink.link("nfv2").unwrap();
    assert_eq!(link.kind.as_deref(), Some("veth"));
    assert_eq!(link.controller, Some(net.bridge));
    assert_eq!(link.peer_index, Some(net.containers[0].pair.container));
    assert!(link.peer_netnsid.is_some() && link.is_ethernet() && link.up && !link.loopback);
    assert_eq!(link.port, Some(PortFlags::default()));
    assert_eq!(link.mac, Some([2, 0x6e, 0x66, 0, 2, 2]));
    let links = net.netlink.links().unwrap();
    assert!(links.contains(&link));
    assert_eq!(links.len(), 4, "{links:?}");
    let addresses = net.netlink.addresses().unwrap();
    let scope = |ip: &str| addresses.iter().find(|a| a.ip == ip.parse::<IpAddr>().unwrap()).unwrap().scope;
    assert_eq!((scope("127.0.0.1"), scope("fd99::1")), (Scope::Host, Scope::Global));

    let entries = net.netlink.fdb(net.bridge).unwrap();
    for container in &net.containers {
        let entry = FdbEntry { port: container.pair.host, mac: container.mac, kind: FdbKind::Static };
        assert_eq!(entries.iter().filter(|e| **e == entry).count(), 1, "{entries:?}");
        assert_eq!(entries.iter().filter(|e| e.mac == container.mac).count(), 1, "{entries:?}");
        for ip in container.ips {
            let wanted = Neighbour { ifindex: net.bridge, ip, mac: Some(container.mac), permanent: true };
            assert!(net.netlink.neighbours(net.bridge).unwrap().contains(&wanted));
            assert!(net.netlink.delete_neighbour(net.bridge, ip).unwrap());
            assert!(!net.netlink.delete_neighbour(net.bridge, ip).unwrap());
            assert!(!net.netlink.neighbours(net.bridge).unwrap().contains(&wanted));
        }
        assert!(net.netlink.delete_fdb(container.pair.host, container.mac).unwrap());
        assert!(!net.netlink.delete_fdb(container.pair.host, container.mac).unwrap());
    }
}

#[test]
fn only_the_hosts_ends_forward() {
    need_root!();
    let before = namespace();
    let keys = ["ipv4/ip_forward", "ipv4/conf/all/forwarding", "ipv4/conf/default/forwarding"];
    let keys6 = ["ipv6/conf/all/forwarding", "ipv6/conf/default/forwarding", "ipv6/conf/lo/forwarding"];
    let net = network();
    for key in keys.into_iter().chain(keys6) {
        assert_eq!(read(&net.host, key).unwrap(), read(&before, key).unwrap(), "{key}");
    }
    for family in ["ipv4", "ipv6"] {
        let get = |device| read(&net.host, &format!("{family}/conf/{device}/forwarding")).unwrap();
        assert_eq!(get("nfv2"), "1");
        assert_eq!(get("nf.test"), get("default"));
    }
    assert_eq!(read(&net.host, "ipv6/conf/nfv2/disable_ipv6").unwrap(), "0");
    assert_eq!(read(&net.host, "ipv6/conf/nf.test/accept_dad").unwrap(), "0");
}

#[test]
fn the_container_is_as_asked_for() {
    need_root!();
    let net = network();
    let inside = &net.containers[0].netns;
    let device = &json(inside, "ip -j addr show eth0")[0];
    assert_eq!(device["address"], "02:6e:66:00:01:02");
    assert_eq!(device["mtu"], 1400);
    assert_eq!(inet(device), ["10.99.0.2/24", "fd99::2/64"]);
    assert_eq!(output(inside, "ip -6 addr show tentative"), "");
    let default = json(inside, "ip -j route show default");
    assert_eq!((&default[0]["gateway"], &default[0]["dev"]), (&json!("10.99.0.1"), &json!("eth0")));
    assert_eq!(default.as_array().unwrap().len(), 1);
    let default = json(inside, "ip -6 -j route show default");
    assert_eq!(default[0]["gateway"], "fd99::1");
    assert_eq!(default.as_array().unwrap().len(), 1);
    assert!(json(inside, "ip -j link show lo")[0]["flags"].as_array().unwrap().contains(&json!("UP")));
}

#[test]
fn a_gateway_may_be_outside_the_prefix() {
    need_root!();
    let host = namespace();
    let netns = namespace();
    let netlink = Netlink::open(&host).unwrap();
    let spec = BridgeSpec {
        name: "nf0".to_owned(),
        mac: GATEWAY_MAC,
        mtu: 1500,
        addresses: Vec::new(),
        alias: String::new(),
    };
    let bridge = netlink.create_bridge(&spec).unwrap();
    let spec = VethSpec {
        host_name: "nfv0",
        host_mac: None,
        bridge: Some(bridge),
        alias: "",
        container_netns: &netns,
        container_name: "eth0",
        container_mac: [2, 0, 0, 0, 0, 7],
        mtu: 1500,
    };
    let pair = netlink.create_veth(&spec).unwrap();
    // As Docker leaves a network without IPv6.
    set_device(&netns, "eth0", &[DeviceSetting::v6("disable_ipv6", "1")]).unwrap();
    let addresses = ["10.99.0.7/32", "fd99::7/128"].map(|a| a.parse().unwrap());
    let gateways = ["169.254.1.1", "fe80::1"].map(|ip| Some(ip.parse().unwrap()));
    configure_container(&netns, pair.container, &inside(&addresses, gateways)).unwrap();
    assert_eq!(json(&netns, "ip -j route show default")[0]["gateway"], "169.254.1.1");
    assert_eq!(json(&netns, "ip -6 -j route show default")[0]["gateway"], "fe80::1");
    // A taken name: an error, and the first pair is untouched.
    let again = VethSpec { host_name: "nfv1", ..spec };
    let error = netlink.create_veth(&again).unwrap_err();
    assert!(error.is_exists(), "{error}");
    assert!(netlink.link("nfv1").unwrap_err().is_not_found());
    assert!(netlink.link("nfv0").is_ok());
}

/// A host, and a container with an IPv4 address only.
fn without_ipv6(mtu: u32) -> (Netns, Netns, VethPair) {
    let (host, netns) = (namespace(), namespace());
    let netlink = Netlink::open(&host).unwrap();
    let bridge = BridgeSpec {
        name: "nf0".to_owned(),
        mac: GATEWAY_MAC,
        mtu,
        addresses: vec!["10.99.0.1/24".parse().unwrap()],
        alias: String::new(),
    };
    let spec = VethSpec {
        host_name: "nfv0",
        host_mac: None,
        bridge: Some(netlink.create_bridge(&bridge).unwrap()),
        alias: "",
        container_netns: &netns,
        container_name: "eth0",
        container_mac: [2, 0, 0, 0, 0, 7],
        mtu,
    };
    let pair = netlink.create_veth(&spec).unwrap();
    let gateways = [Some("10.99.0.1".parse().unwrap()), None];
    configure_container(&netns, pair.container, &inside(&["10.99.0.7/24".parse().unwrap()], gateways))
        .unwrap();
    (host, netns, pair)
}

#[test]
fn an_mtu_too_small_for_ipv6_is_no_error() {
    need_root!();
    let (host, ..) = without_ipv6(1000);
    assert_eq!(Netlink::open(&host).unwrap().link("nf0").unwrap().mtu, 1000);
    assert_eq!(read(&host, "ipv4/conf/nfv0/forwarding").unwrap(), "1");
}

#[test]
fn a_container_without_ipv6_gets_no_link_local_address() {
    need_root!();
    let (host, netns, pair) = without_ipv6(1500);
    let netlink = Netlink::open(&host).unwrap();
    netlink.set_up(pair.host).unwrap();
    // It would have the address by then.
    assert!(wait_until_running(&netns, "eth0", Duration::from_mins(1)).unwrap());
    assert_eq!(output(&netns, "ip -6 addr show eth0"), "");
    assert_eq!(inet(&json(&netns, "ip -j addr show eth0")[0]), ["10.99.0.7/24"]);
    assert_eq!(json(&netns, "ip -d -j link show eth0")[0]["inet6_addr_gen_mode"], "none");
}

#[test]
fn packets_pass_between_containers_and_from_the_host() {
    need_root!();
    let net = network();
    let [a, b] = net.containers.as_slice() else { panic!("two containers") };
    let hosts = ["nfv2", "nfv3", "nf.test"].map(|device| (&net.host, device));
    for (netns, device) in hosts.into_iter().chain([(&a.netns, "eth0"), (&b.netns, "eth0")]) {
        assert!(wait_until_running(netns, device, Duration::from_mins(1)).unwrap(), "{device}");
    }
    for ((from, to), gateway) in a.ips.into_iter().zip(b.ips).zip(GATEWAYS) {
        let server = b.netns.run(|| UdpSocket::bind((to, 5353)).unwrap()).unwrap();
        server.set_read_timeout(Some(LIMIT)).unwrap();
        let client = a.netns.run(|| UdpSocket::bind((from, 0)).unwrap()).unwrap();
        client.send_to(b"hello", (to, 5353)).unwrap();
        let mut buffer = [0; 16];
        let (length, sender) = loop {
            match server.recv_from(&mut buffer) {
                // Another test's child has ended.
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                received => break received.unwrap(),
            }
        };
        assert_eq!((&buffer[..length], sender.ip()), (&b"hello"[..], from));

        let listener = b.netns.run(|| TcpListener::bind((to, 80)).unwrap()).unwrap();
        assert_eq!(talk(&a.netns, &listener, SocketAddr::new(to, 80)), from);
        assert_eq!(talk(&net.host, &listener, SocketAddr::new(to, 80)).to_string(), gateway);
    }
}

/// How long a packet may take on a machine that is busy with much else.
const LIMIT: Duration = Duration::from_secs(10);

/// Connects from a namespace and passes some bytes both ways. Returns whom the server saw.
fn talk(from: &Netns, listener: &TcpListener, to: SocketAddr) -> IpAddr {
    let mut client = from.run(|| TcpStream::connect_timeout(&to, LIMIT)).unwrap().unwrap();
    let (mut served, peer) = listener.accept().unwrap();
    for stream in [&client, &served] {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
    }
    let mut buffer = [0; 4];
    client.write_all(b"ping").unwrap();
    served.read_exact(&mut buffer).unwrap();
    served.write_all(b"pong").unwrap();
    client.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"pong");
    peer.ip()
}

/// The global addresses of a device, as text.
fn inet(device: &Value) -> Vec<String> {
    let addresses = device["addr_info"].as_array().unwrap().iter();
    addresses
        .filter(|a| a["scope"] == "global")
        .map(|a| format!("{}/{}", a["local"].as_str().unwrap(), a["prefixlen"]))
        .collect()
}
