//! Packets that break naive parsers, from endpoints and from outside.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::ensure;
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use netfast_tests::{
    HOST_V4, HOST_V6, Lab, Ns, OUTSIDE_V4, Protocol, Way, Ways, Who, require_root, udp_ask_on,
};
use nix::libc;
use socket2::Socket;

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(5);

const CLIENT: &str = "10.77.0.20";
const WEB: &str = "10.77.0.10";
const CLIENT_V6: &str = "fd77::20";
const WEB_V6: &str = "fd77::10";

fn set(socket: &Socket, level: i32, option: i32, value: &[u8]) {
    // SAFETY: the value lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            value.as_ptr().cast(),
            libc::socklen_t::try_from(value.len()).unwrap(),
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// A UDP socket to the end of a way.
fn udp(ways: &Ways, way: &Way, family: usize) -> Socket {
    let port = if way.is_published { 5353 } else { 53 };
    let to = SocketAddr::new(way.to[family].parse().unwrap(), port).to_string();
    ways.ns(way.from).unwrap().udp_connect(None, &to).unwrap()
}

/// Asks by UDP all ways of some families, with sockets that were prepared.
fn all_by_udp(ways: &Ways, families: &[usize], prepare: impl Fn(&Socket), size: usize) {
    ways.all(|way, family, protocol| {
        if protocol == Protocol::Udp && families.contains(&family) {
            let socket = udp(ways, way, family);
            prepare(&socket);
            let seen = udp_ask_on(&socket, size, PATIENCE)?.seen_source.ip();
            ensure!(seen.to_string() == way.seen[family], "{seen} was seen");
        }
        Ok(())
    })
    .unwrap();
}

/// Linux accepts no more than 40 bytes of options.
#[test]
fn ipv4_options() {
    require_root!();
    let ways = Ways::new(None).unwrap();
    for length in [4, 20, 40] {
        let options = vec![1; length];
        all_by_udp(&ways, &[0], |socket| set(socket, libc::IPPROTO_IP, libc::IP_OPTIONS, &options), 100);
    }
}

#[test]
fn ipv6_extension_headers() {
    require_root!();
    let ways = Ways::new(None).unwrap();
    // Filled with 4 bytes of padding, and with an option of 12 bytes that nobody knows and everybody passes over.
    let (short, long) = ([0, 0, 1, 4, 0, 0, 0, 0], [0, 1, 0x1e, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let headers: [&[(i32, &[u8])]; 4] = [
        &[(libc::IPV6_HOPOPTS, &short)],
        &[(libc::IPV6_DSTOPTS, &long)],
        &[(libc::IPV6_HOPOPTS, &long), (libc::IPV6_DSTOPTS, &short)],
        &[(libc::IPV6_HOPOPTS, &short), (libc::IPV6_DSTOPTS, &long)],
    ];
    for (headers, size) in headers.into_iter().zip([100, 100, 100, 8_000]) {
        let prepare = |socket: &Socket| {
            for (option, value) in headers {
                set(socket, libc::IPPROTO_IPV6, *option, value);
            }
        };
        all_by_udp(&ways, &[1], prepare, size);
    }
}

#[test]
fn fragments_of_the_largest_packets_go_all_ways() {
    require_root!();
    let ways = Ways::new(None).unwrap();
    all_by_udp(&ways, &[0, 1], |_| (), 60_000);
    ways.all(|way, family, protocol| {
        if protocol == Protocol::Icmp {
            ways.ns(way.from)?.ping_sized(way.to[family], 8_000, PATIENCE)?;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn udp_without_a_checksum_stays_so() {
    require_root!();
    let ways = Ways::new(None).unwrap();
    let heard = ways.ns(Who::Endpoint("web")).unwrap().raw("eth0").unwrap();
    let at_outside = ways.lab.outside.raw("eth0").unwrap();
    let on = 1_i32.to_ne_bytes();
    all_by_udp(&ways, &[0], |socket| set(socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, &on), 100);
    // Answers have one, which may be left to the receiving device to fill in.
    for raw in [heard, at_outside] {
        let asked = |packet: &SlicedPacket<'_>| match &packet.transport {
            Some(TransportSlice::Udp(udp)) if udp.destination_port() == 53 => {
                assert_eq!(udp.checksum(), 0);
                true
            }
            _ => false,
        };
        assert!(raw.find(Duration::ZERO, asked).is_some());
    }
}

#[test]
fn streams_arrive_whole_by_all_ways() {
    require_root!();
    let ways = Ways::new(None).unwrap();
    ways.all(|way, family, protocol| {
        if protocol == Protocol::Tcp {
            let port = if way.is_published { 8080 } else { 80 };
            let to = SocketAddr::new(way.to[family].parse()?, port).to_string();
            ways.ns(way.from)?.tcp_stream(&to, 3_000_001, 20 * SECOND)?;
        }
        Ok(())
    })
    .unwrap();
}

/// What it takes to send frames from an endpoint.
struct Frames {
    ways: Ways,
    own: [u8; 6],
    gateway: [u8; 6],
}

fn mac(text: &str) -> [u8; 6] {
    let bytes: Vec<_> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

impl Frames {
    fn new(policy: Option<&str>) -> Self {
        let ways = Ways::new(policy).unwrap();
        let own = mac(ways.lab.inspect("client").unwrap()["mac"].as_str().unwrap());
        // Any address will do: netfast writes the one that is right.
        Self { ways, own, gateway: [2, 0, 0, 0, 0, 1] }
    }

    fn client(&self) -> &Ns {
        self.ways.ns(Who::Endpoint("client")).unwrap()
    }

    fn web(&self) -> &Ns {
        self.ways.ns(Who::Endpoint("web")).unwrap()
    }

    /// Ethernet and IPv4 with this protocol and payload, to `to`.
    fn v4(&self, to: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let octets = |text: &str| text.parse::<std::net::Ipv4Addr>().unwrap().octets();
        let builder = PacketBuilder::ethernet2(self.own, self.gateway).ipv4(octets(CLIENT), octets(to), 64);
        let mut frame = Vec::new();
        builder.write(&mut frame, protocol.into(), payload).unwrap();
        frame
    }

    /// Ethernet and IPv6 with this first next header and payload, to `web`.
    fn v6(&self, next: u8, payload: &[u8]) -> Vec<u8> {
        let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
        let builder =
            PacketBuilder::ethernet2(self.own, self.gateway).ipv6(octets(CLIENT_V6), octets(WEB_V6), 64);
        let mut frame = Vec::new();
        builder.write(&mut frame, next.into(), payload).unwrap();
        frame
    }

    /// Sends frames from the client, and tells what netfast counted against it.
    fn drops(&self, frames: &[Vec<u8>]) -> Vec<(String, u64)> {
        let before = self.ways.lab.drops("client").unwrap();
        let raw = self.client().raw("eth0").unwrap();
        for frame in frames {
            raw.send(frame).unwrap();
        }
        let mut after = self.ways.lab.drops("client").unwrap();
        after.remove("multicast");
        let grown = after.into_iter().map(|(reason, count)| {
            let before = before.get(&reason).copied().unwrap_or(0);
            (reason, count - before)
        });
        grown.filter(|(_, count)| *count > 0).collect()
    }

    #[track_caller]
    fn all_dropped(&self, reason: &str, frames: &[Vec<u8>]) {
        let heard = self.web().raw("eth0").unwrap();
        for frame in frames {
            assert_eq!(self.drops(std::slice::from_ref(frame)), [(reason.to_owned(), 1)], "{frame:02x?}");
        }
        let from_client = |frame: &[u8]| frame.get(6..12) == Some(&self.own);
        while let Some(frame) = heard.next(Duration::ZERO) {
            assert!(!from_client(&frame), "arrived: {frame:02x?}");
        }
        self.still_works();
    }

    #[track_caller]
    fn still_works(&self) {
        for address in [WEB, WEB_V6, OUTSIDE_V4] {
            self.client().ping(address, PATIENCE).unwrap();
        }
    }
}

/// A UDP header and its payload; the checksum is not looked at on the way.
fn udp_header(from: u16, to: u16, length: u16, payload: &[u8]) -> Vec<u8> {
    let words = [from, to, length, 0].map(u16::to_be_bytes).concat();
    [&words, payload].concat()
}

#[test]
fn headers_that_are_cut_short_or_lie() {
    require_root!();
    let frames = Frames::new(None);
    let whole = frames.v4(WEB, 17, &udp_header(4000, 53, 16, &[0; 8]));
    let edited = |frame: &[u8], at: usize, bytes: &[u8]| {
        let mut frame = frame.to_vec();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    };
    let whole_v6 = frames.v6(17, &udp_header(4000, 53, 16, &[0; 8]));
    frames.all_dropped(
        "bad_header",
        &[
            // Cut within the IP header, and within the ports.
            whole[..14 + 12].to_vec(),
            edited(&whole[..14 + 22], 16, &22_u16.to_be_bytes()),
            whole_v6[..14 + 20].to_vec(),
            edited(&whole_v6[..14 + 42], 18, &2_u16.to_be_bytes()),
            // A header of 16 bytes, one beyond the packet, and other versions.
            edited(&whole, 14, &[0x44]),
            edited(&whole, 14, &[0x4f]),
            edited(&whole, 14, &[0x65]),
            edited(&whole_v6, 14, &[0x40]),
            // Longer than the frame, and shorter than the header.
            edited(&whole, 16, &1000_u16.to_be_bytes()),
            edited(&whole, 16, &19_u16.to_be_bytes()),
            edited(&whole_v6, 18, &1000_u16.to_be_bytes()),
            // An ARP message of another kind of network.
            [&frames.gateway[..], &frames.own, &[8, 6], &[9; 28]].concat(),
        ],
    );
    // What lies farther in is the receiver's to judge, which drops it: a UDP length, a TCP header's length.
    let mut syn = vec![0; 20];
    syn[..4].copy_from_slice(&[0x0f, 0xa0, 0, 80]);
    syn[12..14].copy_from_slice(&[0x10, 2]);
    let grown = frames.drops(&[
        frames.v4(WEB, 17, &udp_header(4000, 53, 1000, &[0; 8])),
        frames.v4(WEB, 17, &udp_header(4000, 53, 3, &[0; 8])),
        frames.v4(WEB, 6, &syn),
        frames.v4(OUTSIDE_V4, 17, &udp_header(4000, 53, 1000, &[0; 8])),
        frames.v4(OUTSIDE_V4, 6, &syn),
        // Padded, as short frames on a wire are.
        [&whole[..], &[0; 30]].concat(),
    ]);
    assert_eq!(grown, []);
    frames.still_works();
}

#[test]
fn vlan_tags_and_other_protocols() {
    require_root!();
    let frames = Frames::new(None);
    let whole = frames.v4(WEB, 17, &udp_header(4000, 53, 16, &[0; 8]));
    let tagged = |tags: &[u8]| [&whole[..12], tags, &whole[12..]].concat();
    frames.all_dropped(
        "bad_ethertype",
        &[
            tagged(&[0x81, 0, 0, 5]),
            tagged(&[0x81, 0, 0, 0]),
            tagged(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 5]),
            // LLDP
            [&frames.gateway[..], &frames.own, &[0x88, 0xcc], &[0; 46]].concat(),
        ],
    );
}

#[test]
fn many_extension_headers() {
    require_root!();
    let frames = Frames::new(None);
    let heard = frames.web().raw("eth0").unwrap();
    // Destination options of 8 bytes each, then UDP; or an unused routing header.
    let chain = |count: usize| {
        let mut bytes: Vec<u8> = (1..count).flat_map(|_| [60, 0, 1, 4, 0, 0, 0, 0]).collect();
        bytes.extend([17, 0, 1, 4, 0, 0, 0, 0]);
        bytes.extend(udp_header(4000, 53, 16, &[0; 8]));
        frames.v6(60, &bytes)
    };
    let routing = [&[17, 0, 253, 0, 0, 0, 0, 0][..], &udp_header(4000, 53, 16, &[0; 8])].concat();
    for frame in [chain(2), chain(4), frames.v6(43, &routing)] {
        assert_eq!(frames.drops(std::slice::from_ref(&frame)), []);
        let arrived = heard.find(PATIENCE, |packet| {
            matches!(&packet.net, Some(NetSlice::Ipv6(ip)) if ip.header().source_addr() == CLIENT_V6.parse::<std::net::Ipv6Addr>().unwrap())
        });
        assert_eq!(arrived.unwrap()[14..], frame[14..]);
    }
    frames.all_dropped("bad_header", &[chain(12), chain(100), frames.v6(60, &[17, 200, 0, 0, 0, 0, 0, 0])]);
}

#[test]
fn fragments_out_of_order() {
    require_root!();
    let frames = Frames::new(None);
    let fragment = |id: u8, offset: u16, more: bool, payload: &[u8]| {
        let mut frame = frames.v4(WEB, 17, payload);
        frame[19] = id;
        let bits = (offset / 8) | if more { 0x2000 } else { 0 };
        frame[20..22].copy_from_slice(&bits.to_be_bytes());
        frame[24..26].copy_from_slice(&[0, 0]);
        let sum: u32 =
            frame[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    let own = SocketAddr::new(CLIENT.parse().unwrap(), 4000);
    let answers = frames.client().raw("eth0").unwrap();
    let answered = || {
        answers.find(SHORT, |packet| matches!(&packet.transport, Some(TransportSlice::Udp(udp)) if udp.source_port() == 53)).is_some()
    };
    let _held = frames.client().udp_connect(Some(own), "10.77.0.10:53").unwrap();
    let parts = |id| {
        let datagram = udp_header(4000, 53, 8 + 48, &[b'7'; 48]);
        [
            fragment(id, 0, true, &datagram[..24]),
            fragment(id, 24, true, &datagram[24..40]),
            fragment(id, 40, false, &datagram[40..]),
        ]
    };
    let [first, middle, last] = parts(1);
    assert_eq!(frames.drops(&[first, middle, last]), []);
    assert!(answered());
    let [first, middle, last] = parts(2);
    assert_eq!(frames.drops(&[first, last, middle]), []);
    assert!(answered());
    let [first, middle, last] = parts(3);
    assert_eq!(frames.drops(&[last, middle, first]), []);
    assert!(answered());
    let [first, middle, last] = parts(4);
    assert_eq!(frames.drops(&[middle, first, last]), []);
    assert!(answered());
}

/// The fragment header names what follows the first fragment, here other options, in all of them.
#[test]
fn ipv6_fragments_of_what_begins_with_options() {
    require_root!();
    let frames = Frames::new(None);
    let heard = frames.web().raw("eth0").unwrap();
    let whole = [&[17, 0, 1, 4, 0, 0, 0, 0], &udp_header(4000, 53, 56, &[b'7'; 48])[..]].concat();
    let fragment = |offset: u8, more: u8, part: &[u8]| {
        frames.v6(44, &[&[60, 0, 0, offset | more, 0, 0, 0, 9], part].concat())
    };
    let parts = [fragment(0, 1, &whole[..32]), fragment(32, 0, &whole[32..])];
    assert_eq!(frames.drops(&parts), []);
    for part in parts {
        let arrived = std::iter::from_fn(|| heard.next(PATIENCE)).find(|frame| frame.get(20) == Some(&44));
        assert_eq!(arrived.unwrap()[14..], part[14..]);
    }
}

#[test]
fn broadcast_and_multicast_stay_where_they_are() {
    require_root!();
    let frames = Frames::new(None);
    let heard = frames.web().raw("eth0").unwrap();
    let payload = udp_header(4000, 53, 16, &[0; 8]);
    for (to, reason) in [("10.77.0.255", "no_route"), ("255.255.255.255", ""), ("224.0.0.251", "")] {
        let before = frames.ways.lab.drops("client").unwrap();
        let mut frame = frames.v4(to, 17, &payload);
        frame[..6].fill(0xff);
        let grown = frames.drops(&[frame]);
        if reason.is_empty() {
            let after = frames.ways.lab.drops("client").unwrap();
            assert!(after["multicast"] > before.get("multicast").copied().unwrap_or(0), "{to}: {after:?}");
        } else {
            assert_eq!(grown, [(reason.to_owned(), 1)], "{to}");
        }
    }
    assert!(heard.next(SHORT).is_none());
}

#[test]
fn duplicate_addresses_and_announcements() {
    require_root!();
    let frames = Frames::new(None);
    let arrived = frames.web().raw("eth0").unwrap();
    // Duplicate address detection asks from `::`, and is not answered: an address that is not the endpoint's own is of
    // no use to it, whoever has it.
    let before = frames.ways.lab.dropped("client", "unknown_neighbour").unwrap();
    let dad = "/proc/sys/net/ipv6/conf/eth0/accept_dad";
    frames.client().run(|| Ok(std::fs::write(dad, "1")?)).unwrap();
    frames.client().ip("addr add fd77::10/64 dev eth0").unwrap();
    std::thread::sleep(3 * SECOND);
    let addresses = frames.client().ip("-6 addr show dev eth0").unwrap();
    assert!(addresses.contains("fd77::10/64") && !addresses.contains("dadfailed"), "{addresses}");
    assert!(frames.ways.lab.dropped("client", "unknown_neighbour").unwrap() > before);
    frames.client().ip("addr del fd77::10/64 dev eth0").unwrap();
    // Announcements of an own address are of no interest to anybody, those of another's are lies.
    let arp = |operation: u8, sender: &str, target: &str| {
        let octets = |text: &str| text.parse::<std::net::Ipv4Addr>().unwrap().octets();
        let head = [0, 1, 8, 0, 6, 4, 0, operation];
        [&[0xff; 6][..], &frames.own, &[8, 6], &head, &frames.own, &octets(sender), &[0; 6], &octets(target)]
            .concat()
    };
    assert_eq!(
        frames.drops(&[arp(1, CLIENT, CLIENT), arp(2, CLIENT, CLIENT), arp(1, "0.0.0.0", WEB)]),
        [("unknown_neighbour".to_owned(), 3)]
    );
    assert_eq!(
        frames.drops(&[arp(1, WEB, WEB), arp(2, WEB, WEB), arp(2, "10.77.0.1", CLIENT)]),
        [("spoofed_arp".to_owned(), 3)]
    );
    assert!(arrived.next(SHORT).is_none());
    frames.still_works();
}

const SCTP_ONLY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: sctp}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress:
  - ports: [{protocol: SCTP, port: 36412}]
";

/// No machine here speaks SCTP: what is seen is that its packets arrive, and how.
#[test]
fn sctp() {
    require_root!();
    let frames = Frames::new(Some(SCTP_ONLY));
    // An INIT chunk of 20 bytes behind ports, tag and checksum.
    let init = |port: u16| {
        let ports = [36412, port].map(u16::to_be_bytes).concat();
        [&ports[..], &[0, 0, 0, 0, 1, 2, 3, 4], &[1, 0, 0, 20], &[7; 16]].concat()
    };
    let is_sctp = |packet: &SlicedPacket<'_>| match &packet.net {
        Some(NetSlice::Ipv4(ip)) => ip.header().protocol().0 == 132,
        Some(NetSlice::Ipv6(ip)) => ip.header().next_header().0 == 132,
        _ => false,
    };
    let heard = frames.web().raw("eth0").unwrap();
    for frame in [frames.v4(WEB, 132, &init(36412)), frames.v6(132, &init(36412))] {
        assert_eq!(frames.drops(std::slice::from_ref(&frame)), []);
        assert_eq!(heard.find(PATIENCE, is_sctp).unwrap()[14..], frame[14..]);
    }
    let before = frames.ways.lab.dropped("web", "policy_ingress").unwrap();
    frames.drops(&[frames.v4(WEB, 132, &init(36413)), frames.v4(WEB, 17, &udp_header(36412, 36412, 8, &[]))]);
    assert_eq!(frames.ways.lab.dropped("web", "policy_ingress").unwrap(), before + 2);
    assert!(heard.find(SHORT, is_sctp).is_none());
    // Outside, only the address changes: the checksum does not cover it.
    let outside = frames.ways.lab.outside.raw("eth0").unwrap();
    let sent = frames.v4(OUTSIDE_V4, 132, &init(36412));
    assert_eq!(frames.drops(std::slice::from_ref(&sent)), []);
    let got = outside.find(PATIENCE, is_sctp).unwrap();
    assert_eq!(got[14 + 12..14 + 16], HOST_V4.parse::<std::net::Ipv4Addr>().unwrap().octets());
    assert_eq!(got[14 + 20..], sent[14 + 20..]);
}

#[test]
fn networks_of_all_sizes() {
    require_root!();
    let lab = Lab::new().unwrap();
    let network = |name: &str, number: u8, mtu: u32, v6: &str| {
        format!("  {name}: {{subnet: 10.{number}.0.0/24, mtu: {mtu}{v6}}}\n")
    };
    let networks = [
        network("jumbo", 71, 9000, ", subnet6: 'fd71::/64'"),
        network("small", 72, 1280, ", subnet6: 'fd72::/64'"),
        network("tiny", 73, 576, ""),
    ];
    let endpoints = ["jumbo", "small", "tiny"].iter().enumerate().map(|(index, name)| {
        let port = 8000 + index;
        format!("  {name}1: {{network: {name}, publish: ['{port}:80', '{port}:53/udp']}}\n  {name}2: {{network: {name}}}\n")
    });
    lab.up(&format!("networks:\n{}endpoints:\n{}", networks.concat(), endpoints.collect::<String>()))
        .unwrap();
    let _servers =
        (lab.outside.tcp_serve("[::]:80").unwrap(), lab.outside.udp_serve("192.0.2.2:53").unwrap());
    for (index, name) in ["jumbo", "small", "tiny"].iter().enumerate() {
        let port = 8000 + index;
        let [server, client] = ["1", "2"].map(|number| lab.endpoint_ns(&format!("{name}{number}")).unwrap());
        let own = lab.inspect(&format!("{name}1")).unwrap();
        let addresses = ["ip", "ip6"].into_iter().filter_map(|key| own[key].as_str()?.parse::<IpAddr>().ok());
        let _tcp = server.tcp_serve("[::]:80").unwrap();
        for address in addresses {
            let [tcp, udp] = [80, 53].map(|port| SocketAddr::new(address, port).to_string());
            let _udp = server.udp_serve(&udp).unwrap();
            let host = if address.is_ipv4() { HOST_V4.to_owned() } else { format!("[{HOST_V6}]") };
            let outside = if address.is_ipv4() { "192.0.2.2:80" } else { "[2001:db8:99::2]:80" };
            client.tcp_stream(&tcp, 3_000_001, 20 * SECOND).unwrap();
            client.udp_ask_sized(&udp, 30_000, PATIENCE).unwrap();
            client.tcp_stream(outside, 1_000_001, 20 * SECOND).unwrap();
            for from in [&lab.outside, &lab.host, &client] {
                from.tcp_stream(&format!("{host}:{port}"), 1_000_001, 20 * SECOND).unwrap();
                // The first answer may be what tells its sender the uplink's MTU.
                let ask = || from.udp_ask_sized(&format!("{host}:{port}"), 30_000, SECOND);
                ask().or_else(|_| ask()).or_else(|_| ask()).unwrap();
            }
        }
    }
}
