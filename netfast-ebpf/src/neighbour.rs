//! ARP and IPv6 neighbour discovery, answered at the endpoint's own device: no broadcast leaves it.

use netfast_common::addr::{Addr, Mac};
use netfast_common::checksum::{address_sum, finish};
use netfast_common::counter::Path;
use netfast_common::protocol;
use netfast_common::reason::DropReason;
use netfast_common::rows::{
    ADDRESS_ENDPOINT, ADDRESS_GATEWAY, ENDPOINT_ADOPTED, ENDPOINT_ANY_SOURCE, EndpointRow,
};

use crate::further;
use crate::packet::{Frame, Packet, Wire};
use crate::parse::{Headers, L3, ethertype, icmp};
use crate::verdict::Outcome;
use crate::world::World;

/// An ARP message for IPv4 over Ethernet (RFC 826). Its four bytes of IPv4 addresses stand at odd multiples of two.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arp {
    /// Hardware and protocol type, address lengths.
    kind: [u16; 3],
    operation: u16,
    sender_mac: Mac,
    sender: [u16; 2],
    target_mac: Mac,
    target: [u16; 2],
}

// SAFETY: fourteen words of 16 bits.
unsafe impl Wire for Arp {}

/// Ethernet, IPv4, and addresses of 6 and 4 bytes.
const ETHERNET_IPV4: [u16; 3] = [1_u16.to_be(), 0x0800_u16.to_be(), 0x0604_u16.to_be()];
const REQUEST: u16 = 1_u16.to_be();
const REPLY: u16 = 2_u16.to_be();

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

#[inline(always)]
fn address([high, low]: [u16; 2]) -> Addr {
    let ([a, b], [c, d]) = (high.to_ne_bytes(), low.to_ne_bytes());
    Addr::from_v4([a, b, c, d])
}

#[inline(always)]
const fn is_adopted(endpoint: &EndpointRow) -> bool {
    endpoint.flags & ENDPOINT_ADOPTED != 0
}

/// Answers an ARP request of the endpoint by turning it into the reply. `false`: it is on another plugin's bridge, where
/// everything passes that it says of itself, and whoever is asked answers.
///
/// A probe for an address of one's own, or of nobody, is not answered: silence is what says it is free.
///
/// Otherwise it says [`DropReason::SpoofedArp`] for a claim to another's address, and
/// [`DropReason::UnknownNeighbour`] for everything else that needs no answer. A function of its own in BPF.
#[inline(never)]
pub(crate) fn arp<P: Packet, W: World>(packet: &mut P, world: &W, endpoint: &EndpointRow) -> Outcome {
    Outcome::pack(try_arp(packet, world, endpoint).map_err(Into::into))
}

#[inline(always)]
fn try_arp<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    endpoint: &EndpointRow,
) -> Result<bool, DropReason> {
    let Arp { kind, operation, sender_mac, sender, target, .. } = packet.load(L3)?;
    if kind[0] != ETHERNET_IPV4[0] || kind[1] != ETHERNET_IPV4[1] || kind[2] != ETHERNET_IPV4[2] {
        return Err(DropReason::BadHeader);
    }
    let sender_address = address(sender);
    // 0.0.0.0 is the sender of a probe (RFC 5227).
    let is_probe = sender_address.is_unspecified();
    let is_own = sender_mac == endpoint.mac
        && (sender_address == endpoint.ip4 || is_probe || further::has(world, endpoint, &sender_address));
    if !is_own && endpoint.flags & ENDPOINT_ANY_SOURCE == 0 {
        return Err(DropReason::SpoofedArp);
    }
    if is_adopted(endpoint) {
        return Ok(false);
    }
    if operation != REQUEST || is_probe {
        return Err(DropReason::UnknownNeighbour);
    }
    let mac = mac_of(world, endpoint, &address(target))?;
    let reply = Arp {
        kind: ETHERNET_IPV4,
        operation: REPLY,
        sender_mac: mac,
        sender: target,
        target_mac: sender_mac,
        target: sender,
    };
    packet.store(L3, &reply)?;
    answer(packet, world, mac, ethertype::ARP).map(|()| true)
}

/// A neighbour solicitation or advertisement with one option (RFC 4861, 4.3 and 4.4).
#[repr(C)]
#[derive(Clone, Copy)]
struct Discovery {
    kind: u16,
    checksum: u16,
    flags: u32,
    target: Addr,
    option: u16,
    mac: Mac,
}

// SAFETY: words without padding: the address stands at offset 8.
unsafe impl Wire for Discovery {}

const DISCOVERY_LEN: u32 = size_of::<Discovery>() as u32;
const _: () = assert!(DISCOVERY_LEN == 32);

/// Solicited, and it overrides what is cached.
const SOLICITED_OVERRIDE: u32 = 0x6000_0000_u32.to_be();
/// Option types "source" and "target link-layer address", of one unit of 8 bytes.
const SOURCE_LINK_LAYER: u16 = 0x0101_u16.to_be();
const TARGET_LINK_LAYER: u16 = 0x0201_u16.to_be();
/// The type, with code 0.
const ADVERTISEMENT: u16 = ((icmp::NEIGHBOUR_ADVERTISEMENT as u16) << 8).to_be();

/// Answers a neighbour solicitation of the endpoint by turning it into the advertisement. `false`: it is on another plugin's
/// bridge, where everything passes that it says of itself, and whoever is asked answers. Only what is asked of another
/// endpoint there is answered here too: the host's filters see questions to groups, and may not let them through.
///
/// Otherwise it says [`DropReason::SpoofedArp`] for an advertisement of another's address, and
/// [`DropReason::UnknownNeighbour`] or [`DropReason::Multicast`] for everything that needs no answer. A function of
/// its own in BPF.
#[inline(never)]
pub(crate) fn discovery<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    endpoint: &EndpointRow,
    headers: &Headers,
) -> Outcome {
    Outcome::pack(try_discovery(packet, world, endpoint, headers).map_err(Into::into))
}

#[inline(always)]
fn try_discovery<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    endpoint: &EndpointRow,
    headers: &Headers,
) -> Result<bool, DropReason> {
    match headers.icmp_type {
        icmp::NEIGHBOUR_SOLICITATION => {}
        icmp::NEIGHBOUR_ADVERTISEMENT => return advertised(packet, world, endpoint, headers).map(|()| false),
        _ => return Err(DropReason::Multicast),
    }
    let asker = headers.tuple.src;
    // RFC 4861, 7.1.1: a hop limit other than 255 has come through a router.
    if headers.ttl != 255 {
        return Err(DropReason::BadHeader);
    }
    let is_adopted = is_adopted(endpoint);
    if asker.is_unspecified() || packet.len() != headers.l4 + DISCOVERY_LEN {
        // Duplicate address detection, which only the address's owner would answer; or without the option that an
        // answer's would take the place of.
        return if is_adopted { Ok(false) } else { Err(DropReason::UnknownNeighbour) };
    }
    let Discovery { target, option, .. } = packet.load(headers.l4)?;
    let known = if option == SOURCE_LINK_LAYER {
        mac_of(world, endpoint, &target)
    } else {
        Err(DropReason::UnknownNeighbour)
    };
    let mac = match known {
        Err(_) if is_adopted => return Ok(false),
        known => known?,
    };
    let mut advertisement = Discovery {
        kind: ADVERTISEMENT,
        checksum: 0,
        flags: SOLICITED_OVERRIDE,
        target,
        option: TARGET_LINK_LAYER,
        mac,
    };
    advertisement.checksum = checksum(&advertisement, &asker);
    packet.store(headers.l4, &advertisement)?;
    packet.store(L3 + 8, &target)?;
    packet.store(L3 + 24, &asker)?;
    answer(packet, world, mac, ethertype::IPV6).map(|()| true)
}

/// The checksum of an advertisement sent by its target, pseudo-header included (RFC 4443, 2.3). A ones' complement
/// sum is the same in either byte order, so words are added as they stand.
#[inline(always)]
fn checksum(message: &Discovery, dst: &Addr) -> u16 {
    let [a, b, c] = message.mac.words();
    let words = u64::from(message.kind)
        + u64::from(message.option)
        + u64::from(a)
        + u64::from(b)
        + u64::from(c)
        + u64::from((DISCOVERY_LEN as u16).to_be())
        + u64::from(u16::from(protocol::ICMPV6).to_be());
    finish(words + u64::from(message.flags) + 2 * address_sum(&message.target) + address_sum(dst))
}

/// An advertisement of one's own address is needed by nobody where all are answered here; one of another's is a lie.
#[inline(always)]
fn advertised<P: Packet, W: World>(
    packet: &P,
    world: &W,
    endpoint: &EndpointRow,
    headers: &Headers,
) -> Result<(), DropReason> {
    let target: Addr = packet.load(headers.l4 + 8)?;
    let is_free = endpoint.flags & ENDPOINT_ANY_SOURCE != 0;
    let is_own = target == endpoint.ip6 || further::has(world, endpoint, &target);
    if is_adopted(endpoint) {
        let is_right = is_own || target == endpoint.mac.link_local() || is_free;
        return if is_right { Ok(()) } else { Err(DropReason::SpoofedArp) };
    }
    if is_own || target.is_link_local_v6() || is_free {
        Err(DropReason::UnknownNeighbour)
    } else {
        Err(DropReason::SpoofedArp)
    }
}

/// Addresses the packet, now an answer from `mac`, back to where it came from.
#[inline(always)]
fn answer<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    mac: Mac,
    ether_type: u16,
) -> Result<(), DropReason> {
    let asker: Mac = packet.load(6)?;
    packet.store(0, &Frame { dst: asker, src: mac, ether_type })?;
    world.count(Path::Neighbour, packet.len());
    Ok(())
}
