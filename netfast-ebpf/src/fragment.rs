//! Packets in fragments. Only the first one has ports, so what it tells is remembered for the later ones. Where one of
//! those comes first, all of the packet is diverted to where the kernel puts fragments in order (see docs/decisions.md),
//! comes back first piece first, and is then looked at as if it had just come.

use netfast_common::addr::{Addr, DEFRAG_MAC};
use netfast_common::checksum::word_difference;
use netfast_common::counter::Path;
use netfast_common::reason::DropReason;
use netfast_common::rows::{ADDRESS_ENDPOINT, DivertedKey, DivertedRow, FragmentKey, FragmentRow};

use crate::packet::{Checksum, Packet};
use crate::parse::{Headers, L3, extension, icmp};
use crate::verdict::{Dropped, Outcome, Verdict};
use crate::work::Work;
use crate::world::World;

/// Packets a second and CPU whose fragments are begun to be diverted: what a flood of lone fragments may evict of what is
/// remembered of others.
const RATE: u32 = 1000;

/// Where a fragment was met.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Incarnation of the endpoint behind the device; 0: it is an uplink.
    pub(crate) incarnation: u32,
    /// On its way out of the device.
    pub(crate) is_egress: bool,
}

/// Gives a fragment what only the first of its packet tells, or remembers that of a first one. `Some`: it is diverted.
/// To be called once it is known that the source may be in the packet.
///
/// # Errors
/// [`DropReason::FragmentUnknown`] when the first one has not been seen and this one cannot be diverted.
#[inline(always)]
pub(crate) fn complete<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    work: &mut Work,
    place: Place,
) -> Result<Option<Verdict>, Dropped> {
    if look_up(packet, world, work, place.incarnation, place.is_egress).unpack()? {
        return Ok(None);
    }
    Ok(Some(Verdict::ToDefrag(work.config.defrag)))
}

/// A function of its own in BPF: few packets are fragments. `false`: it is diverted.
#[inline(never)]
fn look_up<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    work: &mut Work,
    incarnation: u32,
    is_egress: bool,
) -> Outcome {
    Outcome::pack(try_look_up(packet, world, work, Place { incarnation, is_egress }).map_err(Into::into))
}

#[inline(always)]
fn try_look_up<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    work: &mut Work,
    place: Place,
) -> Result<bool, DropReason> {
    if is_known(world, work) {
        return Ok(true);
    }
    // Pieces of one packet must all be one sender's, or one could slip pieces of its own into another's packets.
    let may_divert =
        !work.is_returned && work.config.defrag != 0 && is_from(world, &work.headers.tuple.src, place);
    if !may_divert || !mark(world, work) {
        return Err(DropReason::FragmentUnknown);
    }
    // The first one may have come meanwhile, on another CPU.
    if is_known(world, work) {
        return Ok(true);
    }
    divert(packet, world, work, place)?;
    Ok(false)
}

/// What is known of the packet with this key, unless it is too old to be of this packet.
#[inline(always)]
fn recent<W: World>(world: &W, key: &FragmentKey, now: u64) -> Option<FragmentRow> {
    world.fragment(key).filter(|row| now.saturating_sub(row.since) < FragmentRow::LIFE)
}

/// Fills in what is known of a later fragment, or remembers a first one; `false`: they are not in order. A function of its
/// own in BPF.
#[inline(never)]
fn is_known<W: World>(world: &W, work: &mut Work) -> bool {
    let Work { headers, now, is_returned, .. } = work;
    let key = key(headers);
    let known = recent(world, &key, *now);
    if headers.is_later_fragment {
        return known.is_some_and(|row| adopt(headers, &row));
    }
    let is_diverted = |row: FragmentRow| row.is_diverted != 0 && !*is_returned;
    if known.is_some_and(is_diverted) {
        return false;
    }
    let echo = if headers.is_echo() { headers.icmp_type } else { icmp::NONE };
    let tuple = &headers.tuple;
    let row = FragmentRow {
        since: *now,
        sport: tuple.sport,
        dport: tuple.dport,
        echo,
        protocol: tuple.protocol,
        is_diverted: 0,
        pad: 0,
    };
    // Another CPU may just be diverting a later one.
    if world.claim_fragment(&key, &row).is_err() {
        if recent(world, &key, *now).is_some_and(is_diverted) {
            return false;
        }
        world.remember_fragment(&key, &row);
    }
    true
}

/// Takes from a row what a later fragment lacks; `false`: it tells nothing.
#[inline(always)]
fn adopt(headers: &mut Headers, row: &FragmentRow) -> bool {
    if row.is_diverted != 0 {
        return false;
    }
    headers.is_parsed = true;
    headers.tuple.sport = row.sport;
    headers.tuple.dport = row.dport;
    headers.tuple.protocol = row.protocol;
    headers.icmp_type = row.echo;
    true
}

#[inline(always)]
fn key(headers: &Headers) -> FragmentKey {
    let tuple = &headers.tuple;
    // RFC 8200, 4.5: what stands behind the fragment header may differ, and only that of the first counts.
    let protocol = if tuple.src.is_v4() { tuple.protocol } else { extension::FRAGMENT };
    FragmentKey { src: tuple.src, dst: tuple.dst, id: headers.fragment_id, protocol: u32::from(protocol) }
}

/// Addresses a fragment to where it is put in order, and remembers where it came from.
#[inline(always)]
fn divert<P: Packet, W: World>(
    packet: &mut P,
    world: &W,
    work: &mut Work,
    place: Place,
) -> Result<(), DropReason> {
    let headers = &work.headers;
    let tuple = &headers.tuple;
    let from = DivertedRow {
        macs: packet.load(0)?,
        ifindex: packet.ifindex(),
        incarnation: place.incarnation,
        is_egress: u32::from(place.is_egress),
    };
    world.remember_diverted(&DivertedKey { src: tuple.src, dst: tuple.dst }, &from);
    increment_ttl(packet, headers)?;
    packet.store(0, &DEFRAG_MAC)?;
    world.count(Path::ToDefrag, work.length);
    Ok(())
}

/// Whether packets from `src` come by this place only: an endpoint's own address by its own device, the host's own from
/// the host. Addresses outside, which an endpoint may use that is not checked, are nobody's.
#[inline(always)]
fn is_from<W: World>(world: &W, src: &Addr, place: Place) -> bool {
    match world.address(src) {
        None => true,
        Some(row) if row.kind == ADDRESS_ENDPOINT => {
            !place.is_egress && place.incarnation != 0 && row.incarnation == place.incarnation
        }
        Some(_) => place.is_egress,
    }
}

/// Sees that all of a packet is diverted; `false`: that is too much. A function of its own in BPF.
#[inline(never)]
fn mark<W: World>(world: &W, work: &mut Work) -> bool {
    let Work { headers, now, diverted, .. } = work;
    let key = key(headers);
    if recent(world, &key, *now).is_some() {
        return true;
    }
    if !diverted.spend(*now, RATE) {
        return false;
    }
    let row = FragmentRow { since: *now, is_diverted: 1, ..FragmentRow::default() };
    if world.claim_fragment(&key, &row).is_err() && recent(world, &key, *now).is_none() {
        // What is known is too old.
        world.remember_fragment(&key, &row);
    }
    true
}

/// Makes up for the hop that is counted where fragments are put in order. A packet with the largest TTL there is loses
/// one.
#[inline(always)]
fn increment_ttl<P: Packet>(packet: &mut P, headers: &Headers) -> Result<(), DropReason> {
    let ttl = headers.ttl.saturating_add(1);
    if headers.tuple.dst.is_v4() {
        // The TTL is the high byte of its 16-bit word.
        let difference = word_difference(u16::from(headers.ttl) << 8, u16::from(ttl) << 8);
        packet.patch_checksum(L3 + 10, Checksum::Header, false, difference)?;
        packet.store(L3 + 8, &ttl.to_ne_bytes())
    } else {
        packet.store(L3 + 7, &ttl.to_ne_bytes())
    }
}
