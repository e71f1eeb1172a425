//! Packets by their meaning, built and read by etherparse.

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    IcmpEchoHeader, Icmpv4Type, Icmpv6Type, IpHeaders, Ipv4Header, Ipv6Header, LinkSlice, NetSlice,
    PacketBuilder, SlicedPacket, TcpHeader, TransportSlice,
};
use netfast_common::addr::{Addr, Mac};
use netfast_common::flow::Tuple;
use netfast_common::protocol;

use super::cast::{Family, Member};

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Tcp { sport: u16, dport: u16, flags: u8 },
    Udp { sport: u16, dport: u16 },
    Ask { id: u16 },
    Answer { id: u16 },
    Error { kind: u8, code: u8 },
}

/// A message between two hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) from_mac: Mac,
    pub(super) to_mac: Mac,
    pub(super) src: Addr,
    pub(super) dst: Addr,
    pub(super) ttl: u8,
    pub(super) what: What,
    pub(super) payload: Vec<u8>,
}

impl Message {
    /// What `from` sends to `to`: across the wire of their network, or by way of the gateway.
    pub(super) fn new(from: &Member, to: &Member, family: Family, what: What) -> Self {
        let hop = if from.network == to.network || from.network == 0 { to.mac } else { from.gateway().mac };
        Self {
            from_mac: from.mac,
            to_mac: hop,
            src: from.addr(family),
            dst: to.addr(family),
            ttl: 64,
            what,
            payload: b"an odd payload!".to_vec(),
        }
    }

    /// What its receiver sends back.
    pub(super) fn reply(&self) -> Self {
        let what = match self.what {
            What::Tcp { sport, dport, .. } => What::Tcp { sport: dport, dport: sport, flags: SYN | ACK },
            What::Udp { sport, dport } => What::Udp { sport: dport, dport: sport },
            What::Ask { id } => What::Answer { id },
            other => other,
        };
        let Self { from_mac, to_mac, src, dst, .. } = *self;
        Self { from_mac: to_mac, to_mac: from_mac, src: dst, dst: src, ttl: 64, what, payload: vec![7; 32] }
    }

    /// The same message with other TCP flags.
    pub(super) fn flags(&self, flags: u8) -> Self {
        let What::Tcp { sport, dport, .. } = self.what else { panic!("not TCP: {self:?}") };
        Self { what: What::Tcp { sport, dport, flags }, ..self.clone() }
    }

    /// Source and destination port.
    pub(super) fn ports(&self) -> (u16, u16) {
        match self.what {
            What::Tcp { sport, dport, .. } | What::Udp { sport, dport } => (sport, dport),
            What::Ask { id } => (id, 0),
            What::Answer { id } => (0, id),
            What::Error { .. } => (0, 0),
        }
    }

    /// The tuple of a message with ports, or of an echo.
    pub(super) fn tuple(&self) -> Tuple {
        let protocol = match self.what {
            What::Tcp { .. } => protocol::TCP,
            What::Udp { .. } => protocol::UDP,
            _ if self.src.is_v4() => protocol::ICMP,
            _ => protocol::ICMPV6,
        };
        let (sport, dport) = self.ports();
        Tuple { src: self.src, dst: self.dst, sport, dport, protocol, pad: [0; 3] }
    }

    /// The headers in front of the transport protocol's.
    fn ip(&self) -> IpHeaders {
        if self.src.is_v4() {
            let (src, dst) = (self.src.v4_octets(), self.dst.v4_octets());
            let header =
                Ipv4Header { time_to_live: self.ttl, source: src, destination: dst, ..Default::default() };
            IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default())
        } else {
            let (source, destination) = (self.src.octets(), self.dst.octets());
            let header = Ipv6Header { hop_limit: self.ttl, source, destination, ..Default::default() };
            IpHeaders::Ipv6(header, etherparse::Ipv6Extensions::default())
        }
    }

    /// As it stands on the wire.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.bytes_with(|_| {})
    }

    /// As it stands on the wire, after `change` had its way with the IP headers.
    pub(super) fn bytes_with(&self, change: impl FnOnce(&mut IpHeaders)) -> Vec<u8> {
        let mut ip = self.ip();
        change(&mut ip);
        let start = PacketBuilder::ethernet2(self.from_mac.octets(), self.to_mac.octets()).ip(ip);
        let mut bytes = Vec::new();
        let is_v4 = self.src.is_v4();
        let echo = |id| IcmpEchoHeader { id, seq: 1 };
        let written = match self.what {
            What::Tcp { sport, dport, flags } => {
                let mut header = TcpHeader::new(sport, dport, 12345, 1000);
                header.fin = flags & FIN != 0;
                header.syn = flags & SYN != 0;
                header.rst = flags & RST != 0;
                header.ack = flags & ACK != 0;
                start.tcp_header(header).write_to_vec(&mut bytes, &self.payload)
            }
            What::Udp { sport, dport } => start.udp(sport, dport).write_to_vec(&mut bytes, &self.payload),
            What::Ask { id } if is_v4 => {
                start.icmpv4(Icmpv4Type::EchoRequest(echo(id))).write_to_vec(&mut bytes, &self.payload)
            }
            What::Answer { id } if is_v4 => {
                start.icmpv4(Icmpv4Type::EchoReply(echo(id))).write_to_vec(&mut bytes, &self.payload)
            }
            What::Ask { id } => {
                start.icmpv6(Icmpv6Type::EchoRequest(echo(id))).write_to_vec(&mut bytes, &self.payload)
            }
            What::Answer { id } => {
                start.icmpv6(Icmpv6Type::EchoReply(echo(id))).write_to_vec(&mut bytes, &self.payload)
            }
            What::Error { kind, code } if is_v4 => {
                start.icmpv4_raw(kind, code, [0; 4]).write_to_vec(&mut bytes, &self.payload)
            }
            What::Error { kind, code } => {
                start.icmpv6_raw(kind, code, [0; 4]).write_to_vec(&mut bytes, &self.payload)
            }
        };
        written.unwrap();
        bytes
    }

    /// Reads a frame that must be right in every length and checksum.
    pub(super) fn read(bytes: &[u8]) -> Self {
        verify_checksums(bytes);
        let packet = SlicedPacket::from_ethernet(bytes).unwrap();
        let Some(LinkSlice::Ethernet2(frame)) = &packet.link else { panic!("no Ethernet header") };
        let (src, dst, ttl) = match packet.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                let (src, dst) = (header.source(), header.destination());
                (Addr::from_v4(src), Addr::from_v4(dst), header.ttl())
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                let (src, dst) = (header.source(), header.destination());
                (Addr::from_v6(src), Addr::from_v6(dst), header.hop_limit())
            }
            NetSlice::Arp(_) => panic!("ARP"),
        };
        let icmp = |kind, code, id: [u8; 4], request, reply| {
            let id = u16::from_be_bytes([id[0], id[1]]);
            match kind {
                kind if kind == request => What::Ask { id },
                kind if kind == reply => What::Answer { id },
                _ => What::Error { kind, code },
            }
        };
        let (what, payload) = match packet.transport.as_ref().unwrap() {
            TransportSlice::Tcp(tcp) => {
                let bits = [(tcp.fin(), FIN), (tcp.syn(), SYN), (tcp.rst(), RST), (tcp.ack(), ACK)];
                let flags = bits.into_iter().filter(|(is_set, _)| *is_set).map(|(_, bit)| bit).sum();
                (What::Tcp { sport: tcp.source_port(), dport: tcp.destination_port(), flags }, tcp.payload())
            }
            TransportSlice::Udp(udp) => {
                (What::Udp { sport: udp.source_port(), dport: udp.destination_port() }, udp.payload())
            }
            TransportSlice::Icmpv4(m) => (icmp(m.type_u8(), m.code_u8(), m.bytes5to8(), 8, 0), m.payload()),
            TransportSlice::Icmpv6(m) => {
                (icmp(m.type_u8(), m.code_u8(), m.bytes5to8(), 128, 129), m.payload())
            }
            TransportSlice::Igmp(_) => panic!("IGMP"),
        };
        let (from_mac, to_mac) = (Mac::new(frame.source()), Mac::new(frame.destination()));
        Self { from_mac, to_mac, src, dst, ttl, what, payload: payload.to_vec() }
    }
}

/// Sums up headers and pseudo-headers in full: a right checksum makes the sum zero.
pub(super) fn verify_checksums(bytes: &[u8]) {
    let packet = SlicedPacket::from_ethernet(bytes).unwrap();
    let mut sum = Sum16BitWords::new();
    let (ip, is_v4) = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!(
                header.header_checksum(),
                header.to_header().calc_header_checksum(),
                "header checksum"
            );
            sum = sum.add_4bytes(header.source()).add_4bytes(header.destination());
            (ip.payload(), true)
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            sum = sum.add_16bytes(header.source()).add_16bytes(header.destination());
            (ip.payload(), false)
        }
        NetSlice::Arp(_) => return,
    };
    if ip.fragmented || packet.transport.is_none() {
        return;
    }
    let is_icmp4 = matches!(packet.transport, Some(TransportSlice::Icmpv4(_)));
    if is_icmp4 {
        assert!(is_v4);
        sum = Sum16BitWords::new();
    } else {
        let length = u16::try_from(ip.payload.len()).unwrap().to_be_bytes();
        sum = sum.add_2bytes([0, ip.ip_number.0]).add_2bytes(length);
    }
    let is_unsummed_udp = matches!(&packet.transport, Some(TransportSlice::Udp(udp)) if udp.checksum() == 0);
    if !is_unsummed_udp {
        assert_eq!(sum.add_slice(ip.payload).ones_complement(), 0, "transport checksum");
    }
}

pub(super) use netfast_common::conntrack::tcp::{ACK, FIN, RST, SYN};

/// A connection's first packet.
pub(super) const fn tcp(sport: u16, dport: u16) -> What {
    What::Tcp { sport, dport, flags: SYN }
}

/// A datagram.
pub(super) const fn udp(sport: u16, dport: u16) -> What {
    What::Udp { sport, dport }
}

/// An echo request.
pub(super) const fn ping(id: u16) -> What {
    What::Ask { id }
}
