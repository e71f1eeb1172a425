//! Both ends' policies, asked once per flow and world.

use netfast_common::addr::Addr;
use netfast_common::event::Answers;
use netfast_common::policy::{self, ANY_IDENTITY, Verdict};
use netfast_common::reason::DropReason;
use netfast_common::rows::{ENDPOINT_MORE, EndpointRow, Subject};

use crate::further;
use crate::verdict::Dropped;
use crate::work::Work;
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
/// `true`: policies under audit are to be asked too, see [`audit`].
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
    port: PolicyPort,
    answers: &mut Answers,
) -> Result<bool, Dropped> {
    let sender = subject(world, generation, from.endpoint)?;
    let receiver = subject(world, generation, to.endpoint)?;
    let from = Asked { party: from, subject: &sender, set: sender.egress };
    let to = Asked { party: to, subject: &receiver, set: receiver.ingress };
    ask(world, generation, from, to, port, answers, |verdict| count(world, verdict))?;
    Ok(sender.audit_egress | receiver.audit_ingress != policy::OPEN)
}

/// Asks policies under audit about the first packet of a flow, which those in force allow. If they would drop it, that is
/// counted and noted. A function of its own in BPF: few packets need it.
#[inline(never)]
pub(crate) fn audit<W: World>(
    world: &W,
    work: &mut Work,
    from: Option<&EndpointRow>,
    to: Option<&EndpointRow>,
) {
    let Work { headers, opening, config, audited, length, .. } = work;
    let from = Party { endpoint: from, addr: headers.tuple.src };
    let to = Party { endpoint: to, addr: opening.destination };
    let generation = config.generation;
    // One by one: of a pair, the compiler moves halves that are not there, which the verifier refuses.
    let Ok(sender) = subject(world, generation, from.endpoint) else { return };
    let Ok(receiver) = subject(world, generation, to.endpoint) else { return };
    let from = Asked { party: from, subject: &sender, set: sender.audit_egress };
    let to = Asked { party: to, subject: &receiver, set: receiver.audit_ingress };
    let port = PolicyPort { protocol: headers.tuple.protocol, port: opening.port };
    audited.answers = Answers::default();
    let answers = &mut audited.answers;
    let asked = ask(world, generation, from, to, port, answers, |_| {});
    if let Err(Dropped { reason, endpoint }) = asked {
        (audited.reason, audited.endpoint) = (reason as u32, endpoint);
        world.count_audited(reason, endpoint, *length);
    }
}

/// A party, and the rule set that speaks for it.
#[derive(Clone, Copy)]
struct Asked<'a> {
    party: Party<'a>,
    subject: &'a Subject,
    set: u32,
}

/// Asks the sender's rule set, then the receiver's. `note` is told the verdicts.
#[inline(always)]
fn ask<W: World>(
    world: &W,
    generation: u32,
    from: Asked<'_>,
    to: Asked<'_>,
    PolicyPort { protocol, port }: PolicyPort,
    answers: &mut Answers,
    note: impl Fn(Verdict),
) -> Result<(), Dropped> {
    let denied = |reason, party: &Party<'_>| Dropped {
        reason,
        endpoint: party.endpoint.map_or(0, |endpoint| endpoint.incarnation),
    };
    let lookup = |key: &policy::RuleKey| world.rule(key);
    if from.set != policy::OPEN {
        let peer = identity(world, generation, &to.party, to.subject);
        let verdict = policy::evaluate(from.set, peer, protocol, port, lookup);
        answers.set_egress(verdict);
        note(verdict);
        if !verdict.passes() {
            return Err(denied(DropReason::PolicyEgress, &from.party));
        }
    }
    if to.set != policy::OPEN {
        let peer = identity(world, generation, &from.party, from.subject);
        let verdict = policy::evaluate(to.set, peer, protocol, port, lookup);
        answers.set_ingress(verdict);
        note(verdict);
        if !verdict.passes() {
            return Err(denied(DropReason::PolicyIngress, &to.party));
        }
    }
    Ok(())
}

/// Counts a hit of the rule that decides. What no rule speaks of is counted as the drop that it may be.
#[inline(always)]
fn count<W: World>(world: &W, verdict: Verdict) {
    if let Verdict::Allowed(row) | Verdict::Denied(row) = verdict
        && row.number() != 0
    {
        world.count_rule(row.number());
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

/// The class of addresses a party belongs to. That of an endpoint's further address stands among those of prefixes.
#[inline(always)]
fn identity<W: World>(world: &W, generation: u32, party: &Party<'_>, subject: &Subject) -> u32 {
    let Some(endpoint) = party.endpoint else {
        return identity_of_prefix(world, generation, &party.addr);
    };
    let first = subject.identity_of(party.addr);
    if endpoint.flags & ENDPOINT_MORE == 0 {
        return first;
    }
    further::identity(world, endpoint, generation, party.addr, first)
}

/// The class of the addresses under the smallest known prefix that holds this one.
#[inline(always)]
pub(crate) fn identity_of_prefix<W: World>(world: &W, generation: u32, addr: &Addr) -> u32 {
    match world.cidr(addr) {
        Some(row) if generation & 1 == 0 => row.identities[0],
        Some(row) => row.identities[1],
        None => ANY_IDENTITY,
    }
}
