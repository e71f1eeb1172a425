//! Between networks, and what an endpoint may not reach.

use netfast_common::addr::Addr;
use netfast_common::reason::DropReason;
use netfast_common::rows::ENDPOINT_READY;

use super::cast::{CLIENT, ELSEWHERE, ENDPOINTS, Family, GUEST, HERMIT, HOST, OUTSIDE, STRANGER, WEB};
use super::lab::{Fate, Lab};
use super::message::{Message, ping, tcp, udp};

#[test]
fn networks_do_not_reach_each_other() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        for from in ENDPOINTS {
            for to in ENDPOINTS.into_iter().filter(|to| to.network != from.network) {
                for what in [tcp(4000, 80), udp(4000, 53), ping(7)] {
                    let ask = Message::new(&from, &to, family, what);
                    assert_eq!(lab.sends(&from, &ask), Fate::Dropped(DropReason::OtherNetwork));
                    assert_eq!(lab.host_sends(&to, &ask), Fate::Dropped(DropReason::OtherNetwork));
                }
            }
        }
        assert_eq!(lab.flows(), 0);
    }
}

#[test]
fn an_internal_network_has_no_outside() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        for to in [OUTSIDE, HOST, CLIENT.gateway()] {
            let ask = Message::new(&HERMIT, &to, family, tcp(4000, 80));
            assert_eq!(lab.sends(&HERMIT, &ask), Fate::Dropped(DropReason::Internal));
        }
    }
}

#[test]
fn an_address_nobody_has() {
    let mut lab = Lab::new();
    let dst = Addr::from_v4([10, 1, 0, 77]);
    lab.maps.routes.insert(dst, Ok(1000));
    let ask = Message { dst, ..Message::new(&CLIENT, &WEB, Family::V4, tcp(4000, 80)) };
    assert_eq!(lab.sends(&CLIENT, &ask), Fate::Dropped(DropReason::NoSuchAddress));
    assert_eq!(lab.host_sends(&CLIENT, &ask), Fate::Dropped(DropReason::NoSuchAddress));
}

#[test]
fn what_the_host_forwards_is_stopped_unless_routed() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ask = Message::new(&ELSEWHERE, &WEB, family, tcp(4000, 80));
        assert_eq!(lab.host_sends(&WEB, &ask), Fate::Dropped(DropReason::Unpublished));
        let ask = Message::new(&ELSEWHERE, &GUEST, family, tcp(4000, 80));
        assert_eq!(lab.host_sends(&GUEST, &ask), Fate::On(ask.clone()));
    }
}

#[test]
fn nothing_passes_before_an_endpoint_is_ready() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        lab.maps.endpoints.get_mut(&WEB.ifindex).unwrap().flags &= !ENDPOINT_READY;
        let ask = Message::new(&CLIENT, &WEB, family, tcp(4000, 80));
        assert_eq!(lab.sends(&CLIENT, &ask), Fate::Dropped(DropReason::NotReady));
        assert_eq!(lab.sends(&WEB, &ask.reply()), Fate::Dropped(DropReason::NotReady));
        assert_eq!(lab.host_sends(&WEB, &ask), Fate::Dropped(DropReason::NotReady));
        lab.leave(&WEB);
        assert_eq!(lab.sends(&WEB, &ask.reply()), Fate::Dropped(DropReason::NotReady), "without a row too");
        assert_eq!(lab.host_sends(&WEB, &ask), Fate::Dropped(DropReason::NotReady));
    }
}

#[test]
fn an_endpoint_that_is_being_removed_gets_nothing_more() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ask = Message::new(&CLIENT, &WEB, family, udp(4000, 53));
        assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask);
        lab.maps.endpoints.get_mut(&WEB.ifindex).unwrap().flags &= !ENDPOINT_READY;
        assert_eq!(lab.sends(&CLIENT, &ask), Fate::Dropped(DropReason::NotReady), "of a living flow too");
    }
}

#[test]
fn the_other_end_of_a_known_flow_may_not_be_of_another_network() {
    let mut lab = Lab::new();
    let ask = Message::new(&CLIENT, &STRANGER, Family::V4, ping(7));
    assert_eq!(lab.sends(&CLIENT, &ask), Fate::Dropped(DropReason::OtherNetwork));
    let answer = Message { from_mac: STRANGER.mac, ..ask.reply() };
    assert_eq!(lab.sends(&STRANGER, &answer), Fate::Dropped(DropReason::InvalidState));
}
