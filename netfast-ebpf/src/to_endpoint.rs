//! Packets that reach an endpoint's veth from the host's stack or over the bridge. What the programs redirect does
//! not come here: its receiver's policy was asked at the source.

use netfast_common::conntrack::{FLOW_FROM_HOST, Hop};
use netfast_common::counter::Path;
use netfast_common::reason::DropReason;
use netfast_common::rows::{
    ADDRESS_ENDPOINT, ADDRESS_GATEWAY, ADDRESS_HOST, Config, ENDPOINT_READY, ENDPOINT_ROUTED, EndpointRow,
};
use network_types::eth::EthHdr;

use crate::forward;
use crate::packet::Packet;
use crate::parse::{self, Headers, ethertype};
use crate::policy::{self, Party};
use crate::track::{self, Opening};
use crate::verdict::{Dropped, Verdict};
use crate::world::World;

/// Decides on a packet about to enter the device the program runs at.
///
/// # Errors
/// When it is dropped.
#[inline(always)]
pub fn to_endpoint<P: Packet, W: World>(packet: &mut P, world: &W) -> Result<Verdict, Dropped> {
    let endpoint = world.endpoint(packet.ifindex()).ok_or(DropReason::NotReady)?;
    handle(packet, world, endpoint).map_err(|dropped| match dropped.endpoint {
        0 => Dropped { endpoint: endpoint.incarnation, ..dropped },
        _ => dropped,
    })
}

#[inline(always)]
fn handle<P: Packet, W: World>(packet: &P, world: &W, endpoint: &EndpointRow) -> Result<Verdict, Dropped> {
    if endpoint.flags & ENDPOINT_READY == 0 {
        return Err(DropReason::NotReady.into());
    }
    let frame: EthHdr = packet.load(0)?;
    match frame.ether_type {
        // The host's own requests: its neighbours are static, but whoever deletes one gets it resolved.
        ethertype::ARP => return Ok(Verdict::Next),
        ethertype::IPV4 | ethertype::IPV6 => {}
        _ => return Err(DropReason::BadEthertype.into()),
    }
    let headers = parse::ip(packet, world, frame.ether_type)?;
    if headers.is_neighbour_discovery() {
        return Ok(Verdict::Next);
    }
    let own = if headers.tuple.dst.is_v4() { endpoint.ip4 } else { endpoint.ip6 };
    if headers.tuple.dst.is_multicast() {
        return Err(DropReason::Multicast.into());
    }
    if headers.tuple.dst != own {
        return Err(DropReason::NoSuchAddress.into());
    }

    let config = world.config();
    let now = world.now();
    let length = packet.len();
    if let Some(known) = track::find(world, &headers, now)? {
        if known.receiver().incarnation == endpoint.incarnation
            && forward::recheck(world, &config, &known, &headers)?
        {
            track::note(&known, &headers, now, length);
            world.count(Path::FromHost, length);
            return Ok(Verdict::Next);
        }
        known.remove(world);
    }
    let opening = open(world, &config, endpoint, &headers)?;
    let _known = track::open(world, &config, &opening, &headers, now, length)?;
    world.count(Path::FromHost, length);
    Ok(Verdict::Next)
}

#[inline(always)]
fn open<W: World>(
    world: &W,
    config: &Config,
    endpoint: &EndpointRow,
    headers: &Headers,
) -> Result<Opening, Dropped> {
    let tuple = &headers.tuple;
    let row = world.address(&tuple.src).copied().unwrap_or_default();
    let (originator, from, flags) = match row.kind {
        // The own node reaches its endpoints whatever policy says: health checks depend on it.
        ADDRESS_GATEWAY | ADDRESS_HOST => (Hop::default(), None, FLOW_FROM_HOST),
        ADDRESS_ENDPOINT if row.network != endpoint.network => {
            return Err(DropReason::OtherNetwork.into());
        }
        ADDRESS_ENDPOINT => {
            // Bridged, since the sender's own program was taken off.
            let hop = Hop { ifindex: row.ifindex, incarnation: row.incarnation };
            (hop, forward::endpoint_at(world, hop)?, 0)
        }
        // Forwarded by the host's own routing.
        _ if endpoint.flags & ENDPOINT_ROUTED != 0 => (Hop::default(), None, 0),
        _ => return Err(DropReason::Unpublished.into()),
    };
    if flags & FLOW_FROM_HOST == 0 {
        policy::judge(
            world,
            config.generation,
            Party { endpoint: from, addr: tuple.src },
            Party { endpoint: Some(endpoint), addr: tuple.dst },
            tuple.protocol,
            tuple.dport,
        )?;
    }
    Ok(Opening {
        original: *tuple,
        source: tuple.src,
        destination: (tuple.dst, tuple.dport),
        originator,
        responder: Hop { ifindex: endpoint.ifindex, incarnation: endpoint.incarnation },
        flags,
        published: 0,
    })
}
