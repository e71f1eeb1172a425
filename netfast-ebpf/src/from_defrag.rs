//! Fragments that the kernel has put in order, as they come back. They go on where they were diverted from, in the state
//! they were in then: whether they may, and where to, is found out there as of any other packet.

use netfast_common::addr::Addr;
use netfast_common::conntrack::Hop;
use netfast_common::reason::DropReason;
use netfast_common::rows::DivertedKey;

use crate::forward;
use crate::packet::{Frame, Packet};
use crate::parse::{L3, ethertype};
use crate::verdict::{Dropped, Verdict};
use crate::world::World;

/// Decides on a packet that comes back.
///
/// # Errors
/// When it is dropped.
#[inline(always)]
pub fn from_defrag<P: Packet, W: World>(packet: &mut P, world: &W) -> Result<Verdict, Dropped> {
    let frame: Frame = packet.load(0)?;
    let [src, dst] = match frame.ether_type {
        ethertype::IPV4 => {
            let [src, dst]: [u32; 2] = packet.load(L3 + 12)?;
            [src, dst].map(|word| Addr::from_v4(word.to_ne_bytes()))
        }
        ethertype::IPV6 => packet.load(L3 + 8)?,
        _ => return Err(DropReason::BadEthertype.into()),
    };
    if dst.is_multicast() {
        // What every namespace sends by itself.
        return Err(DropReason::Multicast.into());
    }
    let row = world.diverted(&DivertedKey { src, dst }).ok_or(DropReason::FragmentUnknown)?;
    if row.incarnation != 0 {
        forward::ready(world, Hop { ifindex: row.ifindex, incarnation: row.incarnation })
            .map_err(|reason| Dropped { reason, endpoint: row.incarnation })?;
    } else if world.uplink(row.ifindex).is_none() {
        return Err(DropReason::FragmentUnknown.into());
    }
    packet.store(0, &row.macs)?;
    Ok(if row.is_egress == 0 { Verdict::BackIn(row.ifindex) } else { Verdict::BackOut(row.ifindex) })
}
