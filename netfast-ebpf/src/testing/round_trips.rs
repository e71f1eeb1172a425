//! Random conversations along every path: what comes back is what was sent, and the tables agree with themselves.

use std::collections::BTreeMap;

use netfast_common::addr::Addr;
use netfast_common::checksum::{address_difference, checksum, patch, word_difference};
use netfast_common::conntrack::{FLOW_ALIAS, FLOW_DESTINATION_NAT, FLOW_SOURCE_NAT};
use netfast_common::flow::FlowKey;
use netfast_common::protocol::{TCP, UDP};
use proptest::prelude::*;

use super::cast::{CLIENT, Family, HOST, Member, OUTSIDE, STRANGER, WEB};
use super::lab::{Fate, Lab};
use super::message::{ACK, Message, SYN, What, ping, tcp, udp};
use crate::track::seen;
use crate::world::World;

/// Who talks to whom, and by which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Neighbours,
    Masqueraded,
    FromOutside,
    FromAnotherNetwork,
    ThroughTheHost,
    ToOneself,
}

impl Way {
    const ALL: [Self; 6] = [
        Self::Neighbours,
        Self::Masqueraded,
        Self::FromOutside,
        Self::FromAnotherNetwork,
        Self::ThroughTheHost,
        Self::ToOneself,
    ];

    /// Who asks, and whom.
    const fn ends(self) -> (Member, Member) {
        match self {
            Self::Neighbours => (CLIENT, WEB),
            Self::Masqueraded => (CLIENT, OUTSIDE),
            Self::FromOutside => (OUTSIDE, HOST),
            Self::FromAnotherNetwork => (STRANGER, HOST),
            Self::ThroughTheHost => (CLIENT, HOST),
            Self::ToOneself => (WEB, HOST),
        }
    }

    /// Who answers.
    const fn server(self) -> Member {
        match self {
            Self::Masqueraded => OUTSIDE,
            _ => WEB,
        }
    }

    /// Whether it leads through a published port, which there is none of for pings.
    const fn is_published(self) -> bool {
        !matches!(self, Self::Neighbours | Self::Masqueraded)
    }
}

fn way() -> impl Strategy<Value = Way> {
    proptest::sample::select(&Way::ALL[..])
}

fn family() -> impl Strategy<Value = Family> {
    proptest::sample::select(&Family::BOTH[..])
}

fn lab() -> Lab {
    let mut lab = Lab::new();
    for protocol in [TCP, UDP] {
        lab.publish(protocol, 8080, &WEB, 80);
    }
    lab
}

/// A message on its way from a member of the cast; what its receiver gets.
fn sent(lab: &mut Lab, from: &Member, message: &Message) -> Option<Message> {
    let fate = if from.network == 0 { lab.comes_in(message) } else { lab.sends(from, message) };
    match fate {
        Fate::At(_, got) | Fate::Out(got) => Some(got),
        Fate::Past(..) | Fate::On(_) | Fate::Dropped(_) => None,
    }
}

/// What a flow is and says.
fn said(message: &Message) -> (netfast_common::flow::Tuple, What, &[u8]) {
    (message.tuple(), message.what, &message.payload)
}

/// Addresses and ports as they stand under a checksum. The first byte is never zero, as in a header: ones' complement has
/// two zeroes.
fn covered(addresses: [[u8; 16]; 2], ports: [u16; 2]) -> Vec<u8> {
    [&[0x45, 0], addresses.as_flattened(), ports.map(u16::to_be_bytes).as_flattened()].concat()
}

proptest! {
    #[test]
    fn there_and_back_is_what_was_sent(
        way in way(),
        family in family(),
        kind in 0..3,
        sport in 1_u16..,
        dport in 1_u16..,
        question in proptest::collection::vec(any::<u8>(), 0..64),
        answer in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let dport = if way.is_published() { 8080 } else { dport };
        let what = match kind {
            0 => tcp(sport, dport),
            1 if !way.is_published() => ping(sport),
            _ => udp(sport, dport),
        };
        let (from, to) = way.ends();
        let mut lab = lab();
        let ask = Message { payload: question, ..Message::new(&from, &to, family, what) };
        // The second time, the flow is known.
        for _ in 0..2 {
            let got = sent(&mut lab, &from, &ask).expect("no question");
            prop_assert_eq!((&got.payload, got.dst), (&ask.payload, way.server().addr(family)));
            let reply = Message { payload: answer.clone(), ..got.reply() };
            let back = sent(&mut lab, &way.server(), &reply).expect("no answer");
            let expected = Message { payload: answer.clone(), ..ask.reply() };
            prop_assert_eq!(said(&back), said(&expected));
        }
    }

    #[test]
    fn a_chain_of_patches_equals_a_full_sum(
        addresses in any::<[[u8; 16]; 2]>(),
        ports in any::<[u16; 2]>(),
        changes in proptest::collection::vec((0_usize..2, any::<[u8; 16]>(), any::<u16>()), 0..20),
    ) {
        let (mut addresses, mut ports) = (addresses, ports);
        let full = |addresses, ports| checksum(&covered(addresses, ports)).to_be_bytes();
        let mut field = full(addresses, ports);
        for (which, address, port) in changes {
            let difference = address_difference(&Addr::from_v6(addresses[which]), &Addr::from_v6(address));
            field = patch(field, difference);
            addresses[which] = address;
            prop_assert_eq!(field, full(addresses, ports));
            field = patch(field, word_difference(ports[which], port));
            ports[which] = port;
            prop_assert_eq!(field, full(addresses, ports));
        }
    }
}

/// What happens next. No flow ends: the alias of one that did may stay behind, and whoever finds it removes it.
#[derive(Clone, Debug)]
enum Step {
    Ask(usize, u8),
    Answer(usize, u8),
    /// Milliseconds.
    Wait(u64),
    Flip,
}

fn step() -> impl Strategy<Value = Step> {
    let flags = || proptest::sample::select(&[SYN, ACK, SYN | ACK][..]);
    prop_oneof![
        4 => (0..FLOWS.len(), flags()).prop_map(|(flow, flags)| Step::Ask(flow, flags)),
        4 => (0..FLOWS.len(), flags()).prop_map(|(flow, flags)| Step::Answer(flow, flags)),
        1 => (0_u64..700).prop_map(Step::Wait),
        1 => Just(Step::Flip),
    ]
}

/// Who begins, with whom, and from which port: flows whose responders could take one for the other.
const FLOWS: [(Member, Member, u16, u16); 6] = [
    (CLIENT, OUTSIDE, 20000, 80),
    (WEB, OUTSIDE, 20000, 80),
    (CLIENT, WEB, 20000, 80),
    (CLIENT, HOST, 20000, 8080),
    (OUTSIDE, HOST, 20000, 8080),
    (WEB, HOST, 20000, 8080),
];

/// Every alias leads to the flow that is answered by it, every translated flow has an alias, and no two flows look the same
/// to those who answer them.
fn consistent(lab: &Lab) {
    let keys =
        |table: &std::cell::RefCell<BTreeMap<FlowKey, _>>| table.borrow().keys().copied().collect::<Vec<_>>();
    let (settled, young) = (keys(&lab.maps.flows), keys(&lab.maps.nursery));
    for key in &settled {
        assert!(!young.contains(key), "settled, and in the nursery still: {key:?}");
    }
    let mut responders = BTreeMap::new();
    for key in settled.iter().chain(&young) {
        let entry = lab.maps.flow(key).unwrap();
        let flow = entry.get();
        if flow.flags & FLOW_ALIAS != 0 {
            let main = lab.maps.flow(&flow.key).unwrap_or_else(|| panic!("leads nowhere: {flow:?}"));
            assert_eq!(main.get().flags & FLOW_ALIAS, 0, "an alias of an alias");
            assert_eq!(seen(main.get()).key().0, *key, "an alias of another flow");
            continue;
        }
        let (alias, _) = seen(flow).key();
        if flow.flags & (FLOW_SOURCE_NAT | FLOW_DESTINATION_NAT) != 0 {
            let found = lab.maps.flow(&alias).unwrap_or_else(|| panic!("has no alias: {flow:?}"));
            assert_eq!((found.get().flags & FLOW_ALIAS, found.get().key), (FLOW_ALIAS, *key));
        } else {
            assert_eq!(alias, *key, "not translated, but seen otherwise");
        }
        assert_eq!(responders.insert(alias, key), None, "two flows that look the same");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn tables_stay_consistent(
        family in family(),
        is_tcp in any::<bool>(),
        ports in 1_u16..4,
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let mut lab = lab();
        lab.masquerade_range(20000, 20000 + ports - 1);
        let flagged = |message: Message, flags| if is_tcp { message.flags(flags) } else { message };
        let mut delivered: [Option<Message>; FLOWS.len()] = Default::default();
        for step in steps {
            match step {
                Step::Ask(flow, flags) => {
                    let (from, to, sport, dport) = FLOWS[flow];
                    let what = if is_tcp { tcp(sport, dport) } else { udp(sport, dport) };
                    let ask = flagged(Message::new(&from, &to, family, what), flags);
                    let (key, _) = ask.tuple().key();
                    if lab.maps.flow(&key).is_some_and(|entry| entry.get().flags & FLOW_ALIAS != 0) {
                        // It would take the alias, and the other flow begin anew: see `nursery`.
                        continue;
                    }
                    if let Some(got) = sent(&mut lab, &from, &ask) {
                        delivered[flow] = Some(got);
                    }
                }
                Step::Answer(flow, flags) => {
                    let Some(got) = &delivered[flow] else { continue };
                    let (_, to, ..) = FLOWS[flow];
                    let server = if to.network == 0 && to.ip4 == HOST.ip4 { WEB } else { to };
                    let _got = sent(&mut lab, &server, &flagged(got.reply(), flags));
                }
                Step::Wait(milliseconds) => lab.maps.now += milliseconds * 1_000_000,
                Step::Flip => lab.flip(),
            }
            consistent(&lab);
        }
    }
}
