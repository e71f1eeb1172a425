//! From bytes to headers: Ethernet, IPv4 and IPv6 with their options and extensions, and the ports.

use netfast_common::addr::Addr;
use netfast_common::flow::{ECHO_PORT, Tuple};
use netfast_common::protocol;
use netfast_common::reason::DropReason;
use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::packet::{Packet, Wire};
use crate::verdict::Outcome;

/// Offset of the network header: what comes here has an Ethernet header without tags.
pub const L3: u32 = EthHdr::LEN as u32;

/// Ethertypes, as they stand in a frame.
pub mod ethertype {
    use super::EtherType;

    /// IPv4.
    pub const IPV4: u16 = EtherType::Ipv4 as u16;
    /// ARP.
    pub const ARP: u16 = EtherType::Arp as u16;
    /// IPv6.
    pub const IPV6: u16 = EtherType::Ipv6 as u16;
}

/// ICMP types that the dataplane tells apart.
pub mod icmp {
    /// Echo reply (ICMP).
    pub const ECHO_REPLY: u8 = 0;
    /// Echo request (ICMP).
    pub const ECHO_REQUEST: u8 = 8;
    /// Destination unreachable, which also tells a path's MTU (ICMP).
    pub const UNREACHABLE: u8 = 3;
    /// Source quench (ICMP).
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect (ICMP).
    pub const REDIRECT: u8 = 5;
    /// Time exceeded (ICMP).
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem (ICMP).
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// Destination unreachable, the first of the four errors (ICMPv6).
    pub const UNREACHABLE_V6: u8 = 1;
    /// Packet too big (ICMPv6).
    pub const TOO_BIG_V6: u8 = 2;
    /// Time exceeded (ICMPv6).
    pub const TIME_EXCEEDED_V6: u8 = 3;
    /// Parameter problem, the last of the four errors (ICMPv6).
    pub const PARAMETER_PROBLEM_V6: u8 = 4;
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
    /// Redirect (ICMPv6).
    pub const REDIRECT_V6: u8 = 137;
    /// No type: reserved in ICMP and in ICMPv6.
    pub const NONE: u8 = 255;
}

/// What is known of an IP packet after parsing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers {
    /// Addresses, ports and protocol.
    pub tuple: Tuple,
    /// Offset of the transport header.
    pub l4: u32,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Checksum of an IPv4 header, as it stands there.
    pub checksum: u16,
    /// TCP flags; 0 for other protocols.
    pub tcp_flags: u8,
    /// ICMP or ICMPv6 type, of later fragments an echo's only; else [`icmp::NONE`].
    pub icmp_type: u8,
    /// Of a fragment: identification of the packet it is a part of.
    pub fragment_id: u32,
    /// It is a part of a packet.
    pub is_fragment: bool,
    /// A fragment other than the first: there is no transport header in it.
    pub is_later_fragment: bool,
    /// All of this is known: parsing came to its end.
    pub is_parsed: bool,
    /// The packet's IP header is one of IPv4: like its addresses here, until it gets one of the other family.
    pub is_v4: bool,
}

impl Headers {
    /// Whether the packet asks to open a TCP connection.
    #[inline(always)]
    pub const fn is_syn(&self) -> bool {
        use netfast_common::conntrack::tcp;
        self.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
    }

    /// Whether the packet accepts a TCP connection.
    #[inline(always)]
    pub const fn is_syn_ack(&self) -> bool {
        use netfast_common::conntrack::tcp;
        self.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN | tcp::ACK
    }

    /// Whether this is an ICMP echo request or reply, whose identifier stands in for a port.
    #[inline(always)]
    pub const fn is_echo(&self) -> bool {
        is_echo_request(self.tuple.protocol, self.icmp_type)
            || is_echo_reply(self.tuple.protocol, self.icmp_type)
    }

    /// Whether this is an ICMP or ICMPv6 error, which quotes the packet it is about.
    #[inline(always)]
    pub const fn is_icmp_error(&self) -> bool {
        match self.tuple.protocol {
            protocol::ICMP => matches!(
                self.icmp_type,
                icmp::UNREACHABLE | icmp::SOURCE_QUENCH | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM
            ),
            protocol::ICMPV6 => {
                self.icmp_type >= icmp::UNREACHABLE_V6 && self.icmp_type <= icmp::PARAMETER_PROBLEM_V6
            }
            _ => false,
        }
    }

    /// Whether this is an ICMP or ICMPv6 message about another packet: an error or a redirect.
    #[inline(always)]
    pub const fn is_icmp_report(&self) -> bool {
        let redirect = match self.tuple.protocol {
            protocol::ICMP => icmp::REDIRECT,
            protocol::ICMPV6 => icmp::REDIRECT_V6,
            _ => return false,
        };
        self.is_icmp_error() || self.icmp_type == redirect
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

/// Parses the IP packet of a frame with ethertype `ether_type`, which is IPv4 or IPv6. A function of its own in BPF:
/// behind it, the verifier forgets by which of the many ways through the headers it came.
///
/// Answers [`DropReason::BadHeader`] for headers that are cut short or contradict themselves, and [`DropReason::Martian`]
/// for IPv4 addresses in an IPv6 header. Of a later fragment
/// `fragment::complete` knows the rest.
#[inline(never)]
pub fn ip<P: Packet>(packet: &P, ether_type: u16, headers: &mut Headers) -> Outcome {
    Outcome::pack(try_ip(packet, ether_type, headers).map(|()| true).map_err(Into::into))
}

#[inline(always)]
fn try_ip<P: Packet>(packet: &P, ether_type: u16, headers: &mut Headers) -> Result<(), DropReason> {
    headers.is_parsed = false;
    headers.tcp_flags = 0;
    headers.icmp_type = icmp::NONE;
    headers.tuple.sport = 0;
    headers.tuple.dport = 0;
    headers.tuple.pad = [0; 3];
    headers.is_fragment = false;
    headers.is_later_fragment = false;
    headers.is_v4 = ether_type == ethertype::IPV4;
    if ether_type == ethertype::IPV4 {
        ipv4(packet, headers)?;
    } else {
        ipv6(packet, headers)?;
    }
    if !headers.is_later_fragment {
        transport(packet, headers)?;
        headers.is_parsed = true;
    }
    Ok(())
}

#[inline(always)]
fn ipv4<P: Packet>(packet: &P, headers: &mut Headers) -> Result<(), DropReason> {
    let words: [u16; Ipv4Hdr::LEN / 2] = packet.peek(L3)?;
    let [version_and_length, _] = words[0].to_ne_bytes();
    let [ttl, protocol] = words[4].to_ne_bytes();
    let length = u32::from(version_and_length & 0xf) * 4;
    // The frame may be padded, but never shorter than the packet says; nor may the packet be shorter than its header.
    let total = u32::from(u16::from_be(words[1]));
    if version_and_length >> 4 != 4 || length < 20 || total < length || L3 + total > packet.len() {
        return Err(DropReason::BadHeader);
    }
    let bits = u16::from_be(words[3]);
    headers.tuple.src = address(words[6], words[7]);
    headers.tuple.dst = address(words[8], words[9]);
    headers.tuple.protocol = protocol;
    headers.ttl = ttl;
    headers.checksum = words[5];
    headers.l4 = L3 + length;
    headers.is_later_fragment = bits & 0x1fff != 0;
    headers.is_fragment = bits & 0x3fff != 0;
    headers.fragment_id = u32::from(u16::from_be(words[2]));
    Ok(())
}

/// An IPv4 address from its halves as they stand in a packet.
#[inline(always)]
pub(crate) const fn address(high: u16, low: u16) -> Addr {
    let ([a, b], [c, d]) = (high.to_ne_bytes(), low.to_ne_bytes());
    Addr::from_v4([a, b, c, d])
}

/// Extension headers walked before giving up. Real packets have one or two.
const MAX_EXTENSIONS: u32 = 6;

/// Extension headers (RFC 8200): hop-by-hop options, routing, fragment, destination options.
pub(crate) mod extension {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(super) const DESTINATION: u8 = 60;
}

const IPV6_LEN: u32 = Ipv6Hdr::LEN as u32;

#[inline(always)]
fn ipv6<P: Packet>(packet: &P, headers: &mut Headers) -> Result<(), DropReason> {
    let words: [u32; 2] = packet.load(L3)?;
    let [version, ..] = words[0].to_ne_bytes();
    let [payload_high, payload_low, next, hop_limit] = words[1].to_ne_bytes();
    let payload = u32::from(u16::from_be_bytes([payload_high, payload_low]));
    if version >> 4 != 6 || L3 + IPV6_LEN + payload > packet.len() {
        return Err(DropReason::BadHeader);
    }
    headers.tuple.src = packet.load(L3 + 8)?;
    headers.tuple.dst = packet.load(L3 + 24)?;
    // Mapped IPv4 addresses never stand on a wire, and in a tuple they would be those of IPv4.
    if headers.tuple.src.is_v4() || headers.tuple.dst.is_v4() {
        return Err(DropReason::Martian);
    }
    headers.tuple.protocol = next;
    headers.ttl = hop_limit;
    headers.l4 = L3 + IPV6_LEN;
    if matches!(next, protocol::TCP | protocol::UDP | protocol::ICMPV6) {
        return Ok(());
    }
    extensions(packet, headers)
}

/// Walks the extension headers of an IPv6 packet.
#[inline(always)]
fn extensions<P: Packet>(packet: &P, headers: &mut Headers) -> Result<(), DropReason> {
    let mut next = headers.tuple.protocol;
    let mut at = headers.l4;
    for _ in 0..MAX_EXTENSIONS {
        match next {
            extension::HOP_BY_HOP | extension::ROUTING | extension::DESTINATION => {
                let [following, length]: [u8; 2] = packet.load(at)?;
                next = following;
                at += (u32::from(length) + 1) * 8;
            }
            extension::FRAGMENT => {
                let [following, _, high, low, a, b, c, d]: [u8; 8] = packet.load(at)?;
                let bits = u16::from_be_bytes([high, low]);
                next = following;
                at += 8;
                headers.fragment_id = u32::from_be_bytes([a, b, c, d]);
                headers.is_fragment = bits & 0xfff9 != 0;
                headers.is_later_fragment = bits & 0xfff8 != 0;
                if headers.is_later_fragment {
                    // Behind it there is payload.
                    break;
                }
            }
            _ => break,
        }
    }
    let is_unfinished = matches!(
        next,
        extension::HOP_BY_HOP | extension::ROUTING | extension::FRAGMENT | extension::DESTINATION
    );
    if is_unfinished && !headers.is_later_fragment {
        return Err(DropReason::BadHeader);
    }
    headers.tuple.protocol = next;
    headers.l4 = at;
    Ok(())
}

/// Reads a transport header, which nearly always stands behind an IPv4 header without options.
#[inline(always)]
fn behind<P: Packet, T: Wire>(packet: &P, l4: u32) -> Result<T, DropReason> {
    const PLAIN: u32 = L3 + Ipv4Hdr::LEN as u32;
    if l4 == PLAIN { packet.peek(PLAIN) } else { packet.load(l4) }
}

#[inline(always)]
fn transport<P: Packet>(packet: &P, headers: &mut Headers) -> Result<(), DropReason> {
    let protocol = headers.tuple.protocol;
    match protocol {
        protocol::TCP => {
            let [sport, dport, _, _, _, _, offset_and_flags]: [u16; 7] = behind(packet, headers.l4)?;
            headers.tuple.sport = u16::from_be(sport);
            headers.tuple.dport = u16::from_be(dport);
            headers.tcp_flags = offset_and_flags.to_ne_bytes()[1];
        }
        protocol::UDP | protocol::SCTP => {
            let [sport, dport]: [u16; 2] = behind(packet, headers.l4)?;
            headers.tuple.sport = u16::from_be(sport);
            headers.tuple.dport = u16::from_be(dport);
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let [type_and_code, _, id]: [u16; 3] = packet.load(headers.l4)?;
            let [kind, _] = type_and_code.to_ne_bytes();
            headers.icmp_type = kind;
            let id = u16::from_be(id);
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
    Ok(())
}
