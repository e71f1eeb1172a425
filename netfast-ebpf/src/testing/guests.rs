//! Endpoints with a virtual machine or a bridge inside: they may send from any address, or want to be reached past what
//! is attached to their host veth.

use netfast_common::addr::{Addr, Mac};
use netfast_common::protocol::TCP;
use netfast_common::reason::DropReason;
use netfast_common::rows::{ENDPOINT_ANY_SOURCE, ENDPOINT_PLAIN};

use super::bytes::Bytes;
use super::cast::{CLIENT, Family, HOST, Member, OUTSIDE, WEB};
use super::lab::{Fate, Lab, Program};
use super::message::{Message, tcp, udp};
use crate::verdict::Verdict;

/// A machine behind the endpoint `CLIENT`, unknown to the host.
const GUEST: Member =
    Member { mac: Mac::new([2, 0, 0, 0, 0, 0x77]), ip4: Addr::from_v4([10, 0, 0, 77]), ..CLIENT };

fn lab(member: &Member, flag: u32) -> Lab {
    let mut lab = Lab::new();
    lab.maps.endpoints.get_mut(&member.ifindex).unwrap().flags |= flag;
    lab
}

#[test]
fn a_guest_may_send_where_the_source_is_free() {
    let mut lab = lab(&CLIENT, ENDPOINT_ANY_SOURCE);
    let ask = Message::new(&GUEST, &WEB, Family::V4, tcp(4000, 80));
    assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask);
    // Back to the endpoint's own MAC address, since nobody knows the guest's.
    let answer = lab.sends(&WEB, &ask.reply()).at(&CLIENT);
    assert_eq!((answer.dst, answer.to_mac), (GUEST.ip4, CLIENT.mac));

    let ask = Message::new(&GUEST, &OUTSIDE, Family::V4, udp(25000, 53));
    let got = lab.sends(&CLIENT, &ask).out();
    assert_eq!(got.src, HOST.ip4);
    assert_eq!(lab.comes_in(&got.reply()).at(&CLIENT).dst, GUEST.ip4);
}

#[test]
fn elsewhere_it_may_not() {
    let mut lab = Lab::new();
    let ask = Message::new(&GUEST, &WEB, Family::V4, tcp(4000, 80));
    assert_eq!(lab.sends(&CLIENT, &ask), Fate::Dropped(DropReason::SpoofedMac));
    let ask = Message { from_mac: CLIENT.mac, ..ask };
    assert_eq!(lab.sends(&CLIENT, &ask), Fate::Dropped(DropReason::SpoofedAddress));
}

#[test]
fn no_source_is_free_of_sense() {
    let mut lab = lab(&CLIENT, ENDPOINT_ANY_SOURCE);
    for src in [[127, 0, 0, 1], [0, 0, 0, 0], [224, 0, 0, 1]] {
        let ask = Message { src: Addr::from_v4(src), ..Message::new(&CLIENT, &WEB, Family::V4, udp(1, 2)) };
        assert_eq!(lab.sends(&CLIENT, &ask), Fate::Dropped(DropReason::Martian), "{src:?}");
    }
}

#[test]
fn plain_endpoints_are_reached_past_their_device() {
    for family in Family::BOTH {
        let mut lab = lab(&WEB, ENDPOINT_PLAIN);
        lab.publish(TCP, 8080, &WEB, 80);
        let ask = Message::new(&CLIENT, &WEB, family, tcp(4000, 80));
        assert_eq!(lab.sends(&CLIENT, &ask), Fate::Past(WEB.ifindex, ask.clone()));
        assert_eq!(lab.sends(&WEB, &ask.reply()).at(&CLIENT), ask.reply(), "the other one is not");

        let Fate::Past(to, got) = lab.comes_in(&Message::new(&OUTSIDE, &HOST, family, tcp(50000, 8080)))
        else {
            panic!("not past the device");
        };
        assert_eq!((to, got.dst), (WEB.ifindex, WEB.addr(family)));
        assert_eq!(lab.sends(&WEB, &got.reply()).out().ports(), (8080, 50000));
    }
}

#[test]
fn plain_endpoints_get_answers_and_errors_past_their_device_too() {
    let mut lab = lab(&CLIENT, ENDPOINT_PLAIN);
    let sent = Message { ttl: 1, ..Message::new(&CLIENT, &OUTSIDE, Family::V4, udp(40000, 33434)) };
    let (_, told) = lab.drops(Program::FromEndpoint, Bytes::new(sent.bytes(), CLIENT.ifindex));
    assert_eq!(told.unwrap().0, Verdict::ToDevice(CLIENT.ifindex));
}
