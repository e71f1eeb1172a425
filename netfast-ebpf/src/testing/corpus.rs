//! The corpus: small packets, in files, that other tests damage. `netfast-ebpf/corpus` has one file for each packet that
//! is made here, and any that somebody added, as those which once did harm; all of them are used.
//!
//! `NETFAST_UPDATE_CORPUS=1 cargo test -p netfast-ebpf corpus` writes the files that are made here anew.

use std::path::PathBuf;
use std::{env, fs};

use etherparse::{IpHeaders, IpNumber, Ipv4Header, Ipv6Extensions, Ipv6RawExtHeader, PacketBuilder};
use netfast_common::addr::{Addr, Mac};

use super::cast::{CLIENT, Family, HOST, Member, OUTSIDE, STRANGER, WEB};
use super::message::{ACK, FIN, Message, RST, SYN, What, ping, tcp, udp};

/// Where the files are.
fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// All packets of the corpus, by the names of their files.
pub(super) fn read() -> Vec<(String, Vec<u8>)> {
    let mut packets: Vec<_> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    packets.sort();
    packets
}

/// What the files of this generator hold.
struct Corpus(Vec<(String, Vec<u8>)>);

impl Corpus {
    fn add(&mut self, name: &str, bytes: Vec<u8>) {
        self.0.push((format!("{name}.bin"), bytes));
    }

    /// Adds a packet after `change` had its way with it.
    fn lie(&mut self, name: &str, bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = bytes.to_vec();
        change(&mut bytes);
        self.add(name, bytes);
    }
}

fn generate() -> Vec<(String, Vec<u8>)> {
    let mut corpus = Corpus(Vec::new());
    for family in Family::BOTH {
        let version = if family == Family::V4 { "v4" } else { "v6" };
        messages(&mut corpus, family, version);
        errors(&mut corpus, family, version);
        fragments(&mut corpus, family, version);
        lies(&mut corpus, family, version);
    }
    options(&mut corpus);
    extensions(&mut corpus);
    arp(&mut corpus);
    discovery(&mut corpus);
    frames(&mut corpus);
    corpus.0
}

/// What hosts say to each other, along every path.
fn messages(corpus: &mut Corpus, family: Family, version: &str) {
    let talk = |from: &Member, to: &Member, what| Message::new(from, to, family, what);
    let flags = |flags| What::Tcp { sport: 4000, dport: 80, flags };
    let packets = [
        ("tcp-syn", talk(&CLIENT, &WEB, tcp(4000, 80))),
        ("tcp-ack", talk(&CLIENT, &WEB, flags(ACK))),
        ("tcp-syn-ack", talk(&CLIENT, &WEB, flags(SYN | ACK))),
        ("tcp-fin", talk(&CLIENT, &WEB, flags(FIN | ACK))),
        ("tcp-rst", talk(&CLIENT, &WEB, flags(RST))),
        ("udp", talk(&CLIENT, &WEB, udp(4000, 53))),
        ("echo-request", talk(&CLIENT, &WEB, ping(7))),
        ("echo-reply", talk(&CLIENT, &WEB, What::Answer { id: 7 })),
        ("udp-outside", talk(&CLIENT, &OUTSIDE, udp(4000, 53))),
        ("tcp-other-network", talk(&CLIENT, &STRANGER, tcp(4000, 80))),
        ("udp-gateway", talk(&CLIENT, &CLIENT.gateway(), udp(4000, 53))),
        ("udp-published", talk(&CLIENT, &HOST, udp(4000, 8080))),
        ("tcp-published-from-outside", talk(&OUTSIDE, &HOST, tcp(50000, 8080))),
        ("tcp-endpoint-from-outside", talk(&OUTSIDE, &WEB, tcp(50000, 80))),
        ("udp-from-host", talk(&CLIENT.gateway(), &CLIENT, udp(53, 4000))),
        ("udp-last-hop", Message { ttl: 1, ..talk(&CLIENT, &OUTSIDE, udp(4000, 33434)) }),
        ("udp-spoofed", Message { src: WEB.addr(family), ..talk(&CLIENT, &OUTSIDE, udp(4000, 53)) }),
    ];
    for (name, message) in packets {
        corpus.add(&format!("{version}-{name}"), message.bytes());
    }
    let multicast = match family {
        Family::V4 => Addr::from_v4([224, 0, 0, 251]),
        Family::V6 => Addr::from_v6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfb]),
    };
    let loopback = match family {
        Family::V4 => Addr::from_v4([127, 0, 0, 1]),
        Family::V6 => Addr::from_v6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    };
    for (name, dst) in [("multicast", multicast), ("loopback", loopback)] {
        let message = Message { dst, ..talk(&CLIENT, &WEB, udp(5353, 5353)) };
        corpus.add(&format!("{version}-{name}"), message.bytes());
    }
}

/// ICMP errors, which quote the packet they are about.
fn errors(corpus: &mut Corpus, family: Family, version: &str) {
    // Unreachable, too big, time exceeded.
    let kinds = if family == Family::V4 { [(3, 3), (3, 4), (11, 0)] } else { [(1, 4), (2, 0), (3, 0)] };
    let report = |(kind, code), payload: Vec<u8>| {
        let what = What::Error { kind, code };
        Message { payload, ..Message::new(&OUTSIDE, &HOST, family, what) }
    };
    let sent = |what| Message::new(&HOST, &OUTSIDE, family, what).bytes()[14..].to_vec();
    let errors = [
        ("error-about-udp", report(kinds[0], sent(udp(20000, 53)))),
        ("error-about-tcp", report(kinds[1], sent(tcp(20000, 80)))),
        ("error-about-echo", report(kinds[2], sent(ping(20000)))),
        ("error-about-error", report(kinds[0], report(kinds[0], sent(udp(1, 2))).bytes()[14..].to_vec())),
        ("error-about-little", report(kinds[0], sent(udp(20000, 53))[..18].to_vec())),
        ("error-about-nothing", report(kinds[0], Vec::new())),
    ];
    for (name, message) in errors {
        corpus.add(&format!("{version}-{name}"), message.bytes());
    }
    let about = Message::new(&WEB, &CLIENT, family, udp(53, 4000)).bytes()[14..].to_vec();
    let what = What::Error { kind: kinds[0].0, code: kinds[0].1 };
    let from_endpoint = Message { payload: about, ..Message::new(&CLIENT, &WEB, family, what) };
    corpus.add(&format!("{version}-error-of-endpoint"), from_endpoint.bytes());
}

/// A packet in two pieces, and pieces that are none.
fn fragments(corpus: &mut Corpus, family: Family, version: &str) {
    let whole = Message::new(&CLIENT, &WEB, family, udp(4000, 53)).bytes();
    // (name, offset in units of 8 bytes, more follow, payload)
    let payload = &whole[if family == Family::V4 { 34 } else { 54 }..];
    let pieces: [(&str, u16, bool, &[u8]); 4] = [
        ("first", 0, true, &payload[..16]),
        ("later", 2, false, &payload[16..]),
        ("empty", 1, true, &[]),
        ("beyond-64k", 0x1fff, false, &payload[..8]),
    ];
    for (name, offset, more, payload) in pieces {
        let mut bytes = whole[..14].to_vec();
        if family == Family::V4 {
            let bits = offset | u16::from(more) << 13;
            let mut header = whole[14..34].to_vec();
            header[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
            header[4..6].copy_from_slice(&77_u16.to_be_bytes());
            header[6..8].copy_from_slice(&bits.to_be_bytes());
            header[10..12].fill(0);
            let sum = Ipv4Header::from_slice(&header).unwrap().0.calc_header_checksum();
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            bytes.extend(header);
        } else {
            let mut header = whole[14..54].to_vec();
            header[4..6].copy_from_slice(&(8 + payload.len() as u16).to_be_bytes());
            header[6] = 44;
            bytes.extend(header);
            bytes.extend([17, 0]);
            bytes.extend((offset << 3 | u16::from(more)).to_be_bytes());
            bytes.extend(77_u32.to_be_bytes());
        }
        bytes.extend(payload);
        corpus.add(&format!("{version}-fragment-{name}"), bytes);
    }
}

/// Lengths that lie, packets cut short, protocols without ports.
fn lies(corpus: &mut Corpus, family: Family, version: &str) {
    let bytes = Message::new(&CLIENT, &WEB, family, tcp(4000, 80)).bytes();
    let (length, protocol, l4) = if family == Family::V4 { (16, 23, 34) } else { (18, 20, 54) };
    let name = |name: &str| format!("{version}-{name}");
    corpus.lie(&name("length-too-long"), &bytes, |b| b[length..length + 2].fill(0xff));
    corpus.lie(&name("length-zero"), &bytes, |b| b[length..length + 2].fill(0));
    corpus.lie(&name("version-wrong"), &bytes, |b| b[14] ^= 0x20);
    corpus.lie(&name("tcp-offset-15"), &bytes, |b| b[l4 + 12] = 0xf0);
    corpus.lie(&name("cut-in-ip"), &bytes, |b| b.truncate(l4 - 5));
    corpus.lie(&name("cut-in-tcp"), &bytes, |b| b.truncate(l4 + 7));
    corpus.lie(&name("padded"), &bytes, |b| b.extend([0; 20]));
    for (kind, number) in [("sctp", 132), ("gre", 47), ("esp", 50), ("nothing", 59), ("reserved", 255)] {
        corpus.lie(&name(kind), &bytes, |b| b[protocol] = number);
    }
    let bytes = Message::new(&CLIENT, &OUTSIDE, family, udp(4000, 53)).bytes();
    corpus.lie(&name("udp-without-checksum"), &bytes, |b| b[l4 + 6..l4 + 8].fill(0));
    corpus.lie(&name("udp-length-too-long"), &bytes, |b| b[l4 + 4..l4 + 6].fill(0xff));
}

fn options(corpus: &mut Corpus) {
    let message = Message::new(&CLIENT, &WEB, Family::V4, tcp(4000, 80));
    for size in [4, 40] {
        let bytes = message.bytes_with(|ip| {
            let IpHeaders::Ipv4(header, _) = ip else { unreachable!() };
            header.options = [1; 40][..size].try_into().unwrap();
        });
        corpus.add(&format!("v4-options-{size}"), bytes);
    }
    let bytes = message.bytes();
    corpus.lie("v4-header-length-16", &bytes, |b| b[14] = 0x44);
    corpus.lie("v4-header-length-60", &bytes, |b| b[14] = 0x4f);
    corpus.lie("v4-broadcast", &bytes, |b| b[30..34].fill(0xff));
}

fn extensions(corpus: &mut Corpus) {
    let message = Message::new(&CLIENT, &WEB, Family::V6, tcp(4000, 80));
    let options = |size: usize| Some(Ipv6RawExtHeader::new_raw(IpNumber(0), &vec![0; size]).unwrap());
    let cases = vec![
        ("hop-by-hop", Ipv6Extensions { hop_by_hop_options: options(6), ..Ipv6Extensions::default() }),
        ("destination", Ipv6Extensions { destination_options: options(14), ..Ipv6Extensions::default() }),
        (
            "both",
            Ipv6Extensions {
                hop_by_hop_options: options(14),
                destination_options: options(22),
                ..Ipv6Extensions::default()
            },
        ),
    ];
    for (name, extensions) in cases {
        let bytes = message.bytes_with(|ip| {
            let IpHeaders::Ipv6(_, all) = ip else { unreachable!() };
            *all = extensions;
        });
        corpus.add(&format!("v6-extension-{name}"), bytes);
    }
    let bytes = message.bytes();
    corpus.lie("v6-extension-chain", &bytes, |b| {
        b[20] = 60;
        b.truncate(54);
        b.extend([60, 0, 1, 4, 0, 0, 0, 0].repeat(20));
        b[18..20].copy_from_slice(&160_u16.to_be_bytes());
    });
    corpus.lie("v6-extension-length-255", &bytes, |b| {
        b[20] = 0;
        b[54..56].copy_from_slice(&[6, 255]);
    });
    corpus.lie("v6-extension-authentication", &bytes, |b| b[20] = 51);
}

fn arp(corpus: &mut Corpus) {
    let message = |to: Mac, operation: u8, sender: (Mac, Addr), target: (Mac, Addr)| {
        let mut bytes = [to.octets(), CLIENT.mac.octets()].concat();
        bytes.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation]);
        for (mac, addr) in [sender, target] {
            bytes.extend(mac.octets());
            bytes.extend(addr.v4_octets());
        }
        bytes
    };
    let (all, none) = (Mac::new([0xff; 6]), Mac::default());
    let own = (CLIENT.mac, CLIENT.ip4);
    let probe = (CLIENT.mac, Addr::UNSPECIFIED_V4);
    corpus.add("arp-gateway", message(all, 1, own, (none, CLIENT.gateway().ip4)));
    corpus.add("arp-peer", message(all, 1, own, (none, WEB.ip4)));
    corpus.add("arp-other-network", message(all, 1, own, (none, STRANGER.ip4)));
    corpus.add("arp-probe", message(all, 1, probe, (none, CLIENT.ip4)));
    corpus.add("arp-gratuitous", message(all, 1, own, (none, CLIENT.ip4)));
    corpus.add("arp-reply", message(WEB.mac, 2, own, (WEB.mac, WEB.ip4)));
    corpus.add("arp-spoofed", message(WEB.mac, 2, (CLIENT.mac, WEB.ip4), (WEB.mac, WEB.ip4)));
    let whole = message(all, 1, own, (none, WEB.ip4));
    corpus.lie("arp-cut", &whole, |b| b.truncate(33));
    corpus.lie("arp-padded", &whole, |b| b.resize(60, 0));
}

fn discovery(corpus: &mut Corpus) {
    let message = |src: Addr, dst: Addr, kind: u8, payload: &[u8]| {
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2(CLIENT.mac.octets(), [0x33, 0x33, 0, 0, 0, 1])
            .ipv6(src.octets(), dst.octets(), 255)
            .icmpv6_raw(kind, 0, [0; 4])
            .write_to_vec(&mut bytes, payload)
            .unwrap();
        bytes
    };
    let group = Addr::from_v6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 3]);
    let link_local = Addr::from_v6([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    let option = |kind: u8| [&[kind, 1][..], &CLIENT.mac.octets()].concat();
    let about = |addr: Addr, option: &[u8]| [&addr.octets(), option].concat();
    corpus.add("nd-gateway", message(CLIENT.ip6, group, 135, &about(CLIENT.gateway().ip6, &option(1))));
    corpus.add("nd-peer", message(CLIENT.ip6, group, 135, &about(WEB.ip6, &option(1))));
    corpus.add("nd-link-local", message(link_local, group, 135, &about(WEB.ip6, &option(1))));
    corpus.add("nd-without-option", message(CLIENT.ip6, WEB.ip6, 135, &about(WEB.ip6, &[])));
    corpus.add("nd-duplicate-detection", message(Addr::UNSPECIFIED_V6, group, 135, &about(CLIENT.ip6, &[])));
    corpus.add("nd-advertisement", message(CLIENT.ip6, group, 136, &about(CLIENT.ip6, &option(2))));
    corpus.add("nd-spoofed", message(CLIENT.ip6, group, 136, &about(WEB.ip6, &option(2))));
    corpus.add("nd-router-solicitation", message(link_local, group, 133, &option(1)));
    corpus.add("nd-router-advertisement", message(link_local, group, 134, &[0; 8]));
    corpus.add("nd-redirect", message(CLIENT.ip6, WEB.ip6, 137, &[WEB.ip6.octets(); 2].concat()));
    corpus.add("nd-listener-report", message(link_local, group, 143, &[0; 4]));
}

/// What is no IP and no ARP, or less than a frame.
fn frames(corpus: &mut Corpus) {
    let bytes = Message::new(&CLIENT, &WEB, Family::V4, udp(4000, 53)).bytes();
    corpus.lie("frame-empty", &bytes, Vec::clear);
    corpus.lie("frame-cut", &bytes, |b| b.truncate(13));
    corpus.lie("frame-header-only", &bytes, |b| b.truncate(14));
    corpus.lie("frame-lldp", &bytes, |b| b[12..14].copy_from_slice(&[0x88, 0xcc]));
    corpus.lie("frame-length", &bytes, |b| b[12..14].copy_from_slice(&[0, 46]));
    corpus.lie("frame-other-mac", &bytes, |b| b[6..12].copy_from_slice(&WEB.mac.octets()));
    corpus.lie("frame-v4-as-v6", &bytes, |b| b[12..14].copy_from_slice(&[0x86, 0xdd]));
    corpus.lie("frame-vlan", &bytes, |b| {
        b.splice(12..12, [0x81, 0, 0, 5]);
    });
}

#[test]
fn the_corpus_is_what_its_generator_makes() {
    let made = generate();
    if env::var_os("NETFAST_UPDATE_CORPUS").is_some() {
        fs::create_dir_all(directory()).unwrap();
        for (name, bytes) in &made {
            fs::write(directory().join(name), bytes).unwrap();
        }
    }
    let names: std::collections::BTreeSet<_> = made.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), made.len(), "two packets of one name");
    let files: std::collections::BTreeMap<_, _> = read().into_iter().collect();
    for (name, bytes) in &made {
        let update = "run the tests with NETFAST_UPDATE_CORPUS=1";
        assert!(files.get(name) == Some(bytes), "corpus/{name} is missing or old: {update}");
    }
}
