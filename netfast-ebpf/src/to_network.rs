//! Endpoints that are no ports of their network's bridge: the way there from the bridge, and back.

use netfast_common::addr::Addr;
use netfast_common::reason::DropReason;
use netfast_common::rows::{ADDRESS_ENDPOINT, ADDRESS_GATEWAY, ENDPOINT_APART, EndpointRow};

use crate::packet::Packet;
use crate::parse::{self, L3, ethertype};
use crate::world::World;

/// The host veth that a packet of the host leaves by, at the bridge the program runs at; its receiver's own program judges it
/// there. `None`: it is for a port of the bridge, or for nobody.
#[inline(always)]
pub fn to_network<P: Packet, W: World>(packet: &P, world: &W) -> Option<u32> {
    let row = world.address(&destination(packet).ok()?)?;
    if row.kind != ADDRESS_ENDPOINT {
        return None;
    }
    let endpoint = world.endpoint(row.ifindex)?;
    let is_apart = endpoint.flags & ENDPOINT_APART != 0 && bridge(world, endpoint) == Some(packet.ifindex());
    is_apart.then_some(endpoint.ifindex)
}

#[inline(always)]
fn destination<P: Packet>(packet: &P) -> Result<Addr, DropReason> {
    match packet.frame()?.ether_type {
        ethertype::IPV4 => {
            let [high, low] = packet.peek(L3 + 16)?;
            Ok(parse::address(high, low))
        }
        ethertype::IPV6 => packet.load(L3 + 24),
        _ => Err(DropReason::BadEthertype),
    }
}

/// The bridge by which the host gets what the endpoint behind this device sends it. `None`: there is no such endpoint.
#[inline(always)]
pub fn bridge_of<W: World>(world: &W, ifindex: u32) -> Option<u32> {
    bridge(world, world.endpoint(ifindex)?)
}

#[inline(always)]
fn bridge<W: World>(world: &W, endpoint: &EndpointRow) -> Option<u32> {
    let gateway = if endpoint.gateway4.is_unspecified() { &endpoint.gateway6 } else { &endpoint.gateway4 };
    let row = world.address(gateway)?;
    (row.kind == ADDRESS_GATEWAY && row.network == endpoint.network).then_some(row.ifindex)
}
