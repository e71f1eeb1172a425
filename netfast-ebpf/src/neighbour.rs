//! ARP and IPv6 neighbour discovery, answered at the endpoint's own device: no broadcast leaves it.

use netfast_common::addr::{Addr, Mac};
use netfast_common::counter::Path;
use netfast_common::protocol;
use netfast_common::reason::DropReason;
use netfast_common::rows::{ADDRESS_ENDPOINT, ADDRESS_GATEWAY, EndpointRow};
use network_types::eth::EthHdr;

use crate::packet::Packet;
use crate::parse::{Headers, L3, icmp};
use crate::verdict::{Dropped, Verdict};
use crate::world::World;

/// An ARP message for IPv4 over Ethernet (RFC 826), after the Ethernet header.
const ARP_LEN: usize = 28;
/// Hardware type Ethernet, protocol type IPv4, address lengths 6 and 4.
const ARP_ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_REQUEST: [u8; 2] = [0, 1];
const ARP_REPLY: [u8; 2] = [0, 2];

/// The MAC address of `addr` on the endpoint's network, if somebody other than itself has it there.
#[inline(always)]
fn mac_of<W: World>(world: &W, endpoint: &EndpointRow, addr: &Addr) -> Result<Mac, DropReason> {
    let row = world.address(addr).ok_or(DropReason::UnknownNeighbour)?;
    if row.network != endpoint.network {
        return Err(DropReason::UnknownNeighbour);
    }
    match row.kind {
        ADDRESS_GATEWAY => Ok(endpoint.gateway_mac),
        ADDRESS_ENDPOINT if row.ifindex != endpoint.ifindex => {
            let peer = world.endpoint(row.ifindex).ok_or(DropReason::UnknownNeighbour)?;
            Ok(peer.mac)
        }
        _ => Err(DropReason::UnknownNeighbour),
    }
}

/// Answers an ARP request of the endpoint by turning it into the reply.
///
/// A probe for an address of one's own, or of nobody, is not answered: silence is what says it is free.
///
/// # Errors
/// [`DropReason::SpoofedArp`] for a claim to another's address, [`DropReason::UnknownNeighbour`] for everything
/// else that needs no answer.
#[inline(always)]
pub fn arp<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    endpoint: &EndpointRow,
) -> Result<Verdict, Dropped> {
    let arp: [u8; ARP_LEN] = packet.load(L3)?;
    let [h0, h1, p0, p1, hl, pl, op0, op1, s0, s1, s2, s3, s4, s5, a, b, c, d, ..] = arp;
    if [h0, h1, p0, p1, hl, pl] != ARP_ETHERNET_IPV4 {
        return Err(DropReason::BadHeader.into());
    }
    let sender = Addr::from_v4([a, b, c, d]);
    let [.., t0, t1, t2, t3] = arp;
    let target = Addr::from_v4([t0, t1, t2, t3]);
    // 0.0.0.0 is the sender of a probe (RFC 5227).
    let sender_is_own = sender == endpoint.ip4 && !sender.is_unspecified();
    if Mac([s0, s1, s2, s3, s4, s5]) != endpoint.mac || !(sender_is_own || sender.is_unspecified()) {
        return Err(DropReason::SpoofedArp.into());
    }
    if [op0, op1] != ARP_REQUEST || sender.is_unspecified() {
        return Err(DropReason::UnknownNeighbour.into());
    }
    let mac = mac_of(world, endpoint, &target)?;

    let mut reply = [0_u8; ARP_LEN];
    reply[..6].copy_from_slice(&ARP_ETHERNET_IPV4);
    reply[6..8].copy_from_slice(&ARP_REPLY);
    reply[8..14].copy_from_slice(&mac.0);
    reply[14..18].copy_from_slice(&[t0, t1, t2, t3]);
    reply[18..24].copy_from_slice(&endpoint.mac.0);
    reply[24..28].copy_from_slice(&[a, b, c, d]);
    packet.store(L3, &reply)?;
    answer(packet, world, endpoint, mac)
}

/// Length of a solicitation or advertisement with one option, from the ICMPv6 header on: 24 bytes and the option's 8.
const ND_LEN: u32 = 32;
/// Flags of the answer: solicited, and it overrides what is cached.
const SOLICITED_OVERRIDE: [u8; 4] = [0x60, 0, 0, 0];
/// Option type "target link-layer address", of one unit of 8 bytes.
const TARGET_LINK_LAYER: [u8; 2] = [2, 1];

/// Answers a neighbour solicitation of the endpoint by turning it into the advertisement.
///
/// # Errors
/// [`DropReason::SpoofedArp`] for an advertisement of another's address, [`DropReason::UnknownNeighbour`] or
/// [`DropReason::Multicast`] for everything that needs no answer.
#[inline(always)]
pub fn discovery<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    endpoint: &EndpointRow,
    headers: &Headers,
) -> Result<Verdict, Dropped> {
    match headers.icmp_type {
        icmp::NEIGHBOUR_SOLICITATION => {}
        icmp::NEIGHBOUR_ADVERTISEMENT => return advertisement(packet, endpoint, headers),
        _ => return Err(DropReason::Multicast.into()),
    }
    // RFC 4861, 7.1.1: a hop limit other than 255 has come through a router.
    if headers.ttl != 255 {
        return Err(DropReason::BadHeader.into());
    }
    let target = Addr::from_v6(packet.load(headers.l4 + 8)?);
    if headers.tuple.src.is_unspecified() {
        // Duplicate address detection: only the address's owner would answer.
        return Err(DropReason::UnknownNeighbour.into());
    }
    let mac = mac_of(world, endpoint, &target)?;
    // The solicitation names its sender's link-layer address in an option of the same size as the answer's.
    let option: [u8; 2] = packet.load(headers.l4 + 24)?;
    if option != [1, 1] || packet.len() != headers.l4 + ND_LEN {
        return Err(DropReason::UnknownNeighbour.into());
    }

    let mut new = [0_u8; ND_LEN as usize];
    new[0] = icmp::NEIGHBOUR_ADVERTISEMENT;
    new[4..8].copy_from_slice(&SOLICITED_OVERRIDE);
    new[8..24].copy_from_slice(&target.octets());
    new[24..26].copy_from_slice(&TARGET_LINK_LAYER);
    new[26..32].copy_from_slice(&mac.0);
    let checksum = advertisement_checksum(&target, &headers.tuple.src, &new);
    new[2..4].copy_from_slice(&checksum.to_be_bytes());

    packet.store(headers.l4, &new)?;
    packet.store(L3 + 8, &target.octets())?;
    packet.store(L3 + 24, &headers.tuple.src.octets())?;
    answer(packet, world, endpoint, mac)
}

/// The checksum of an advertisement, pseudo-header included (RFC 4443, 2.3).
#[inline(always)]
fn advertisement_checksum(src: &Addr, dst: &Addr, message: &[u8; ND_LEN as usize]) -> u16 {
    let mut sum = ND_LEN + u32::from(protocol::ICMPV6);
    let (src, dst) = (src.octets(), dst.octets());
    for i in 0..8 {
        sum += u32::from(u16::from_be_bytes([src[2 * i], src[2 * i + 1]]));
        sum += u32::from(u16::from_be_bytes([dst[2 * i], dst[2 * i + 1]]));
    }
    for i in 0..(ND_LEN as usize) / 2 {
        sum += u32::from(u16::from_be_bytes([message[2 * i], message[2 * i + 1]]));
    }
    !netfast_common::checksum::fold(sum)
}

/// An advertisement of one's own address is needed by nobody, as all are answered here; one of another's is a lie.
#[inline(always)]
fn advertisement<P: Packet>(
    packet: &P,
    endpoint: &EndpointRow,
    headers: &Headers,
) -> Result<Verdict, Dropped> {
    let target = Addr::from_v6(packet.load(headers.l4 + 8)?);
    if target == endpoint.ip6 || target.is_link_local_v6() {
        Err(DropReason::UnknownNeighbour.into())
    } else {
        Err(DropReason::SpoofedArp.into())
    }
}

/// Sends the packet, now an answer from `mac`, back to where it came from.
#[inline(always)]
fn answer<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    endpoint: &EndpointRow,
    mac: Mac,
) -> Result<Verdict, Dropped> {
    let header: EthHdr = packet.load(0)?;
    packet.store(0, &EthHdr { dst_addr: endpoint.mac.0, src_addr: mac.0, ..header })?;
    world.count(Path::Neighbour, packet.len());
    Ok(Verdict::ToEndpoint(endpoint.ifindex))
}
