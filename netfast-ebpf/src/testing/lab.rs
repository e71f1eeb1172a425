//! The cast on one host, and what becomes of their messages.

use std::collections::BTreeMap;

use netfast_common::addr::Addr;
use netfast_common::conntrack::SECOND;
use netfast_common::counter::Path;
use netfast_common::policy::{ANY_IDENTITY, RuleKey, RuleRow};
use netfast_common::reason::DropReason;
use netfast_common::rows::{
    ADDRESS_ENDPOINT, ADDRESS_GATEWAY, ADDRESS_HOST, AddressRow, CidrRow, Config, PublishKey, PublishRow,
    SlotRow, SourceKey, Subject, UplinkRow,
};

use super::bytes::Bytes;
use super::cast::{ELSEWHERE, ENDPOINTS, Family, HOST, Member, OUTSIDE};
use super::maps::Maps;
use super::message::Message;
use crate::report::report;
use crate::verdict::{Dropped, Verdict};
use crate::work::Work;
use crate::{from_defrag, from_endpoint, from_uplink, to_endpoint};

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It reached the endpoint with this interface index.
    At(u32, Message),
    /// It went out of this host veth, past what is attached there.
    Past(u32, Message),
    /// It left through the uplink.
    Out(Message),
    /// It went on to the host's stack.
    On(Message),
    /// It went nowhere.
    Dropped(DropReason),
}

impl Fate {
    /// The message that reached `member`.
    pub(super) fn at(self, member: &Member) -> Message {
        match self {
            Self::At(ifindex, message) if ifindex == member.ifindex => message,
            other => panic!("expected at {}: {other:?}", member.ifindex),
        }
    }

    /// The message that left through the uplink.
    pub(super) fn out(self) -> Message {
        match self {
            Self::Out(message) => message,
            other => panic!("expected outside: {other:?}"),
        }
    }
}

/// One of the programs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Program {
    FromEndpoint,
    ToEndpoint,
    FromUplink,
    FromDefrag,
}

/// One direction of a policy, from the endpoint's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
}

/// Who and what a rule allows, or denies.
pub(super) struct Allow {
    pub(super) identity: u32,
    pub(super) protocol: u8,
    /// Of no importance: any.
    pub(super) port: Option<u16>,
}

/// The host.
pub(super) struct Lab {
    pub(super) maps: Maps,
    /// Kept from packet to packet, as in the kernel.
    pub(super) work: Box<Work>,
    rule_sets: u32,
}

impl Lab {
    pub(super) fn new() -> Self {
        let mut lab = Self { maps: Maps::default(), work: Box::new(Work::zeroed()), rule_sets: 0 };
        let maps = &mut lab.maps;
        maps.now = 1000 * SECOND;
        maps.config = Config {
            generation: 2,
            masquerade_first: 20000,
            masquerade_last: 29999,
            smallest_mtu: 1500,
            ..Config::default()
        };
        maps.default_route = HOST.ifindex;
        maps.uplinks.insert(HOST.ifindex, UplinkRow { ip4: HOST.ip4, ip6: HOST.ip6, mtu: 1500, pad: 0 });
        for family in Family::BOTH {
            let host = AddressRow { kind: ADDRESS_HOST, ..AddressRow::default() };
            maps.addresses.insert(HOST.addr(family), host);
            for member in [OUTSIDE, ELSEWHERE] {
                let identities = [Self::outer_identity(&member, family); 2];
                maps.cidrs.insert(member.addr(family), CidrRow { identities });
            }
        }
        for member in ENDPOINTS {
            lab.join(&member);
        }
        lab
    }

    /// The class of an outsider's addresses.
    pub(super) fn outer_identity(member: &Member, family: Family) -> u32 {
        u32::from(member.addr(family).octets()[15]) * 10_000 + u32::from(family == Family::V6)
    }

    /// Adds an endpoint and its gateway.
    pub(super) fn join(&mut self, member: &Member) {
        let maps = &mut self.maps;
        let Member { ifindex, incarnation, network, .. } = *member;
        maps.endpoints.insert(ifindex, member.row());
        let subject = Subject {
            identity4: member.identity(Family::V4),
            identity6: member.identity(Family::V6),
            ..Subject::default()
        };
        maps.slots.insert(ifindex, SlotRow { versions: [subject; 2] });
        for family in Family::BOTH {
            let own = AddressRow { kind: ADDRESS_ENDPOINT, network, ifindex, incarnation };
            maps.addresses.insert(member.addr(family), own);
            let gateway = AddressRow { kind: ADDRESS_GATEWAY, network, ..AddressRow::default() };
            maps.addresses.insert(member.gateway().addr(family), gateway);
        }
    }

    /// Takes an endpoint away.
    pub(super) fn leave(&mut self, member: &Member) {
        self.maps.endpoints.remove(&member.ifindex);
        for family in Family::BOTH {
            self.maps.addresses.remove(&member.addr(family));
        }
    }

    /// Publishes a port on all addresses of the host.
    pub(super) fn publish(&mut self, protocol: u8, port: u16, member: &Member, target: u16) {
        self.publish_at(protocol, port, |family| member.addr(family), target);
    }

    /// Publishes a port on all addresses of the host; it leads to the address of the other family.
    pub(super) fn publish_across(&mut self, protocol: u8, port: u16, member: &Member, target: u16) {
        self.publish_at(protocol, port, |family| member.addr(family.other()), target);
    }

    fn publish_at(&mut self, protocol: u8, port: u16, at: impl Fn(Family) -> Addr, target: u16) {
        for family in Family::BOTH {
            let addr = at(family);
            let key = PublishKey::new(HOST.addr(family).unspecified(), port, protocol);
            let row = PublishRow {
                addr,
                port: target,
                incarnation: 500 + u32::from(port),
                ..PublishRow::default()
            };
            for published in &mut self.maps.published {
                published.insert(key, row);
            }
        }
    }

    /// The published ports of the world that comes into force with the next [`Self::flip`].
    pub(super) fn next_published(&mut self) -> &mut BTreeMap<PublishKey, PublishRow> {
        let next = (self.maps.config.generation as usize + 1) & 1;
        &mut self.maps.published[next]
    }

    /// Lets only `sources` use published ports from the next [`Self::flip`] on; `set` is the list's number.
    pub(super) fn limit_sources(&mut self, set: u32, sources: &[Addr]) {
        self.maps.sources.extend(sources.iter().map(|addr| SourceKey::new(set, *addr)));
        for row in self.next_published().values_mut() {
            row.sources = set;
        }
    }

    /// Makes the masquerade range other than its 10000 ports.
    pub(super) fn masquerade_range(&mut self, first: u16, last: u16) {
        self.maps.config.masquerade_first = first;
        self.maps.config.masquerade_last = last;
    }

    /// Isolates an endpoint but for what is allowed, in the world that comes into force with the next
    /// [`Self::flip`].
    pub(super) fn isolate(&mut self, member: &Member, way: Way, allowed: &[Allow]) {
        let set = self.new_set(allowed, RuleRow::allow);
        self.set(member, way, set);
    }

    /// Lets an endpoint do everything but what is denied, in the world that comes into force with the next
    /// [`Self::flip`].
    pub(super) fn deny(&mut self, member: &Member, way: Way, denied: &[Allow]) {
        let set = self.new_set(denied, RuleRow::deny);
        let rest = RuleKey::new(set, ANY_IDENTITY, 0, 0);
        self.maps.rules.insert((RuleKey::ANY_PROTOCOL, rest), RuleRow::allow(0));
        self.set(member, way, set);
    }

    /// A rule set with these rows. All have its number.
    fn new_set(&mut self, rows: &[Allow], row: impl Fn(u32) -> RuleRow) -> u32 {
        self.rule_sets += 1;
        let set = self.rule_sets;
        for Allow { identity, protocol, port } in rows {
            let key = RuleKey::new(set, *identity, *protocol, port.unwrap_or(0));
            let bits = match (protocol, port) {
                (0, _) => RuleKey::ANY_PROTOCOL,
                (_, None) => RuleKey::ANY_PORT,
                (_, Some(_)) => RuleKey::FULL,
            };
            self.maps.rules.insert((bits, key), row(set));
        }
        set
    }

    fn set(&mut self, member: &Member, way: Way, set: u32) {
        let subject = self.next_subject(member);
        match way {
            Way::In => subject.ingress = set,
            Way::Out => subject.egress = set,
        }
    }

    /// Has policies under audit isolate an endpoint but for what is allowed, in the world that comes into force with the
    /// next [`Self::flip`].
    pub(super) fn audit(&mut self, member: &Member, way: Way, allowed: &[Allow]) {
        let set = self.new_set(allowed, RuleRow::allow);
        let subject = self.next_subject(member);
        match way {
            Way::In => subject.audit_ingress = set,
            Way::Out => subject.audit_egress = set,
        }
    }

    /// How many packets policies under audit would have dropped on an endpoint's account.
    pub(super) fn audited(&self, member: &Member, reason: DropReason) -> u32 {
        self.maps.audited.borrow().get(&(member.incarnation, reason)).copied().unwrap_or(0)
    }

    /// Ends an endpoint's isolation with the next [`Self::flip`].
    pub(super) fn open(&mut self, member: &Member) {
        let subject = self.next_subject(member);
        (subject.ingress, subject.egress) = (0, 0);
    }

    fn next_subject(&mut self, member: &Member) -> &mut Subject {
        let next = (self.maps.config.generation as usize + 1) & 1;
        &mut self.maps.slots.get_mut(&member.ifindex).unwrap().versions[next]
    }

    /// Brings the next world into force, and makes it the base of the one after it.
    pub(super) fn flip(&mut self) {
        self.maps.config.generation += 1;
        let now = self.maps.config.generation as usize & 1;
        for slot in self.maps.slots.values_mut() {
            slot.versions[now ^ 1] = slot.versions[now];
        }
        self.maps.published[now ^ 1] = self.maps.published[now].clone();
    }

    /// Lets time go by.
    pub(super) fn wait(&mut self, seconds: u64) {
        self.maps.now += seconds * SECOND;
    }

    /// Runs a program on a packet.
    pub(super) fn run(&mut self, program: Program, packet: &mut Bytes) -> Result<Verdict, Dropped> {
        let Self { maps, work, .. } = self;
        maps.paths.borrow_mut().clear();
        work.is_returned = packet.is_returned;
        let answer = match program {
            Program::FromEndpoint => from_endpoint::from_endpoint(packet, maps, work),
            Program::ToEndpoint => to_endpoint::to_endpoint(packet, maps, work),
            Program::FromUplink => from_uplink::from_uplink(packet, maps, work),
            Program::FromDefrag => from_defrag::from_defrag(packet, maps),
        };
        let counted = maps.paths.borrow();
        match answer {
            // A drop is counted once, by the entry point, so no stage may have counted the packet as passed.
            Err(_) | Ok(Verdict::BackIn(_) | Verdict::BackOut(_)) => assert_eq!(*counted, []),
            // So is what is diverted: where it goes then is another path.
            Ok(
                Verdict::ToEndpoint(_) | Verdict::ToDevice(_) | Verdict::ToUplink(_) | Verdict::ToDefrag(_),
            ) => {
                assert_eq!(counted.len(), 1);
            }
            Ok(Verdict::Next) => assert!(counted.len() <= 1),
        }
        answer
    }

    /// Runs a program on a frame at a device; returns its verdict and the frame.
    pub(super) fn frame(
        &mut self,
        program: Program,
        ifindex: u32,
        frame: Vec<u8>,
    ) -> (Result<Verdict, DropReason>, Vec<u8>) {
        let mut packet = Bytes::new(frame, ifindex);
        let verdict = self.run(program, &mut packet).map_err(|dropped| dropped.reason);
        (verdict, packet.frame)
    }

    /// Runs a program on a packet that it drops; returns the reason, and the ICMP error the packet turned into, with
    /// the verdict on that.
    pub(super) fn drops(
        &mut self,
        program: Program,
        mut packet: Bytes,
    ) -> (DropReason, Option<(Verdict, Vec<u8>)>) {
        let reason = self.run(program, &mut packet).expect_err("not dropped").reason;
        let told = report(&mut packet, &self.maps, &mut self.work, reason);
        (reason, told.map(|verdict| (verdict, packet.frame)))
    }

    fn message(&mut self, program: Program, ifindex: u32, message: &Message) -> Fate {
        let (verdict, bytes) = self.frame(program, ifindex, message.bytes());
        match verdict {
            Ok(Verdict::ToEndpoint(to)) => Fate::At(to, Message::read(&bytes)),
            Ok(Verdict::ToDevice(to)) => {
                let mut packet = Bytes { is_decided: true, ..Bytes::new(bytes, to) };
                assert_eq!(self.run(Program::ToEndpoint, &mut packet), Ok(Verdict::Next));
                Fate::Past(to, Message::read(&packet.frame))
            }
            Ok(Verdict::ToUplink(to)) => {
                assert_eq!(to, HOST.ifindex);
                Fate::Out(Message::read(&bytes))
            }
            Ok(Verdict::Next) => Fate::On(Message::read(&bytes)),
            Ok(other) => panic!("a whole packet was put in order: {other:?}"),
            Err(reason) => Fate::Dropped(reason),
        }
    }

    /// An endpoint sends.
    pub(super) fn sends(&mut self, member: &Member, message: &Message) -> Fate {
        self.message(Program::FromEndpoint, member.ifindex, message)
    }

    /// The host's stack sends to an endpoint.
    pub(super) fn host_sends(&mut self, member: &Member, message: &Message) -> Fate {
        self.message(Program::ToEndpoint, member.ifindex, message)
    }

    /// Something comes in at the uplink.
    pub(super) fn comes_in(&mut self, message: &Message) -> Fate {
        self.message(Program::FromUplink, HOST.ifindex, message)
    }

    /// The path the last packet was counted on.
    pub(super) fn path(&self) -> Option<Path> {
        self.maps.paths.borrow().first().copied()
    }

    /// How many entries there are.
    pub(super) fn flows(&self) -> usize {
        self.maps.flows.borrow().len() + self.maps.nursery.borrow().len()
    }

    /// How many entries settled flows have.
    pub(super) fn settled(&self) -> usize {
        self.maps.flows.borrow().len()
    }

    /// The addresses that have no route.
    pub(super) fn cut_route(&mut self, addr: Addr) {
        self.maps.routes.insert(addr, Err(DropReason::NoRoute));
    }
}

/// A rule for everybody.
pub(super) const fn anyone(protocol: u8, port: u16) -> Allow {
    Allow { identity: ANY_IDENTITY, protocol, port: Some(port) }
}
