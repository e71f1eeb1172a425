//! Endpoints that go while their flows live, and others that come in their place.

use std::ptr::NonNull;

use netfast_common::conntrack::{Flow, SECOND};
use netfast_common::protocol::UDP;
use netfast_common::reason::DropReason;

use super::cast::{CLIENT, Family, HOST, Member, OUTSIDE, WEB};
use super::lab::{Fate, Lab, Way};
use super::message::{ACK, Message, RST, What, tcp, udp};
use crate::world::World;

/// Another endpoint with the web server's addresses.
const HEIR: Member = Member { ifindex: 200, incarnation: 2000, ..WEB };

#[test]
fn packets_to_an_endpoint_that_is_gone() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ask = Message::new(&CLIENT, &WEB, family, tcp(4000, 80));
        assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask);
        lab.maps.endpoints.remove(&WEB.ifindex);
        assert_eq!(lab.sends(&CLIENT, &ask.flags(ACK)), Fate::Dropped(DropReason::NotReady));
    }
}

#[test]
fn within_a_tick_only_new_flows_read_the_clock() {
    let mut lab = Lab::new();
    lab.maps.tick = SECOND / 100;
    let ask = |port| Message::new(&CLIENT, &WEB, Family::V4, udp(port, 53));
    let sends = |lab: &mut Lab, port| {
        let before = lab.maps.clock_reads.get();
        assert_eq!(lab.sends(&CLIENT, &ask(port)).at(&WEB), ask(port));
        lab.maps.clock_reads.get() - before
    };
    sends(&mut lab, 4000);
    lab.maps.now += 7;
    assert_eq!(sends(&mut lab, 4000), 0, "the time of the packet before will do");
    assert_eq!(sends(&mut lab, 4001), 1, "flows of one tick are told apart by when they began");
    // SAFETY: the lab never frees entries.
    let beginning = |flow: &NonNull<Flow>| unsafe { flow.as_ref() }.created;
    let mut begun: Vec<_> = lab.maps.nursery.borrow().values().map(beginning).collect();
    begun.sort_unstable();
    assert_eq!(begun, [lab.maps.now - 7, lab.maps.now]);
    lab.maps.now += lab.maps.tick;
    assert_eq!(sends(&mut lab, 4000), 1, "another tick");
}

#[test]
fn an_heir_inherits_no_flow() {
    for family in Family::BOTH {
        // The kernel may give its device the number of the old one.
        for ifindex in [HEIR.ifindex, WEB.ifindex] {
            let heir = Member { ifindex, ..HEIR };
            let mut lab = Lab::new();
            let ask = Message::new(&CLIENT, &WEB, family, udp(4000, 53));
            assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask);
            assert_eq!(lab.sends(&WEB, &ask.reply()).at(&CLIENT), ask.reply());
            lab.leave(&WEB);
            lab.join(&heir);
            lab.isolate(&heir, Way::Out, &[]);
            lab.isolate(&heir, Way::In, &[]);
            lab.flip();
            // Were it taken for the server's answer, it would pass.
            assert_eq!(lab.sends(&heir, &ask.reply()), Fate::Dropped(DropReason::PolicyEgress));
            assert_eq!(lab.sends(&CLIENT, &ask), Fate::Dropped(DropReason::PolicyIngress));
        }
    }
}

#[test]
fn an_heir_reports_no_errors_of_its_predecessors_flows() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ask = Message::new(&CLIENT, &WEB, family, udp(4000, 53));
        assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask);
        lab.leave(&WEB);
        lab.join(&HEIR);
        lab.isolate(&HEIR, Way::Out, &[]);
        lab.flip();
        let kind = if family == Family::V4 { 3 } else { 1 };
        let what = What::Error { kind, code: 3 };
        let report = Message { what, payload: ask.bytes()[14..].to_vec(), ..ask.reply() };
        assert_eq!(lab.sends(&HEIR, &report), Fate::Dropped(DropReason::PolicyEgress));
    }
}

#[test]
fn a_new_connection_finds_the_heir_in_the_same_world() {
    let mut lab = Lab::new();
    let ask = Message::new(&CLIENT, &WEB, Family::V4, tcp(4000, 80));
    assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask);
    lab.leave(&WEB);
    lab.join(&HEIR);
    assert_eq!(lab.sends(&CLIENT, &ask).at(&HEIR), ask);
}

#[test]
fn an_alias_whose_flow_was_evicted_leads_to_no_other_flow() {
    let mut lab = Lab::new();
    lab.publish(UDP, 8080, &WEB, 80);
    let ask = Message::new(&OUTSIDE, &HOST, Family::V4, udp(50000, 8080));
    let old = lab.comes_in(&ask).at(&WEB);
    let main = lab.work.key;
    lab.maps.remove_flow(&main);
    lab.publish(UDP, 8080, &CLIENT, 80);
    let new = lab.comes_in(&ask).at(&CLIENT);
    // The old server's packets neither pass for answers of the new flow nor end it.
    assert_ne!(lab.sends(&WEB, &old.reply()).out().ports().0, 8080);
    assert_eq!(lab.sends(&CLIENT, &new.reply()).out().ports().0, 8080);
}

#[test]
fn an_heir_is_reached_once_the_world_has_changed() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ask = Message::new(&CLIENT, &WEB, family, udp(4000, 53));
        assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask);
        lab.leave(&WEB);
        lab.join(&HEIR);
        lab.flip();
        assert_eq!(lab.sends(&CLIENT, &ask).at(&HEIR), ask);
        assert_eq!(lab.flows(), 1);
    }
}

#[test]
fn an_heir_takes_the_published_port_over_but_no_flow() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        lab.publish(UDP, 8080, &WEB, 80);
        let ask = Message::new(&OUTSIDE, &HOST, family, udp(50000, 8080));
        let got = lab.comes_in(&ask).at(&WEB);
        lab.leave(&WEB);
        lab.join(&HEIR);
        // Not the answer of that flow, but a packet of the heir's own: it is masqueraded.
        let own = lab.sends(&HEIR, &got.reply()).out();
        assert_eq!(own.src, HOST.addr(family));
        assert_ne!(own.ports().0, 8080);
        lab.flip();
        // With another source port, since the heir's own flow has the old one's.
        let anew = lab.comes_in(&ask).at(&HEIR);
        assert_eq!((anew.src, anew.ports().1), (OUTSIDE.addr(family), 80));
        assert_ne!(anew.ports().0, 50000);
    }
}

#[test]
fn a_silent_flow_is_over() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ask = Message::new(&CLIENT, &WEB, family, udp(4000, 53));
        assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask);
        lab.isolate(&WEB, Way::Out, &[]);
        lab.flip();
        assert_eq!(lab.sends(&WEB, &ask.reply()).at(&CLIENT), ask.reply(), "an answer");
        lab.wait(181);
        assert_eq!(
            lab.sends(&WEB, &ask.reply()),
            Fate::Dropped(DropReason::PolicyEgress),
            "too late for one"
        );
    }
}

#[test]
fn a_reset_that_neither_end_believes_ends_nothing() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ask = Message::new(&CLIENT, &OUTSIDE, family, tcp(25000, 443));
        let got = lab.sends(&CLIENT, &ask).out();
        let answer = got.reply();
        lab.comes_in(&answer).at(&CLIENT);
        lab.sends(&CLIENT, &ask.flags(ACK)).out();
        lab.comes_in(&answer.flags(RST)).at(&CLIENT);
        lab.comes_in(&answer.flags(ACK)).at(&CLIENT);
        lab.sends(&CLIENT, &ask.flags(ACK)).out();
        lab.wait(7200);
        assert_eq!(lab.comes_in(&answer.flags(ACK)).at(&CLIENT).ports(), (443, 25000));
    }
}
