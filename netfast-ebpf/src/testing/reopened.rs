//! Connections with the addresses and ports of one that was closed, which take its entry over.

use netfast_common::conntrack::{FLOW_LASTING, FLOW_SETTLED, Flow};
use netfast_common::protocol::TCP;
use netfast_common::reason::DropReason;

use super::cast::{CLIENT, Family, HOST, Member, OUTSIDE, STRANGER, WEB};
use super::lab::{Fate, Lab, Way};
use super::message::{ACK, FIN, Message, RST, SYN, tcp};

/// Who asks whom, and who answers. All of them have entries of another shape.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Between,
    Outward,
    Published,
    Hairpin,
    FromHost,
    Crossing,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Between, Self::Outward, Self::Published, Self::Hairpin, Self::FromHost, Self::Crossing];

    /// How many entries a connection has.
    fn entries(self) -> usize {
        if matches!(self, Self::Between | Self::FromHost) { 1 } else { 2 }
    }

    fn lab(self) -> Lab {
        let mut lab = Lab::new();
        if matches!(self, Self::Crossing) {
            lab.publish_across(TCP, 8080, &WEB, 80);
        } else {
            lab.publish(TCP, 8080, &WEB, 80);
        }
        lab
    }

    fn ask(self, family: Family, sport: u16) -> Message {
        let (from, to, dport) = match self {
            Self::Between => (CLIENT, WEB, 80),
            Self::Outward => (CLIENT, OUTSIDE, 443),
            Self::Published | Self::Crossing => (OUTSIDE, HOST, 8080),
            Self::Hairpin => (CLIENT, HOST, 8080),
            Self::FromHost => (WEB.gateway(), WEB, 80),
        };
        Message::new(&from, &to, family, tcp(sport, dport))
    }

    /// What becomes of a packet of the one who asks.
    fn asks(self, lab: &mut Lab, message: &Message) -> Fate {
        match self {
            Self::Between | Self::Outward | Self::Hairpin => lab.sends(&CLIENT, message),
            Self::Published | Self::Crossing => lab.comes_in(message),
            Self::FromHost => lab.host_sends(&WEB, message),
        }
    }

    /// The same, as who answers gets it.
    fn asked(self, lab: &mut Lab, message: &Message) -> Message {
        match (self, self.asks(lab, message)) {
            (Self::Outward, Fate::Out(got)) | (Self::FromHost, Fate::On(got)) | (_, Fate::At(_, got)) => got,
            (_, other) => panic!("{self:?}: {other:?}"),
        }
    }

    /// What becomes of the answer.
    fn answers(self, lab: &mut Lab, message: &Message) -> Fate {
        if matches!(self, Self::Outward) { lab.comes_in(message) } else { lab.sends(&WEB, message) }
    }

    /// A connection from its first packet to its last; what who answers got first.
    fn connects(self, lab: &mut Lab, ask: &Message) -> Message {
        let got = self.asked(lab, ask);
        let answer = got.reply();
        assert_passes(&self.answers(lab, &answer.flags(SYN | ACK)));
        self.asked(lab, &ask.flags(ACK));
        self.asked(lab, &ask.flags(FIN | ACK));
        assert_passes(&self.answers(lab, &answer.flags(FIN | ACK)));
        self.asked(lab, &ask.flags(ACK));
        got
    }
}

fn assert_passes(fate: &Fate) {
    assert!(!matches!(fate, Fate::Dropped(_)), "{fate:?}");
}

/// The entry of the flow that the last packet was of.
fn entry(lab: &Lab) -> Flow {
    let flows = lab.maps.flows.borrow();
    // SAFETY: the lab never frees entries.
    unsafe { *flows[&lab.work.key].as_ref() }
}

#[test]
fn a_connection_takes_over_the_entries_of_the_one_before() {
    for (kind, family) in Kind::ALL.into_iter().flat_map(|kind| Family::BOTH.map(|family| (kind, family))) {
        let mut lab = kind.lab();
        let ask = kind.ask(family, 25000);
        let first = kind.connects(&mut lab, &ask);
        let (old, made) = (entry(&lab), lab.maps.made());
        assert_eq!(lab.settled(), kind.entries(), "{kind:?}");
        assert_ne!(old.flags & FLOW_SETTLED, 0, "{kind:?}");
        for _ in 0..3 {
            lab.wait(1);
            lab.flip();
            lab.work.is_first = false;
            assert_eq!(kind.asked(&mut lab, &ask), first, "{kind:?}");
            let new = entry(&lab);
            assert_eq!((lab.work.is_first, lab.work.opening.source_port), (true, new.key.a_port));
            assert_eq!(new.flags, old.flags & FLOW_LASTING, "{kind:?}");
            assert_eq!((new.packets, new.bytes[1]), ([1, 0], 0), "{kind:?}");
            assert_eq!((new.created, new.seen), (lab.maps.now, lab.maps.now));
            assert_eq!(new.generation, lab.maps.config.generation);
            assert_eq!((new.key, new.originator, new.responder), (old.key, old.originator, old.responder));
            kind.connects(&mut lab, &ask);
        }
        assert_eq!((lab.maps.made(), lab.settled(), lab.flows()), (made, kind.entries(), kind.entries()));
    }
}

#[test]
fn it_is_as_young_as_any_other() {
    let mut lab = Lab::new();
    let kind = Kind::Outward;
    let ask = kind.ask(Family::V4, 25000);
    kind.connects(&mut lab, &ask);
    let got = kind.asked(&mut lab, &ask);
    // Nobody has answered for longer than such flows live.
    lab.wait(61);
    assert!(matches!(lab.comes_in(&got.reply().flags(SYN | ACK)), Fate::On(_)));
    // One that is open lives for hours.
    kind.asked(&mut lab, &ask);
    assert_passes(&lab.comes_in(&got.reply().flags(SYN | ACK)));
    kind.asked(&mut lab, &ask.flags(ACK));
    lab.wait(7200);
    assert_eq!(lab.comes_in(&got.reply().flags(ACK)).at(&CLIENT).ports(), (443, 25000));
}

#[test]
fn a_connection_that_was_refused_is_tried_again() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ask = Message::new(&CLIENT, &WEB, family, tcp(4000, 80));
        for _ in 0..3 {
            assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask);
            lab.sends(&WEB, &ask.reply().flags(RST | ACK)).at(&CLIENT);
        }
        assert_eq!((lab.maps.made(), lab.settled(), lab.flows()), (1, 0, 1));
        // It settles when it is answered at last.
        lab.sends(&CLIENT, &ask).at(&WEB);
        lab.sends(&WEB, &ask.reply().flags(SYN | ACK)).at(&CLIENT);
        lab.sends(&CLIENT, &ask.flags(ACK)).at(&WEB);
        assert_eq!((lab.settled(), lab.flows()), (1, 1));
    }
}

#[test]
fn policies_are_asked_again() {
    for kind in [Kind::Between, Kind::Published, Kind::Hairpin] {
        let mut lab = kind.lab();
        let ask = kind.ask(Family::V4, 25000);
        let first = kind.connects(&mut lab, &ask);
        lab.isolate(&WEB, Way::In, &[]);
        lab.flip();
        for flags in [SYN, ACK, SYN] {
            let fate = kind.asks(&mut lab, &ask.flags(flags));
            assert_eq!(fate, Fate::Dropped(DropReason::PolicyIngress), "{kind:?}");
        }
        lab.isolate(&WEB, Way::Out, &[]);
        lab.flip();
        let answer = kind.answers(&mut lab, &first.reply().flags(SYN | ACK));
        assert!(matches!(answer, Fate::Dropped(_)), "{kind:?}: {answer:?}");
    }
}

#[test]
fn who_was_asked_may_ask() {
    let mut lab = Lab::new();
    let ask = Message::new(&CLIENT, &WEB, Family::V4, tcp(4000, 80));
    Kind::Between.connects(&mut lab, &ask);
    assert_eq!(lab.sends(&WEB, &ask.reply().flags(SYN)).at(&CLIENT), ask.reply().flags(SYN));
    assert_eq!((lab.settled(), lab.flows()), (0, 1), "a flow of its own");
    lab.sends(&CLIENT, &ask.flags(SYN | ACK)).at(&WEB);
    lab.sends(&WEB, &ask.reply().flags(ACK)).at(&CLIENT);
    assert_eq!((lab.settled(), lab.flows()), (1, 1));
}

/// What is different when the next connection begins.
type Change<'a> = (&'a str, Kind, &'a dyn Fn(&mut Lab));

#[test]
fn an_entry_that_leads_elsewhere_is_not_taken_over() {
    let heir = Member { ifindex: 200, incarnation: 2000, ..WEB };
    let changes: [Change<'_>; 5] = [
        ("another endpoint has the address", Kind::Between, &|lab| {
            lab.leave(&WEB);
            lab.join(&heir);
        }),
        ("the port is published by another", Kind::Published, &|lab| lab.publish(TCP, 8080, &STRANGER, 80)),
        ("the port leads to another port", Kind::Hairpin, &|lab| lab.publish(TCP, 8080, &WEB, 81)),
        ("published anew", Kind::Published, &|lab| {
            for published in &mut lab.maps.published {
                for row in published.values_mut() {
                    row.incarnation += 1;
                }
            }
        }),
        ("that source port is not for masquerade any more", Kind::Outward, &|lab| {
            lab.masquerade_range(20000, 20010);
        }),
    ];
    for (what, kind, change) in changes {
        let mut lab = kind.lab();
        let ask = kind.ask(Family::V4, 25000);
        let first = kind.connects(&mut lab, &ask);
        change(&mut lab);
        lab.flip();
        let anew = kind.asked(&mut lab, &ask);
        assert_eq!((lab.settled(), lab.flows()), (0, kind.entries()), "{what}");
        if matches!(kind, Kind::Hairpin | Kind::Outward) {
            assert_ne!(anew.ports(), first.ports(), "{what}");
        }
    }
}

#[test]
fn an_entry_without_its_alias_is_not_taken_over() {
    for kind in [Kind::Outward, Kind::Published] {
        let mut lab = kind.lab();
        let ask = kind.ask(Family::V6, 25000);
        let first = kind.connects(&mut lab, &ask);
        lab.maps.forget(&first.tuple().key().0);
        assert_eq!(kind.asked(&mut lab, &ask), first);
        assert_eq!((lab.settled(), lab.flows()), (0, 2));
        kind.connects(&mut lab, &ask);
    }
}
