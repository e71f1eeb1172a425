//! Flows that settle, and those that do not.

use netfast_common::protocol::TCP;
use netfast_common::reason::DropReason;

use super::cast::{CLIENT, Family, HOST, OUTSIDE, WEB};
use super::lab::{Fate, Lab};
use super::message::{ACK, Message, RST, SYN, ping, tcp, udp};

#[test]
fn a_connection_settles_with_the_originators_acknowledgement() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        lab.publish(TCP, 8080, &WEB, 80);
        let ask = Message::new(&OUTSIDE, &HOST, family, tcp(50000, 8080));
        let got = lab.comes_in(&ask).at(&WEB);
        lab.sends(&WEB, &got.reply().flags(SYN | ACK)).out();
        lab.comes_in(&ask).at(&WEB);
        assert_eq!((lab.settled(), lab.flows()), (0, 2), "another SYN shows nobody");

        lab.comes_in(&ask.clone().flags(ACK)).at(&WEB);
        assert_eq!((lab.settled(), lab.flows()), (2, 2), "both entries have moved");
        assert_eq!(lab.sends(&WEB, &got.reply().flags(ACK)).out().ports(), (8080, 50000));
        assert_eq!(lab.comes_in(&ask.flags(ACK)).at(&WEB).ports(), (50000, 80));
        assert_eq!(lab.flows(), 2);
    }
}

#[test]
fn a_reset_settles_nothing() {
    let mut lab = Lab::new();
    let ask = Message::new(&CLIENT, &WEB, Family::V4, tcp(4000, 80));
    lab.sends(&CLIENT, &ask).at(&WEB);
    lab.sends(&WEB, &ask.reply().flags(SYN | ACK)).at(&CLIENT);
    lab.sends(&CLIENT, &ask.flags(RST)).at(&WEB);
    assert_eq!((lab.settled(), lab.flows()), (0, 1));
}

#[test]
fn datagrams_settle_with_the_third() {
    for family in Family::BOTH {
        for what in [udp(25000, 53), ping(25000)] {
            let mut lab = Lab::new();
            let ask = Message::new(&CLIENT, &OUTSIDE, family, what);
            let got = lab.sends(&CLIENT, &ask).out();
            lab.sends(&CLIENT, &ask).out();
            lab.comes_in(&got.reply()).at(&CLIENT);
            assert_eq!((lab.settled(), lab.flows()), (0, 2), "{what:?}");
            assert_eq!(lab.sends(&CLIENT, &ask).out(), got);
            assert_eq!((lab.settled(), lab.flows()), (2, 2), "{what:?}");
            assert_eq!(lab.comes_in(&got.reply()).at(&CLIENT).dst, CLIENT.addr(family));
        }
    }
}

#[test]
fn a_settled_flow_keeps_its_source_port_to_itself() {
    let mut lab = Lab::new();
    lab.masquerade_range(20000, 20000);
    let ask = Message::new(&CLIENT, &OUTSIDE, Family::V4, udp(20000, 53));
    let got = lab.sends(&CLIENT, &ask).out();
    lab.comes_in(&got.reply()).at(&CLIENT);
    lab.sends(&CLIENT, &ask).out();
    assert_eq!(lab.settled(), 2);
    let other = Message::new(&WEB, &OUTSIDE, Family::V4, udp(20000, 53));
    assert_eq!(lab.sends(&WEB, &other), Fate::Dropped(DropReason::MasqueradeExhausted));
}

#[test]
fn an_evicted_alias_is_made_again() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ask = Message::new(&CLIENT, &OUTSIDE, family, udp(25000, 514));
        let got = lab.sends(&CLIENT, &ask).out();
        let (alias, _) = got.tuple().key();
        lab.maps.forget(&alias);
        lab.sends(&CLIENT, &ask).out();
        assert_eq!(lab.flows(), 1, "not with every packet");
        lab.wait(1);
        lab.sends(&CLIENT, &ask).out();
        assert_eq!(lab.flows(), 2);
        assert_eq!(lab.comes_in(&got.reply()).at(&CLIENT).dst, CLIENT.addr(family));
    }
}

#[test]
fn a_flow_whose_alias_became_anothers_begins_anew() {
    let mut lab = Lab::new();
    let ask = Message::new(&CLIENT, &OUTSIDE, Family::V4, udp(25000, 514));
    let got = lab.sends(&CLIENT, &ask).out();
    lab.maps.forget(&got.tuple().key().0);
    let other = Message::new(&WEB, &OUTSIDE, Family::V4, udp(25000, 514));
    assert_eq!(lab.sends(&WEB, &other).out().ports(), (25000, 514));
    lab.wait(1);
    lab.sends(&CLIENT, &ask).out();
    assert_ne!(lab.sends(&CLIENT, &ask).out().ports().0, 25000, "that one is taken");
    assert_eq!(lab.comes_in(&got.reply()).at(&WEB).dst, WEB.ip4);
}

#[test]
fn an_answer_nobody_asked_for_opens_nothing() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let answer = Message::new(&WEB, &OUTSIDE, family, tcp(80, 50000)).flags(SYN | ACK);
        assert_eq!(lab.sends(&WEB, &answer), Fate::Dropped(DropReason::InvalidState));
        assert_eq!(lab.flows(), 0);
    }
}
