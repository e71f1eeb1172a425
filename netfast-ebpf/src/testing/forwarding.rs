//! Between two endpoints of one network, and between an endpoint and the host.

use netfast_common::counter::Path;
use netfast_common::reason::DropReason;

use super::cast::{CLIENT, Family, HERMIT, HOST, WEB};
use super::lab::{Fate, Lab, Way};
use super::message::{ACK, FIN, Message, ping, tcp, udp};

#[test]
fn neighbours_talk_as_on_one_wire() {
    for family in Family::BOTH {
        for what in [tcp(4000, 80), udp(4000, 53), ping(7)] {
            let mut lab = Lab::new();
            let ask = Message::new(&CLIENT, &WEB, family, what);
            assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask, "TTL and MAC addresses stay");
            assert_eq!(lab.path(), Some(Path::ToEndpoint));
            assert_eq!(lab.flows(), 1);
            let answer = ask.reply();
            assert_eq!(lab.sends(&WEB, &answer).at(&CLIENT), answer);
            assert_eq!(lab.flows(), 1, "a reply is of the same flow");
        }
    }
}

#[test]
fn a_connection_from_beginning_to_end() {
    let mut lab = Lab::new();
    let syn = Message::new(&CLIENT, &WEB, Family::V4, tcp(4000, 80));
    let fin = syn.flags(FIN | ACK);
    for message in [syn.clone(), syn.flags(ACK), fin.clone()] {
        assert_eq!(lab.sends(&CLIENT, &message).at(&WEB), message);
    }
    for message in [syn.reply(), fin.reply().flags(FIN | ACK)] {
        assert_eq!(lab.sends(&WEB, &message).at(&CLIENT), message);
    }
    lab.maps.now += 1;
    let generation = lab.maps.config.generation;
    assert_eq!(lab.sends(&CLIENT, &syn).at(&WEB), syn, "the port is used anew at once");
    let flows = lab.maps.nursery.borrow();
    // SAFETY: the lab never frees entries.
    let flow = unsafe { *flows.values().next().unwrap().as_ptr() };
    assert_eq!((flows.len(), flow.created, flow.generation), (1, lab.maps.now, generation));
    assert_eq!((flow.packets, flow.bytes[0]), ([1, 0], syn.bytes().len() as u64));
}

#[test]
fn a_reply_nobody_asked_for_opens_nothing() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let answer = Message::new(&CLIENT, &WEB, family, ping(7)).reply();
        assert_eq!(lab.sends(&WEB, &answer), Fate::Dropped(DropReason::InvalidState));
        assert_eq!(lab.flows(), 0);
    }
}

#[test]
fn both_may_ping_with_the_same_identifier() {
    let mut lab = Lab::new();
    let one = Message::new(&CLIENT, &WEB, Family::V4, ping(7));
    let other = Message::new(&WEB, &CLIENT, Family::V4, ping(7));
    assert_eq!(lab.sends(&CLIENT, &one).at(&WEB), one);
    assert_eq!(lab.sends(&WEB, &other).at(&CLIENT), other);
    assert_eq!(lab.sends(&WEB, &one.reply()).at(&CLIENT), one.reply());
    assert_eq!(lab.sends(&CLIENT, &other.reply()).at(&WEB), other.reply());
    assert_eq!(lab.flows(), 2);
}

#[test]
fn the_host_reaches_an_isolated_endpoint_and_is_answered() {
    for family in Family::BOTH {
        for what in [tcp(4000, 80), udp(4000, 53), ping(7)] {
            let mut lab = Lab::new();
            lab.isolate(&WEB, Way::In, &[]);
            lab.isolate(&WEB, Way::Out, &[]);
            lab.flip();
            let ask = Message::new(&WEB.gateway(), &WEB, family, what);
            assert_eq!(lab.host_sends(&WEB, &ask), Fate::On(ask.clone()));
            assert_eq!(lab.path(), Some(Path::FromHost));
            assert_eq!(lab.sends(&WEB, &ask.reply()), Fate::On(ask.reply()));
            assert_eq!(lab.path(), Some(Path::ToHost));
            lab.flip();
            assert_eq!(lab.sends(&WEB, &ask.reply()), Fate::On(ask.reply()), "in the next world too");
        }
    }
}

#[test]
fn an_endpoint_reaches_its_gateway_unless_isolated() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        for member in [WEB, HERMIT] {
            let ask = Message::new(&member, &member.gateway(), family, udp(4000, 53));
            assert_eq!(lab.sends(&member, &ask), Fate::On(ask.clone()));
            assert_eq!(lab.host_sends(&member, &ask.reply()), Fate::On(ask.reply()));
            lab.isolate(&member, Way::Out, &[]);
            lab.flip();
            assert_eq!(lab.sends(&member, &ask), Fate::Dropped(DropReason::PolicyEgress));
        }
    }
}

#[test]
fn what_comes_over_the_bridge_is_judged_at_its_end() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ask = Message::new(&CLIENT, &WEB, family, tcp(4000, 80));
        assert_eq!(lab.host_sends(&WEB, &ask), Fate::On(ask.clone()));
        lab.isolate(&WEB, Way::In, &[]);
        lab.flip();
        assert_eq!(lab.host_sends(&WEB, &ask), Fate::Dropped(DropReason::PolicyIngress));
    }
}

#[test]
fn a_full_table_is_told() {
    let mut lab = Lab::new();
    lab.maps.is_full = true;
    let ask = Message::new(&CLIENT, &WEB, Family::V4, tcp(4000, 80));
    assert_eq!(lab.sends(&CLIENT, &ask), Fate::Dropped(DropReason::FlowTableFull));
}

#[test]
fn the_hosts_own_traffic_at_the_uplink_goes_on() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ssh = Message::new(&super::cast::OUTSIDE, &HOST, family, tcp(4000, 22));
        assert_eq!(lab.comes_in(&ssh), Fate::On(ssh.clone()));
        assert_eq!(lab.flows(), 0);
        lab.maps.config.flags = netfast_common::rows::CONFIG_DENY_IN_TC;
        lab.maps.denied.push(super::cast::OUTSIDE.addr(family));
        assert_eq!(lab.comes_in(&ssh), Fate::Dropped(DropReason::DeniedSource));
    }
}
