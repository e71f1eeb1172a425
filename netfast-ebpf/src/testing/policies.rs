//! Policies of both ends, and what a change of them does to flows that live.

use netfast_common::event::Answer;
use netfast_common::protocol::{ICMP, TCP, UDP};
use netfast_common::reason::DropReason;
use netfast_common::rows::CONFIG_KEEP;

use super::cast::{CLIENT, ELSEWHERE, Family, HOST, OUTSIDE, WEB};
use super::lab::{Allow, Fate, Lab, Way, anyone};
use super::message::{ACK, Message, SYN, ping, tcp, udp};

#[test]
fn the_receiver_isolated_but_for_one_port() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        lab.isolate(&WEB, Way::In, &[anyone(TCP, 80)]);
        lab.flip();
        let allowed = Message::new(&CLIENT, &WEB, family, tcp(4000, 80));
        assert_eq!(lab.sends(&CLIENT, &allowed).at(&WEB), allowed);
        assert_eq!(lab.sends(&WEB, &allowed.reply()).at(&CLIENT), allowed.reply());
        for what in [tcp(4000, 81), udp(4000, 80), ping(7)] {
            let denied = Message::new(&CLIENT, &WEB, family, what);
            assert_eq!(lab.sends(&CLIENT, &denied), Fate::Dropped(DropReason::PolicyIngress), "{what:?}");
        }
        assert_eq!(lab.flows(), 1, "what is denied leaves no entry");
    }
}

#[test]
fn the_sender_isolated_but_for_one_peer() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let peer = WEB.identity(family);
        lab.isolate(&CLIENT, Way::Out, &[Allow { identity: peer, protocol: UDP, port: None }]);
        lab.flip();
        let allowed = Message::new(&CLIENT, &WEB, family, udp(4000, 53));
        assert_eq!(lab.sends(&CLIENT, &allowed).at(&WEB), allowed);
        assert_eq!(lab.sends(&WEB, &allowed.reply()).at(&CLIENT), allowed.reply());
        let denied = Message::new(&CLIENT, &WEB, family, tcp(4000, 53));
        assert_eq!(lab.sends(&CLIENT, &denied), Fate::Dropped(DropReason::PolicyEgress));
        let outside = Message::new(&CLIENT, &OUTSIDE, family, udp(4000, 53));
        assert_eq!(lab.sends(&CLIENT, &outside), Fate::Dropped(DropReason::PolicyEgress));
    }
}

#[test]
fn isolation_of_one_direction_leaves_the_other() {
    let mut lab = Lab::new();
    lab.isolate(&WEB, Way::In, &[]);
    lab.flip();
    let ask = Message::new(&WEB, &CLIENT, Family::V4, tcp(4000, 80));
    assert_eq!(lab.sends(&WEB, &ask).at(&CLIENT), ask);
    assert_eq!(lab.sends(&CLIENT, &ask.reply()).at(&WEB), ask.reply(), "replies pass");
}

#[test]
fn a_drop_is_counted_against_the_end_that_denies() {
    for (isolated, way) in [(WEB, Way::In), (CLIENT, Way::Out)] {
        let mut lab = Lab::new();
        lab.isolate(&isolated, way, &[]);
        lab.flip();
        let ask = Message::new(&CLIENT, &WEB, Family::V4, tcp(4000, 80));
        let mut packet = super::bytes::Bytes::new(ask.bytes(), CLIENT.ifindex);
        let dropped = lab.run(super::lab::Program::FromEndpoint, &mut packet).unwrap_err();
        assert_eq!(dropped.endpoint, isolated.incarnation);
    }
}

#[test]
fn a_rule_that_denies_leaves_the_rest() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let identity = CLIENT.identity(family);
        lab.deny(&WEB, Way::In, &[Allow { identity, protocol: TCP, port: Some(80) }]);
        lab.deny(&CLIENT, Way::Out, &[anyone(UDP, 53)]);
        lab.flip();
        let denied = Message::new(&CLIENT, &WEB, family, tcp(4000, 80));
        assert_eq!(lab.sends(&CLIENT, &denied), Fate::Dropped(DropReason::PolicyIngress));
        assert_eq!((lab.work.answers.ingress, lab.work.answers.ingress_rule), (Answer::Denied as u32, 1));
        let denied = Message::new(&CLIENT, &WEB, family, udp(4000, 53));
        assert_eq!(lab.sends(&CLIENT, &denied), Fate::Dropped(DropReason::PolicyEgress));
        for what in [tcp(4000, 81), udp(4000, 54), ping(7)] {
            let allowed = Message::new(&CLIENT, &WEB, family, what);
            assert_eq!(lab.sends(&CLIENT, &allowed).at(&WEB), allowed, "{what:?}");
        }
        assert_eq!((lab.work.answers.ingress, lab.work.answers.ingress_rule), (Answer::Allowed as u32, 0));
    }
}

#[test]
fn what_policies_under_audit_would_drop_passes_and_is_counted_once() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        lab.audit(&WEB, Way::In, &[anyone(TCP, 80)]);
        lab.audit(&CLIENT, Way::Out, &[anyone(TCP, 80), anyone(TCP, 81)]);
        lab.flip();
        let counts = |lab: &Lab| {
            (lab.audited(&WEB, DropReason::PolicyIngress), lab.audited(&CLIENT, DropReason::PolicyEgress))
        };
        for (what, wanted) in [(tcp(4000, 80), (0, 0)), (tcp(4000, 81), (1, 0)), (udp(4000, 53), (1, 1))] {
            let ask = Message::new(&CLIENT, &WEB, family, what);
            assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask, "{what:?}");
            assert_eq!(counts(&lab), wanted, "{what:?}");
            // Neither replies nor what follows are asked about.
            assert_eq!(lab.sends(&WEB, &ask.reply()).at(&CLIENT), ask.reply());
            assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask);
            assert_eq!(counts(&lab), wanted, "{what:?}");
        }
        assert_eq!(lab.work.audited.reason, DropReason::PolicyEgress as u32);
        assert_eq!(lab.work.audited.answers.egress, Answer::Denied as u32);
        lab.isolate(&WEB, Way::In, &[]);
        lab.flip();
        let denied = Message::new(&CLIENT, &WEB, family, tcp(4001, 81));
        assert_eq!(lab.sends(&CLIENT, &denied), Fate::Dropped(DropReason::PolicyIngress));
        assert_eq!(counts(&lab), (1, 1), "what is dropped is not audited");
    }
}

#[test]
fn a_rule_counts_the_flows_it_allows_and_not_their_packets() {
    let mut lab = Lab::new();
    lab.isolate(&CLIENT, Way::Out, &[anyone(TCP, 80)]);
    lab.isolate(&WEB, Way::In, &[anyone(TCP, 80)]);
    lab.flip();
    let hits = |lab: &Lab| lab.maps.rule_hits.borrow().clone();
    for port in [4000, 4001] {
        let ask = Message::new(&CLIENT, &WEB, Family::V4, tcp(port, 80));
        assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask);
        assert_eq!(lab.sends(&WEB, &ask.reply()).at(&CLIENT), ask.reply());
        let more = Message::new(&CLIENT, &WEB, Family::V4, tcp(port, 80)).flags(ACK);
        assert_eq!(lab.sends(&CLIENT, &more).at(&WEB), more);
    }
    // The rules of both ends: a rule has the number of its set here.
    assert_eq!(hits(&lab), [(1, 2), (2, 2)].into());
    let denied = Message::new(&CLIENT, &WEB, Family::V4, tcp(4000, 81));
    assert_eq!(lab.sends(&CLIENT, &denied), Fate::Dropped(DropReason::PolicyEgress));
    assert_eq!(hits(&lab), [(1, 2), (2, 2)].into());
    // A flow that is judged again in a new world counts again.
    lab.flip();
    let ask = Message::new(&CLIENT, &WEB, Family::V4, tcp(4000, 80)).flags(ACK);
    assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask);
    assert_eq!(hits(&lab), [(1, 3), (2, 3)].into());
}

#[test]
fn everything_of_one_protocol() {
    let mut lab = Lab::new();
    let peer = CLIENT.identity(Family::V4);
    lab.isolate(&WEB, Way::In, &[Allow { identity: peer, protocol: ICMP, port: None }]);
    lab.flip();
    let allowed = Message::new(&CLIENT, &WEB, Family::V4, ping(7));
    assert_eq!(lab.sends(&CLIENT, &allowed).at(&WEB), allowed);
    let denied = Message::new(&CLIENT, &WEB, Family::V4, tcp(1, 2));
    assert_eq!(lab.sends(&CLIENT, &denied), Fate::Dropped(DropReason::PolicyIngress));
}

#[test]
fn an_outsider_is_known_by_its_prefix() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let identity = Lab::outer_identity(&OUTSIDE, family);
        lab.isolate(&CLIENT, Way::Out, &[Allow { identity, protocol: 0, port: None }]);
        lab.flip();
        let allowed = Message::new(&CLIENT, &OUTSIDE, family, tcp(25000, 443));
        assert_eq!(lab.sends(&CLIENT, &allowed).out().dst, OUTSIDE.addr(family));
        let denied = Message::new(&CLIENT, &ELSEWHERE, family, tcp(25000, 443));
        assert_eq!(lab.sends(&CLIENT, &denied), Fate::Dropped(DropReason::PolicyEgress));
    }
}

#[test]
fn a_new_world_cuts_a_living_flow_in_both_directions() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ask = Message::new(&CLIENT, &WEB, family, tcp(4000, 80));
        let more = ask.flags(ACK);
        assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask);
        assert_eq!(lab.sends(&WEB, &ask.reply()).at(&CLIENT), ask.reply());

        lab.isolate(&WEB, Way::In, &[]);
        assert_eq!(lab.sends(&CLIENT, &more).at(&WEB), more, "not in force yet");
        lab.flip();
        assert_eq!(lab.sends(&CLIENT, &more), Fate::Dropped(DropReason::PolicyIngress));
        assert_eq!(lab.sends(&WEB, &more.reply()), Fate::Dropped(DropReason::PolicyIngress));

        lab.open(&WEB);
        lab.flip();
        assert_eq!(lab.sends(&CLIENT, &more).at(&WEB), more, "and it goes on when allowed again");
    }
}

#[test]
fn a_new_world_that_allows_it_lets_a_flow_go_on() {
    let mut lab = Lab::new();
    let ask = Message::new(&CLIENT, &WEB, Family::V4, udp(4000, 53));
    assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask);
    lab.isolate(&WEB, Way::In, &[anyone(UDP, 53)]);
    lab.isolate(&WEB, Way::Out, &[]);
    lab.flip();
    assert_eq!(lab.sends(&WEB, &ask.reply()).at(&CLIENT), ask.reply());
}

#[test]
fn icmp_is_not_allowed_by_a_rule_for_a_port() {
    let mut lab = Lab::new();
    lab.isolate(&WEB, Way::In, &[anyone(TCP, 0), anyone(ICMP, 8)]);
    lab.flip();
    let denied = Message::new(&CLIENT, &WEB, Family::V4, ping(7));
    assert_eq!(lab.sends(&CLIENT, &denied), Fate::Dropped(DropReason::PolicyIngress));
}

/// A lab in which flows that have been answered go on whatever policies say.
fn keeping() -> Lab {
    let mut lab = Lab::new();
    lab.maps.config.flags |= CONFIG_KEEP;
    lab
}

#[test]
fn an_answered_flow_that_is_kept_goes_on_in_both_directions() {
    for family in Family::BOTH {
        for what in [tcp(4000, 80), udp(4000, 80), ping(7)] {
            let mut lab = keeping();
            let ask = Message::new(&CLIENT, &WEB, family, what);
            lab.sends(&CLIENT, &ask).at(&WEB);
            lab.sends(&WEB, &ask.reply()).at(&CLIENT);
            lab.isolate(&WEB, Way::In, &[]);
            lab.flip();
            let more = if what == tcp(4000, 80) { ask.flags(ACK) } else { ask };
            assert_eq!(lab.sends(&CLIENT, &more).at(&WEB), more, "{what:?}");
            assert_eq!(lab.sends(&WEB, &more.reply()).at(&CLIENT), more.reply(), "{what:?}");

            lab.maps.config.flags &= !CONFIG_KEEP;
            lab.flip();
            assert_eq!(lab.sends(&CLIENT, &more), Fate::Dropped(DropReason::PolicyIngress), "{what:?}");
        }
    }
}

#[test]
fn what_was_not_answered_is_not_kept() {
    let mut lab = keeping();
    let ask = Message::new(&CLIENT, &WEB, Family::V4, udp(4000, 53));
    lab.sends(&CLIENT, &ask).at(&WEB);
    lab.isolate(&WEB, Way::In, &[]);
    lab.flip();
    for _ in 0..2 {
        assert_eq!(lab.sends(&CLIENT, &ask), Fate::Dropped(DropReason::PolicyIngress));
        assert_eq!(lab.sends(&WEB, &ask.reply()), Fate::Dropped(DropReason::PolicyIngress));
    }
}

#[test]
fn a_new_connection_is_judged_where_old_ones_are_kept() {
    for family in Family::BOTH {
        let mut lab = keeping();
        let ask = Message::new(&CLIENT, &WEB, family, tcp(4000, 80));
        lab.sends(&CLIENT, &ask).at(&WEB);
        lab.sends(&WEB, &ask.reply().flags(SYN | ACK)).at(&CLIENT);
        lab.isolate(&WEB, Way::In, &[]);
        lab.flip();
        assert_eq!(lab.sends(&CLIENT, &ask), Fate::Dropped(DropReason::PolicyIngress), "its own SYN too");
        let other = Message::new(&CLIENT, &WEB, family, tcp(4001, 80));
        assert_eq!(lab.sends(&CLIENT, &other), Fate::Dropped(DropReason::PolicyIngress));
    }
}

#[test]
fn what_is_kept_ends_with_its_endpoint_and_its_port() {
    for family in Family::BOTH {
        let mut lab = keeping();
        lab.publish(TCP, 8080, &WEB, 80);
        let ask = Message::new(&OUTSIDE, &HOST, family, tcp(50000, 8080));
        let got = lab.comes_in(&ask).at(&WEB);
        lab.sends(&WEB, &got.reply().flags(SYN | ACK)).out();
        for world in &mut lab.maps.published {
            world.clear();
        }
        lab.flip();
        assert_eq!(lab.comes_in(&ask.clone().flags(ACK)), Fate::On(ask.flags(ACK)), "the port is gone");

        let ask = Message::new(&CLIENT, &WEB, family, tcp(4000, 80));
        lab.sends(&CLIENT, &ask).at(&WEB);
        lab.sends(&WEB, &ask.reply().flags(SYN | ACK)).at(&CLIENT);
        lab.leave(&WEB);
        lab.flip();
        let fate = lab.sends(&CLIENT, &ask.flags(ACK));
        assert!(!matches!(fate, Fate::At(..)), "the endpoint is gone: {fate:?}");
    }
}
