//! Both ends' policies, asked once per flow and world.

use netfast_common::addr::Addr;
use netfast_common::event::Answers;
use netfast_common::policy::{self, ANY_IDENTITY, Verdict};
use netfast_common::reason::DropReason;
use netfast_common::rows::{EndpointRow, Subject};

use crate::verdict::Dropped;
use crate::world::World;

/// One end of a flow, as policy sees it.
#[derive(Clone, Copy)]
pub(crate) struct Party<'a> {
    /// The endpoint, unless it is outside or the host.
    pub(crate) endpoint: Option<&'a EndpointRow>,
    /// Its address, as the other end's packets really carry it at the endpoint.
    pub(crate) addr: Addr,
}

/// What the sender wants of the receiver.
#[derive(Clone, Copy)]
pub(crate) struct PolicyPort {
    /// IP protocol number.
    pub(crate) protocol: u8,
    /// Destination port; 0 for protocols without.
    pub(crate) port: u16,
}

/// Whether the sender may send this, and the receiver get it. What rules say of isolated ends is noted in `answers`.
///
/// # Errors
/// [`DropReason::PolicyEgress`] or [`DropReason::PolicyIngress`], whichever end denies it first, counted against that
/// end; [`DropReason::NotReady`] for an endpoint whose slot does not exist.
#[inline(always)]
pub(crate) fn judge<W: World>(
    world: &W,
    generation: u32,
    from: Party<'_>,
    to: Party<'_>,
    PolicyPort { protocol, port }: PolicyPort,
    answers: &mut Answers,
) -> Result<(), Dropped> {
    let denied = |reason, party: &Party<'_>| Dropped {
        reason,
        endpoint: party.endpoint.map_or(0, |endpoint| endpoint.incarnation),
    };
    let sender = subject(world, generation, from.endpoint)?;
    let receiver = subject(world, generation, to.endpoint)?;
    let lookup = |key: &policy::RuleKey| world.rule(key);
    if sender.egress != policy::OPEN {
        let peer = identity(world, generation, &to, &receiver);
        let verdict = policy::evaluate(sender.egress, peer, protocol, port, lookup);
        answers.set_egress(verdict);
        count(world, verdict);
        if !verdict.passes() {
            return Err(denied(DropReason::PolicyEgress, &from));
        }
    }
    if receiver.ingress != policy::OPEN {
        let peer = identity(world, generation, &from, &sender);
        let verdict = policy::evaluate(receiver.ingress, peer, protocol, port, lookup);
        answers.set_ingress(verdict);
        count(world, verdict);
        if !verdict.passes() {
            return Err(denied(DropReason::PolicyIngress, &to));
        }
    }
    Ok(())
}

/// Counts a hit of the rule that allows it. What nothing allows is counted as the drop that it is.
#[inline(always)]
fn count<W: World>(world: &W, verdict: Verdict) {
    if let Verdict::Allowed(row) = verdict {
        world.count_rule(row.rule);
    }
}

/// What policy says of a party; one that is no endpoint is not isolated.
#[inline(always)]
fn subject<W: World>(
    world: &W,
    generation: u32,
    endpoint: Option<&EndpointRow>,
) -> Result<Subject, DropReason> {
    let Some(endpoint) = endpoint else {
        return Ok(Subject::default());
    };
    let slot = world.slot(endpoint.slot).ok_or(DropReason::NotReady)?;
    Ok(if generation & 1 == 0 { slot.versions[0] } else { slot.versions[1] })
}

/// The class of addresses a party belongs to.
#[inline(always)]
fn identity<W: World>(world: &W, generation: u32, party: &Party<'_>, subject: &Subject) -> u32 {
    if party.endpoint.is_some() {
        return subject.identity_of(party.addr);
    }
    match world.cidr(&party.addr) {
        Some(row) if generation & 1 == 0 => row.identities[0],
        Some(row) => row.identities[1],
        None => ANY_IDENTITY,
    }
}
