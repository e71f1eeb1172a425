//! What the first bytes of a packet tell, however it is damaged.

use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket, LinkSlice, TransportSlice};
use netfast_common::addr::Mac;

/// As much as could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) src_mac: Option<String>,
    pub(super) dst_mac: Option<String>,
    pub(super) ether_type: Option<u16>,
    pub(super) src: Option<IpAddr>,
    pub(super) dst: Option<IpAddr>,
    pub(super) protocol: Option<u8>,
    pub(super) ports: Option<(u16, u16)>,
    pub(super) icmp: Option<(u8, u8)>,
    pub(super) tcp_flags: Option<u8>,
}

impl Packet {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut packet = Self::default();
        let Ok(sliced) = LaxSlicedPacket::from_ethernet(bytes) else { return packet };
        if let Some(LinkSlice::Ethernet2(frame)) = &sliced.link {
            packet.src_mac = Some(Mac::new(frame.source()).to_string());
            packet.dst_mac = Some(Mac::new(frame.destination()).to_string());
            packet.ether_type = Some(frame.ether_type().0);
        }
        match &sliced.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                packet.src = Some(ip.header().source_addr().into());
                packet.dst = Some(ip.header().destination_addr().into());
                packet.protocol = Some(ip.payload().ip_number.0);
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                packet.src = Some(ip.header().source_addr().into());
                packet.dst = Some(ip.header().destination_addr().into());
                packet.protocol = Some(ip.payload().ip_number.0);
            }
            Some(LaxNetSlice::Arp(arp)) => {
                packet.src = ip(arp.sender_protocol_addr());
                packet.dst = ip(arp.target_protocol_addr());
            }
            None => {}
        }
        match &sliced.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                packet.ports = Some((tcp.source_port(), tcp.destination_port()));
                packet.tcp_flags = tcp.slice().get(13).copied();
            }
            Some(TransportSlice::Udp(udp)) => {
                packet.ports = Some((udp.source_port(), udp.destination_port()));
            }
            Some(TransportSlice::Icmpv4(icmp)) => packet.icmp = Some((icmp.type_u8(), icmp.code_u8())),
            Some(TransportSlice::Icmpv6(icmp)) => packet.icmp = Some((icmp.type_u8(), icmp.code_u8())),
            Some(TransportSlice::Igmp(_)) | None => {}
        }
        packet
    }
}

/// An address of an ARP message.
fn ip(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from)
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn syn() -> Vec<u8> {
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(4000, 80, 1, 1000)
            .syn()
            .write(&mut bytes, &[0; 100])
            .unwrap();
        bytes
    }

    #[test]
    fn a_packet_cut_short_tells_what_is_there() {
        let whole = Packet::parse(&syn());
        assert_eq!(whole.ports, Some((4000, 80)));
        assert_eq!((whole.protocol, whole.tcp_flags), (Some(6), Some(2)));
        assert_eq!(Packet::parse(&syn()[..60]), whole);
        let without_ports = Packet::parse(&syn()[..36]);
        assert_eq!((without_ports.ports, without_ports.src), (None, whole.src));
        let frame = Packet::parse(&syn()[..14]);
        assert_eq!((frame.src, frame.src_mac.as_deref()), (None, Some("02:00:00:00:00:01")));
        assert_eq!(Packet::parse(&[]), Packet::default());
    }

    #[test]
    fn no_bytes_are_too_strange() {
        for seed in 0..2000_u32 {
            let mut bytes = syn();
            let at = seed as usize % bytes.len();
            bytes[at] = bytes[at].wrapping_add(u8::try_from(seed % 251).unwrap());
            bytes.truncate(at + 1 + seed as usize % 100);
            let _packet = Packet::parse(&bytes);
        }
    }
}
