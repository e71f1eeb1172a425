//! Packets on their whole way: what comes out of one program, as the kernel runs it, goes into the next.
//!
//! The rows of the maps are written by hand, so that nothing but the programs is tested. Redirects are only decided here;
//! that they arrive is shown by the end-to-end tests.

use std::collections::BTreeMap;

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpHeaders, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use netfast_common::addr::{Addr, Mac};
use netfast_common::counter::{COUNTERS, Path, drop_index, path_index};
use netfast_common::protocol::UDP;
use netfast_common::reason::DropReason;
use netfast_common::rows::{
    ADDRESS_ENDPOINT, ADDRESS_GATEWAY, ADDRESS_HOST, AddressRow, Config, ENDPOINT_READY, EndpointRow,
    PublishKey, PublishRow, SlotRow, Subject, UplinkRow,
};

use super::testing::{ip, loaded};
use super::{Datapath, Hook, Packet};

/// What the kernel is told.
const REDIRECT: i32 = 7;
const DROP: i32 = 2;
const NEXT: i32 = -1;

/// Somebody with addresses.
#[derive(Clone, Copy)]
struct Party {
    v4: Addr,
    v6: Addr,
    mac: Mac,
}

impl Party {
    const fn new(v4: [u8; 4], v6: u8, mac: u8) -> Self {
        let v6 = [0xfd, 0, 0, v6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, v4[3]];
        Self { v4: Addr::from_v4(v4), v6: Addr::from_v6(v6), mac: Mac::new([2, 0, 0, 0, 0, mac]) }
    }

    const fn addr(&self, is_v4: bool) -> Addr {
        if is_v4 { self.v4 } else { self.v6 }
    }
}

const GATEWAY: Party = Party::new([10, 1, 0, 1], 1, 1);
const CLIENT: Party = Party::new([10, 1, 0, 2], 1, 2);
const WEB: Party = Party::new([10, 1, 0, 3], 1, 3);
const HOST: Party = Party::new([192, 0, 2, 1], 2, 4);
const OUTSIDE: Party = Party::new([192, 0, 2, 7], 2, 5);

/// Where packets come in, and the counters as they were.
struct Host {
    datapath: Datapath,
    client: u32,
    web: u32,
    uplink: u32,
    counted: Vec<u64>,
}

impl Host {
    /// Devices and rows of two endpoints and an uplink; a port of the host leads to the second.
    fn new(mut datapath: Datapath) -> Self {
        let [client, web, uplink] = ["client", "web", "uplink"].map(|name| {
            ip(&format!("link add {name} type veth peer name {name}0"));
            ip(&format!("link set {name}0 up"));
            ip(&format!("link set {name} up"));
            nix::net::if_::if_nametoindex(name).unwrap()
        });
        ip("address add 192.0.2.1/24 dev uplink");
        ip("address add fd00:2::1/64 dev uplink nodad");
        ip("neighbour add 192.0.2.7 lladdr 02:00:00:00:00:05 dev uplink");
        ip("neighbour add fd00:2::7 lladdr 02:00:00:00:00:05 dev uplink");
        for device in ["client", "web", "uplink"] {
            // A look-up of a route is for devices that forward.
            for family in ["ipv4", "ipv6"] {
                std::fs::write(format!("/proc/sys/net/{family}/conf/{device}/forwarding"), "1").unwrap();
            }
        }
        rows(&mut datapath, [(client, CLIENT), (web, WEB)], uplink);
        Self { datapath, client, web, uplink, counted: vec![0; COUNTERS as usize] }
    }

    /// Runs a program on a packet that is right in every checksum; returns the packet that comes out.
    ///
    /// `verdict` is what the kernel is told, and `path` the only counter that moves.
    #[track_caller]
    fn run(&mut self, hook: Hook, ifindex: u32, bytes: &[u8], verdict: i32, counter: u32) -> Vec<u8> {
        let output = self.datapath.test_hook(hook, Packet { bytes, ifindex, ..Packet::default() }).unwrap();
        let counters = self.datapath.maps.counters.all().unwrap();
        let moved: BTreeMap<_, _> = (0..)
            .zip(counters.iter().zip(&self.counted))
            .filter(|(index, (now, before))| now.packets != **before && !(12..16).contains(index))
            .map(|(index, (now, before))| (index, now.packets - before))
            .collect();
        self.counted = counters.iter().map(|count| count.packets).collect();
        assert_eq!((output.verdict, moved), (verdict, BTreeMap::from([(counter, 1)])), "{:?}", output.bytes);
        verify(&output.bytes);
        output.bytes
    }

    #[track_caller]
    fn endpoint_sends(&mut self, ifindex: u32, bytes: &[u8], path: Path) -> Vec<u8> {
        let verdict = if path == Path::ToHost { NEXT } else { REDIRECT };
        self.run(Hook::EndpointIngress, ifindex, bytes, verdict, path_index(path))
    }

    #[track_caller]
    fn comes_in(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.run(Hook::UplinkIngress, self.uplink, bytes, REDIRECT, path_index(Path::FromOutside))
    }
}

/// The one place that knows what the rows look like.
fn rows(datapath: &mut Datapath, endpoints: [(u32, Party); 2], uplink: u32) {
    let maps = &mut datapath.maps;
    let config = Config {
        generation: 2,
        masquerade_first: 20000,
        masquerade_last: 29999,
        smallest_mtu: 1500,
        ..Config::default()
    };
    maps.config.set(0, config).unwrap();
    let row = UplinkRow { ip4: HOST.v4, ip6: HOST.v6, mtu: 1500, pad: 0 };
    maps.uplinks.insert(uplink, row).unwrap();
    for (slot, (ifindex, party)) in (1..).zip(endpoints) {
        let incarnation = 1000 + slot;
        let row = EndpointRow {
            ip4: party.v4,
            ip6: party.v6,
            gateway4: GATEWAY.v4,
            gateway6: GATEWAY.v6,
            incarnation,
            slot,
            network: 1,
            ifindex,
            flags: ENDPOINT_READY,
            mac: party.mac,
            gateway_mac: GATEWAY.mac,
        };
        maps.endpoints.insert(ifindex, row).unwrap();
        let subject = Subject { identity4: 2 * slot, identity6: 2 * slot + 1, ..Subject::default() };
        maps.slots.set(slot, SlotRow { versions: [subject; 2] }).unwrap();
        for addr in [party.v4, party.v6] {
            let row = AddressRow { kind: ADDRESS_ENDPOINT, network: 1, ifindex, incarnation };
            maps.addresses.insert(addr, row).unwrap();
        }
    }
    for is_v4 in [true, false] {
        let gateway = AddressRow { kind: ADDRESS_GATEWAY, network: 1, ..AddressRow::default() };
        maps.addresses.insert(GATEWAY.addr(is_v4), gateway).unwrap();
        let host = AddressRow { kind: ADDRESS_HOST, ..AddressRow::default() };
        maps.addresses.insert(HOST.addr(is_v4), host).unwrap();
        let addr = WEB.addr(is_v4);
        let key = PublishKey::new(addr.unspecified(), 8080, UDP);
        let row = PublishRow { addr, port: 80, incarnation: 500, ..PublishRow::default() };
        // And a port that leads to its address of the other family.
        let across = PublishKey { port: 8081, ..key };
        let to_other = PublishRow { addr: WEB.addr(!is_v4), incarnation: 501, ..row };
        for version in &mut maps.published {
            version.insert(key, row).unwrap();
            version.insert(across, to_other).unwrap();
        }
    }
}

/// The headers in front of the transport protocol's.
fn headers(src: Addr, dst: Addr, ttl: u8) -> IpHeaders {
    if src.is_v4() {
        let header = etherparse::Ipv4Header {
            time_to_live: ttl,
            source: src.v4_octets(),
            destination: dst.v4_octets(),
            ..Default::default()
        };
        IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default())
    } else {
        let header = etherparse::Ipv6Header {
            hop_limit: ttl,
            source: src.octets(),
            destination: dst.octets(),
            ..Default::default()
        };
        IpHeaders::Ipv6(header, etherparse::Ipv6Extensions::default())
    }
}

/// A datagram on Ethernet, from one to another (MAC address, address, port).
fn udp(from: (Mac, Addr, u16), to: (Mac, Addr, u16), ttl: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(from.0.octets(), to.0.octets())
        .ip(headers(from.1, to.1, ttl))
        .udp(from.2, to.2)
        .write_to_vec(&mut bytes, b"an odd payload!")
        .unwrap();
    bytes
}

/// The source port of a datagram.
fn source_port(bytes: &[u8]) -> u16 {
    match SlicedPacket::from_ethernet(bytes).unwrap().transport {
        Some(TransportSlice::Udp(udp)) => udp.source_port(),
        other => panic!("not UDP: {other:?}"),
    }
}

/// Adds a packet up in full: right checksums make the sum zero.
fn verify(bytes: &[u8]) {
    let packet = SlicedPacket::from_ethernet(bytes).unwrap();
    let mut sum = Sum16BitWords::new();
    let payload = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
            sum = sum.add_4bytes(header.source()).add_4bytes(header.destination());
            ip.payload()
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            sum = sum.add_16bytes(header.source()).add_16bytes(header.destination());
            ip.payload()
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    if payload.fragmented {
        return;
    }
    if matches!(packet.transport, Some(TransportSlice::Icmpv4(_))) {
        sum = Sum16BitWords::new();
    } else {
        let length = u16::try_from(payload.payload.len()).unwrap().to_be_bytes();
        sum = sum.add_2bytes([0, payload.ip_number.0]).add_2bytes(length);
    }
    assert_eq!(sum.add_slice(payload.payload).ones_complement(), 0, "transport checksum");
}

/// Runs a journey by both families.
fn journey(walk: impl Fn(&mut Host, bool) + Send + 'static) {
    loaded(move |_, datapath| {
        let mut host = Host::new(datapath);
        for is_v4 in [true, false] {
            walk(&mut host, is_v4);
        }
    });
}

#[test]
fn from_endpoint_to_endpoint() {
    journey(|host, is_v4| {
        let (client, web) = ((CLIENT.mac, CLIENT.addr(is_v4), 4000), (WEB.mac, WEB.addr(is_v4), 53));
        for _ in 0..2 {
            let question = udp(client, web, 64);
            assert_eq!(host.endpoint_sends(host.client, &question, Path::ToEndpoint), question);
            let answer = udp(web, client, 64);
            assert_eq!(host.endpoint_sends(host.web, &answer, Path::ToEndpoint), answer);
        }
        let spoofed = udp((CLIENT.mac, HOST.addr(is_v4), 4000), web, 64);
        let reason = drop_index(DropReason::SpoofedAddress);
        assert_eq!(host.run(Hook::EndpointIngress, host.client, &spoofed, DROP, reason), spoofed);
        let to_host = udp(client, (GATEWAY.mac, GATEWAY.addr(is_v4), 53), 64);
        assert_eq!(host.endpoint_sends(host.client, &to_host, Path::ToHost), to_host);
        let from_host = udp((GATEWAY.mac, GATEWAY.addr(is_v4), 53), client, 64);
        let path = path_index(Path::FromHost);
        assert_eq!(host.run(Hook::EndpointEgress, host.client, &from_host, NEXT, path), from_host);
    });
}

#[test]
fn from_outside_to_a_published_port() {
    journey(|host, is_v4| {
        let outside = (OUTSIDE.mac, OUTSIDE.addr(is_v4), 50000);
        let (web, gateway) = (WEB.addr(is_v4), GATEWAY.mac);
        for _ in 0..2 {
            let question = udp(outside, (HOST.mac, HOST.addr(is_v4), 8080), 64);
            let got = host.comes_in(&question);
            assert_eq!(got, udp((gateway, outside.1, 50000), (WEB.mac, web, 80), 63));
            let answer = udp((WEB.mac, web, 80), (gateway, outside.1, 50000), 64);
            let back = host.endpoint_sends(host.web, &answer, Path::ToOutside);
            // The neighbours' MAC addresses are written by the kernel, on its way out.
            let expected = udp((WEB.mac, HOST.addr(is_v4), 8080), (gateway, outside.1, 50000), 63);
            assert_eq!(back, expected);
        }
    });
}

#[test]
fn from_outside_to_an_endpoint_of_the_other_family() {
    journey(|host, is_v4| {
        let outside = (OUTSIDE.mac, OUTSIDE.addr(is_v4), 25000);
        let (web, gateway) = ((WEB.mac, WEB.addr(!is_v4), 80), (GATEWAY.mac, GATEWAY.addr(!is_v4), 25000));
        for _ in 0..2 {
            let question = udp(outside, (HOST.mac, HOST.addr(is_v4), 8081), 64);
            let got = host.comes_in(&question);
            assert_eq!(got, unfragmentable(udp(gateway, web, 63)));
            let answer = udp(web, gateway, 64);
            let back = host.endpoint_sends(host.web, &answer, Path::ToOutside);
            let expected = udp((WEB.mac, HOST.addr(is_v4), 8081), (GATEWAY.mac, outside.1, 25000), 63);
            assert_eq!(back, unfragmentable(expected));
        }
        // What the endpoint says of it is made anew in the client's family, and quotes 8 bytes.
        let refused =
            unreachable(!is_v4, (GATEWAY.mac, gateway.1), (WEB.mac, web.1), 64, &udp(gateway, web, 63)[14..]);
        let told = host.endpoint_sends(host.web, &refused, Path::ToOutside);
        let quoted = unfragmentable(udp(outside, (HOST.mac, HOST.addr(is_v4), 8081), 63));
        let quoted = &quoted[14..14 + if is_v4 { 28 } else { 48 }];
        let expected = unreachable(is_v4, (GATEWAY.mac, outside.1), (WEB.mac, HOST.addr(is_v4)), 63, quoted);
        assert_eq!(told, unfragmentable(expected));
    });
}

/// The packet as one that is not to be fragmented, if it is of IPv4.
fn unfragmentable(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[12..14] == [8, 0] {
        let old = u16::from_be_bytes([packet[24], packet[25]]);
        let new = netfast_common::checksum::update(old, &[packet[20], packet[21]], &[0x40, 0]);
        packet[20..22].copy_from_slice(&[0x40, 0]);
        packet[24..26].copy_from_slice(&new.to_be_bytes());
    }
    packet
}

#[test]
fn masqueraded_out_and_back() {
    journey(|host, is_v4| {
        let client = (CLIENT.mac, CLIENT.addr(is_v4), 50000);
        let (outside, address) = (OUTSIDE.addr(is_v4), HOST.addr(is_v4));
        let mut ports = Vec::new();
        for _ in 0..2 {
            let question = udp(client, (GATEWAY.mac, outside, 53), 64);
            let got = host.endpoint_sends(host.client, &question, Path::ToOutside);
            let port = source_port(&got);
            assert!((20000..30000).contains(&port));
            assert_eq!(got, udp((CLIENT.mac, address, port), (GATEWAY.mac, outside, 53), 63));
            let back = host.comes_in(&udp((OUTSIDE.mac, outside, 53), (HOST.mac, address, port), 64));
            assert_eq!(back, udp((GATEWAY.mac, outside, 53), client, 63));
            ports.push(port);
        }
        assert_eq!(ports[0], ports[1]);
    });
}

#[test]
fn to_oneself_through_a_published_port() {
    journey(|host, is_v4| {
        let (web, address, gateway) = (WEB.addr(is_v4), HOST.addr(is_v4), GATEWAY.addr(is_v4));
        for _ in 0..2 {
            let question = udp((WEB.mac, web, 25000), (GATEWAY.mac, address, 8080), 64);
            let got = host.endpoint_sends(host.web, &question, Path::ToEndpoint);
            let port = source_port(&got);
            assert_eq!(got, udp((GATEWAY.mac, gateway, port), (WEB.mac, web, 80), 63));
            let answer = udp((WEB.mac, web, 80), (GATEWAY.mac, gateway, port), 64);
            let back = host.endpoint_sends(host.web, &answer, Path::ToEndpoint);
            assert_eq!(back, udp((GATEWAY.mac, address, 8080), (WEB.mac, web, 25000), 63));
        }
    });
}

/// An error of a host outside about a packet.
fn unreachable(is_v4: bool, to: (Mac, Addr), from: (Mac, Addr), ttl: u8, about: &[u8]) -> Vec<u8> {
    let start = PacketBuilder::ethernet2(from.0.octets(), to.0.octets()).ip(headers(from.1, to.1, ttl));
    let mut bytes = Vec::new();
    if is_v4 {
        start.icmpv4_raw(3, 3, [0; 4]).write_to_vec(&mut bytes, about).unwrap();
    } else {
        start.icmpv6_raw(1, 4, [0; 4]).write_to_vec(&mut bytes, about).unwrap();
    }
    bytes
}

#[test]
fn an_error_about_what_was_masqueraded() {
    journey(|host, is_v4| {
        let client = (CLIENT.mac, CLIENT.addr(is_v4), 50001);
        let (outside, address) = (OUTSIDE.addr(is_v4), HOST.addr(is_v4));
        let question = udp(client, (GATEWAY.mac, outside, 53), 64);
        let sent = host.endpoint_sends(host.client, &question, Path::ToOutside);
        let error = unreachable(is_v4, (HOST.mac, address), (OUTSIDE.mac, outside), 64, &sent[14..]);
        let got = host.comes_in(&error);
        // It quotes the packet as the client sent it, but for the hop it had gone.
        let quoted = udp(client, (GATEWAY.mac, outside, 53), 63);
        let expected = unreachable(is_v4, (CLIENT.mac, client.1), (GATEWAY.mac, outside), 63, &quoted[14..]);
        assert_eq!(got, expected);
    });
}

/// A datagram in two pieces, cut behind `first` bytes of its IP payload.
fn cut(whole: &[u8], is_v4: bool, first: usize) -> [Vec<u8>; 2] {
    let (header, payload) = whole.split_at(if is_v4 { 34 } else { 54 });
    let piece = |offset: usize, more: bool, payload: &[u8]| {
        let mut bytes = header.to_vec();
        let length = u16::try_from(payload.len()).unwrap();
        let offset = u16::try_from(offset).unwrap();
        if is_v4 {
            bytes[16..18].copy_from_slice(&(20 + length).to_be_bytes());
            bytes[18..20].copy_from_slice(&77_u16.to_be_bytes());
            bytes[20..22].copy_from_slice(&((offset / 8) | (u16::from(more) << 13)).to_be_bytes());
            let sum = etherparse::Ipv4Header::from_slice(&bytes[14..]).unwrap().0.calc_header_checksum();
            bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        } else {
            bytes[18..20].copy_from_slice(&(8 + length).to_be_bytes());
            bytes[20] = 44;
            bytes.extend([UDP, 0]);
            bytes.extend((offset | u16::from(more)).to_be_bytes());
            bytes.extend(77_u32.to_be_bytes());
        }
        bytes.extend(payload);
        bytes
    };
    [piece(0, true, &payload[..first]), piece(first, false, &payload[first..])]
}

#[test]
fn fragments_in_order() {
    journey(|host, is_v4| {
        let client = (CLIENT.mac, CLIENT.addr(is_v4), 22222);
        let (outside, address) = (OUTSIDE.addr(is_v4), HOST.addr(is_v4));
        let question = udp(client, (GATEWAY.mac, outside, 53), 64);
        let translated = udp((CLIENT.mac, address, 22222), (GATEWAY.mac, outside, 53), 63);
        let expected = cut(&translated, is_v4, 16);
        let [first, later] = cut(&question, is_v4, 16);
        let unknown = drop_index(DropReason::FragmentUnknown);
        assert_eq!(host.run(Hook::EndpointIngress, host.client, &later, DROP, unknown), later);
        assert_eq!(host.endpoint_sends(host.client, &first, Path::ToOutside), expected[0]);
        assert_eq!(host.endpoint_sends(host.client, &later, Path::ToOutside), expected[1]);
    });
}
