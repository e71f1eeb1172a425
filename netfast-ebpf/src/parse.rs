//! From bytes to headers: Ethernet, IPv4 and IPv6 with their options and extensions, and the ports.

use netfast_common::addr::Addr;
use netfast_common::flow::{ECHO_PORT, Tuple};
use netfast_common::protocol;
use netfast_common::reason::DropReason;
use netfast_common::rows::{FragmentKey, FragmentRow};
use network_types::eth::EthHdr;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::packet::Packet;
use crate::world::World;

/// Offset of the network header: what comes here has an Ethernet header without tags.
pub const L3: u32 = 14;

/// Ethertypes, as they stand in a frame.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800_u16.to_be();
    /// ARP.
    pub const ARP: u16 = 0x0806_u16.to_be();
    /// IPv6.
    pub const IPV6: u16 = 0x86dd_u16.to_be();
}

/// ICMP types that the dataplane tells apart.
pub mod icmp {
    /// Echo reply (ICMP).
    pub const ECHO_REPLY: u8 = 0;
    /// Echo request (ICMP).
    pub const ECHO_REQUEST: u8 = 8;
    /// Echo request (ICMPv6).
    pub const ECHO_REQUEST_V6: u8 = 128;
    /// Echo reply (ICMPv6).
    pub const ECHO_REPLY_V6: u8 = 129;
    /// Router solicitation (ICMPv6).
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Neighbour solicitation (ICMPv6).
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement (ICMPv6).
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
}

/// What is known of an IP packet after parsing.
#[derive(Clone, Copy, Debug)]
pub struct Headers {
    /// Addresses, ports and protocol.
    pub tuple: Tuple,
    /// Offset of the transport header.
    pub l4: u32,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TCP flags; 0 for other protocols.
    pub tcp_flags: u8,
    /// ICMP or ICMPv6 type; 0 for other protocols.
    pub icmp_type: u8,
    /// A fragment other than the first: there is no transport header in it.
    pub is_later_fragment: bool,
}

impl Headers {
    /// Whether the packet asks to open a TCP connection.
    #[inline(always)]
    pub const fn is_syn(&self) -> bool {
        use netfast_common::conntrack::tcp;
        self.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
    }

    /// Whether this is an ICMP echo request or reply, whose identifier stands in for a port.
    #[inline(always)]
    pub const fn is_echo(&self) -> bool {
        is_echo_request(self.tuple.protocol, self.icmp_type)
            || is_echo_reply(self.tuple.protocol, self.icmp_type)
    }

    /// Whether this is a neighbour discovery message that an endpoint sends.
    #[inline(always)]
    pub const fn is_neighbour_discovery(&self) -> bool {
        self.tuple.protocol == protocol::ICMPV6
            && self.icmp_type >= icmp::ROUTER_SOLICITATION
            && self.icmp_type <= icmp::NEIGHBOUR_ADVERTISEMENT
    }
}

/// Whether an ICMP message of this type asks for an echo.
#[inline(always)]
pub const fn is_echo_request(protocol: u8, icmp_type: u8) -> bool {
    (protocol == protocol::ICMP && icmp_type == icmp::ECHO_REQUEST)
        || (protocol == protocol::ICMPV6 && icmp_type == icmp::ECHO_REQUEST_V6)
}

/// Whether an ICMP message of this type is an echo.
#[inline(always)]
pub const fn is_echo_reply(protocol: u8, icmp_type: u8) -> bool {
    (protocol == protocol::ICMP && icmp_type == icmp::ECHO_REPLY)
        || (protocol == protocol::ICMPV6 && icmp_type == icmp::ECHO_REPLY_V6)
}

/// The network layer of a packet, before its ports are known.
struct Network {
    src: Addr,
    dst: Addr,
    protocol: u8,
    ttl: u8,
    l4: u32,
    fragment: Fragment,
}

/// What a packet is a part of.
#[derive(Clone, Copy)]
struct Fragment {
    /// Identification of the packet it is a part of.
    id: u32,
    /// There are other parts.
    is_fragment: bool,
    /// It is not the first part.
    is_later: bool,
}

impl Fragment {
    const NONE: Self = Self { id: 0, is_fragment: false, is_later: false };
}

/// Parses the IP packet of a frame with ethertype `ether_type`, which is IPv4 or IPv6.
///
/// # Errors
/// [`DropReason::BadHeader`] for headers that are cut short or contradict themselves,
/// [`DropReason::FragmentUnknown`] for a fragment whose first one has not been seen.
#[inline(always)]
pub fn ip<P: Packet, W: World>(packet: &P, world: &W, ether_type: u16) -> Result<Headers, DropReason> {
    let network = if ether_type == ethertype::IPV4 { ipv4(packet)? } else { ipv6(packet)? };
    transport(packet, world, &network)
}

#[inline(always)]
fn ipv4<P: Packet>(packet: &P) -> Result<Network, DropReason> {
    let header: Ipv4Hdr = packet.load(L3)?;
    let length = u32::from(header.ihl());
    if header.version() != 4 || length < 20 {
        return Err(DropReason::BadHeader);
    }
    // The frame may be padded, but never shorter than the packet says; nor may the packet be shorter than its header.
    let total = u32::from(header.tot_len());
    if total < length || (total != 0 && L3 + total > packet.len()) {
        return Err(DropReason::BadHeader);
    }
    let bits = u16::from_be_bytes(header.frags);
    let (more, offset) = (bits & 0x2000 != 0, bits & 0x1fff);
    Ok(Network {
        src: Addr::from_v4(header.src_addr),
        dst: Addr::from_v4(header.dst_addr),
        protocol: header.proto,
        ttl: header.ttl,
        l4: L3 + length,
        fragment: Fragment {
            id: u32::from(header.id()),
            is_fragment: more || offset != 0,
            is_later: offset != 0,
        },
    })
}

/// Extension headers walked before giving up. Real packets have one or two.
const MAX_EXTENSIONS: u32 = 6;

#[inline(always)]
fn ipv6<P: Packet>(packet: &P) -> Result<Network, DropReason> {
    let header: Ipv6Hdr = packet.load(L3)?;
    if header.version() != 6 {
        return Err(DropReason::BadHeader);
    }
    let payload = u32::from(header.payload_len());
    if L3 + 40 + payload > packet.len() {
        return Err(DropReason::BadHeader);
    }
    let mut next = header.next_hdr;
    let mut at = L3 + 40;
    let mut fragment = Fragment::NONE;
    for _ in 0..MAX_EXTENSIONS {
        // Hop-by-hop, routing and destination options share a form; the fragment header has its own. Behind a later
        // fragment's there is payload.
        match next {
            0 | 43 | 60 => {
                let [following, length]: [u8; 2] = packet.load(at)?;
                next = following;
                at += (u32::from(length) + 1) * 8;
            }
            44 => {
                let [following, _, offset_high, offset_low, a, b, c, d]: [u8; 8] = packet.load(at)?;
                let bits = u16::from_be_bytes([offset_high, offset_low]);
                next = following;
                at += 8;
                fragment = Fragment {
                    id: u32::from_be_bytes([a, b, c, d]),
                    is_fragment: bits & 0xfff9 != 0,
                    is_later: bits & 0xfff8 != 0,
                };
                if fragment.is_later {
                    break;
                }
            }
            _ => break,
        }
    }
    if !fragment.is_later && matches!(next, 0 | 43 | 44 | 60) {
        return Err(DropReason::BadHeader);
    }
    Ok(Network {
        src: Addr::from_v6(header.src_addr),
        dst: Addr::from_v6(header.dst_addr),
        protocol: next,
        ttl: header.hop_limit,
        l4: at,
        fragment,
    })
}

#[inline(always)]
fn transport<P: Packet, W: World>(packet: &P, world: &W, network: &Network) -> Result<Headers, DropReason> {
    let Network { src, dst, protocol, ttl, l4, fragment } = *network;
    let mut headers = Headers {
        tuple: Tuple { src, dst, sport: 0, dport: 0, protocol, pad: [0; 3] },
        l4,
        ttl,
        tcp_flags: 0,
        icmp_type: 0,
        is_later_fragment: fragment.is_later,
    };
    let key = FragmentKey { src, dst, id: fragment.id, protocol: u32::from(protocol) };
    if fragment.is_later {
        let row = world.fragment(&key).ok_or(DropReason::FragmentUnknown)?;
        headers.tuple.sport = row.sport;
        headers.tuple.dport = row.dport;
        return Ok(headers);
    }
    match protocol {
        protocol::TCP => {
            let tcp: [u8; 14] = packet.load(l4)?;
            headers.tuple.sport = u16::from_be_bytes([tcp[0], tcp[1]]);
            headers.tuple.dport = u16::from_be_bytes([tcp[2], tcp[3]]);
            headers.tcp_flags = tcp[13];
        }
        protocol::UDP | protocol::SCTP => {
            let [a, b, c, d]: [u8; 4] = packet.load(l4)?;
            headers.tuple.sport = u16::from_be_bytes([a, b]);
            headers.tuple.dport = u16::from_be_bytes([c, d]);
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let [kind, _, _, _, a, b]: [u8; 6] = packet.load(l4)?;
            headers.icmp_type = kind;
            let id = u16::from_be_bytes([a, b]);
            if is_echo_request(protocol, kind) {
                headers.tuple.sport = id;
                headers.tuple.dport = ECHO_PORT;
            } else if is_echo_reply(protocol, kind) {
                headers.tuple.sport = ECHO_PORT;
                headers.tuple.dport = id;
            }
        }
        _ => {}
    }
    if fragment.is_fragment {
        world
            .remember_fragment(&key, &FragmentRow { sport: headers.tuple.sport, dport: headers.tuple.dport });
    }
    Ok(headers)
}
