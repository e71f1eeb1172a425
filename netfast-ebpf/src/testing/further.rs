//! Endpoints with more addresses than the first of each family.

use netfast_common::addr::{Addr, Mac};
use netfast_common::protocol::TCP;
use netfast_common::reason::DropReason;
use netfast_common::rows::{ADDRESS_ENDPOINT, AddressRow, CidrRow, ENDPOINT_MORE, SourceKey};

use super::cast::{CLIENT, Family, HOST, LODGER, Member, OUTSIDE, STRANGER, WEB};
use super::lab::{Allow, Fate, Lab, Program, Way};
use super::message::{Message, ping, tcp, udp};
use super::neighbours::{arp, discovery, group};
use crate::verdict::Verdict;

/// The class of all further addresses.
const IDENTITY: u32 = 77;

/// A member by its further addresses, which are of other subnets.
fn further(member: &Member) -> Member {
    let [.., number] = member.ip4.octets();
    let network = member.network as u8;
    Member {
        ip4: Addr::from_v4([172, 16, network, number]),
        ip6: Addr::from_v6([0x20, 1, 0xd, 0xb8, 0xf, network, 0, 0, 0, 0, 0, 0, 0, 0, 0, number]),
        ..*member
    }
}

/// A lab in which these have such addresses.
fn lab(members: &[Member]) -> Lab {
    let mut lab = Lab::new();
    for member in members {
        let Member { ifindex, incarnation, network, .. } = *member;
        lab.maps.endpoints.entry(ifindex).or_insert(member.row()).flags |= ENDPOINT_MORE;
        for addr in Family::BOTH.map(|family| further(member).addr(family)) {
            let row = AddressRow { kind: ADDRESS_ENDPOINT, network, ifindex, incarnation };
            lab.maps.addresses.insert(addr, row);
            lab.maps.sources.insert(SourceKey::further(incarnation, addr));
            lab.maps.cidrs.insert(addr, CidrRow { identities: [IDENTITY; 2] });
        }
    }
    lab
}

#[test]
fn they_send_and_receive_by_them() {
    for family in Family::BOTH {
        let mut lab = lab(&[CLIENT, WEB]);
        for what in [tcp(4000, 80), udp(4000, 53), ping(7)] {
            for (from, to) in
                [(further(&CLIENT), WEB), (CLIENT, further(&WEB)), (further(&CLIENT), further(&WEB))]
            {
                let ask = Message::new(&from, &to, family, what);
                assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask);
                assert_eq!(lab.sends(&WEB, &ask.reply()).at(&CLIENT), ask.reply());
            }
        }
        // By way of the gateway of another subnet it is one wire all the same.
        let ask = Message::new(&further(&CLIENT), &further(&WEB), family, tcp(4001, 80));
        let by_gateway = Message { to_mac: CLIENT.gateway().mac, ..ask.clone() };
        assert_eq!(lab.sends(&CLIENT, &by_gateway).at(&WEB), ask);
    }
}

#[test]
fn the_host_reaches_them_there() {
    for family in Family::BOTH {
        let mut lab = lab(&[CLIENT]);
        let ask = Message::new(&CLIENT.gateway(), &further(&CLIENT), family, tcp(4000, 80));
        assert_eq!(lab.host_sends(&CLIENT, &ask), Fate::On(ask.clone()));
        assert_eq!(lab.sends(&CLIENT, &ask.reply()), Fate::On(ask.reply()));
        let other = Message { dst: further(&WEB).addr(family), ..ask };
        assert_eq!(lab.host_sends(&CLIENT, &other), Fate::Dropped(DropReason::NoSuchAddress));
    }
}

#[test]
fn what_goes_outside_is_masqueraded_and_comes_back() {
    for family in Family::BOTH {
        let mut lab = lab(&[CLIENT]);
        let ask = Message::new(&further(&CLIENT), &OUTSIDE, family, udp(4000, 53));
        let Fate::Out(out) = lab.sends(&CLIENT, &ask) else { panic!("not out") };
        assert_eq!(out.src, HOST.addr(family));
        assert_eq!(lab.comes_in(&out.reply()).at(&CLIENT).dst, further(&CLIENT).addr(family));
    }
}

#[test]
fn those_of_others_and_of_earlier_endpoints_are_spoofed() {
    for family in Family::BOTH {
        let mut lab = lab(&[CLIENT, WEB]);
        let honest = Message::new(&further(&CLIENT), &WEB, family, tcp(4000, 80));
        let spoofed = Fate::Dropped(DropReason::SpoofedAddress);
        for other in [further(&WEB), WEB, further(&STRANGER)] {
            let message = Message { src: other.addr(family), ..honest.clone() };
            assert_eq!(lab.sends(&CLIENT, &message), spoofed);
        }
        // One that has no further ones does not ask.
        let key = SourceKey::further(STRANGER.incarnation, further(&STRANGER).addr(family));
        lab.maps.sources.insert(key);
        let message = Message { src: further(&STRANGER).addr(family), ..honest.clone() };
        assert_eq!(lab.sends(&STRANGER, &Message { from_mac: STRANGER.mac, ..message }), spoofed);
        // The device is another endpoint's by now.
        lab.maps.endpoints.get_mut(&CLIENT.ifindex).unwrap().incarnation += 1;
        assert_eq!(lab.sends(&CLIENT, &honest), spoofed);
        let to_it = Message::new(&WEB, &further(&CLIENT), family, tcp(4000, 80));
        assert_eq!(lab.sends(&WEB, &to_it), Fate::Dropped(DropReason::NotReady));
        assert_eq!(lab.flows(), 0);
    }
}

#[test]
fn an_address_that_changes_hands_is_nobodys() {
    for family in Family::BOTH {
        let mut lab = lab(&[WEB]);
        let addr = further(&WEB).addr(family);
        // A row read while it is replaced says that it is somebody else's.
        let Member { ifindex, incarnation, network, .. } = CLIENT;
        lab.maps.addresses.insert(addr, AddressRow { kind: ADDRESS_ENDPOINT, network, ifindex, incarnation });
        lab.maps.endpoints.get_mut(&CLIENT.ifindex).unwrap().flags |= ENDPOINT_MORE;
        let ask = Message::new(&CLIENT, &further(&WEB), family, tcp(4000, 80));
        assert_eq!(lab.sends(&CLIENT, &ask), Fate::Dropped(DropReason::NotReady));
    }
}

#[test]
fn neighbours_are_told_of_them() {
    let mut lab = lab(&[CLIENT, WEB]);
    let (own, peer) = (further(&CLIENT), further(&WEB));
    let mut sends = |frame: Vec<u8>| lab.frame(Program::FromEndpoint, CLIENT.ifindex, frame);
    let broadcast = Mac::new([0xff; 6]);
    for sender in [CLIENT.ip4, own.ip4] {
        let (verdict, answer) = sends(arp(broadcast, 1, (CLIENT.mac, sender), (Mac::default(), peer.ip4)));
        assert_eq!(verdict, Ok(Verdict::ToEndpoint(CLIENT.ifindex)));
        assert_eq!(answer, arp(CLIENT.mac, 2, (WEB.mac, peer.ip4), (CLIENT.mac, sender)));
    }
    let claim = arp(broadcast, 1, (CLIENT.mac, peer.ip4), (Mac::default(), peer.ip4));
    assert_eq!(sends(claim).0, Err(DropReason::SpoofedArp));

    let ask = |src| discovery((CLIENT.mac, src), group(peer.ip6), 135, 0, peer.ip6, (1, CLIENT.mac));
    let (verdict, answer) = sends(ask(own.ip6));
    assert_eq!(verdict, Ok(Verdict::ToEndpoint(CLIENT.ifindex)));
    let told = discovery((WEB.mac, peer.ip6), (CLIENT.mac, own.ip6), 136, 0x60, peer.ip6, (2, WEB.mac));
    assert_eq!(answer, told);
    assert_eq!(sends(ask(further(&STRANGER).ip6)).0, Err(DropReason::SpoofedAddress));
    let to = (WEB.mac, WEB.ip6);
    for (target, reason) in [(own.ip6, DropReason::UnknownNeighbour), (peer.ip6, DropReason::SpoofedArp)] {
        let told = discovery((CLIENT.mac, CLIENT.ip6), to, 136, 0x20, target, (2, CLIENT.mac));
        assert_eq!(sends(told).0, Err(reason));
    }
}

#[test]
fn on_another_plugins_bridge_they_tell_of_them_themselves() {
    let mut lab = lab(&[LODGER]);
    lab.join(&LODGER);
    lab.maps.endpoints.get_mut(&LODGER.ifindex).unwrap().flags |= ENDPOINT_MORE;
    let own = further(&LODGER);
    let broadcast = Mac::new([0xff; 6]);
    let says = arp(broadcast, 1, (LODGER.mac, own.ip4), (Mac::default(), own.ip4));
    let tells = discovery((LODGER.mac, own.ip6), (WEB.mac, WEB.ip6), 136, 0x20, own.ip6, (2, LODGER.mac));
    for frame in [says, tells] {
        assert_eq!(lab.frame(Program::FromEndpoint, LODGER.ifindex, frame).0, Ok(Verdict::Next));
    }
}

#[test]
fn policies_know_them_by_classes_of_their_own() {
    for family in Family::BOTH {
        for (identity, wanted) in [(IDENTITY, [false, true]), (CLIENT.identity(family), [true, false])] {
            let mut lab = lab(&[CLIENT, WEB]);
            lab.isolate(&WEB, Way::In, &[Allow { identity, protocol: TCP, port: Some(80) }]);
            lab.flip();
            let passes = [CLIENT, further(&CLIENT)].map(|from| {
                let ask = Message::new(&from, &further(&WEB), family, tcp(4000, 80));
                lab.sends(&CLIENT, &ask) != Fate::Dropped(DropReason::PolicyIngress)
            });
            assert_eq!(passes, wanted);
            // And so as receivers.
            let peer = if identity == IDENTITY { IDENTITY } else { WEB.identity(family) };
            lab.isolate(&CLIENT, Way::Out, &[Allow { identity: peer, protocol: TCP, port: Some(81) }]);
            lab.isolate(&WEB, Way::In, &[super::lab::anyone(TCP, 81)]);
            lab.flip();
            let passes = [WEB, further(&WEB)].map(|to| {
                let ask = Message::new(&CLIENT, &to, family, tcp(4000, 81));
                lab.sends(&CLIENT, &ask) != Fate::Dropped(DropReason::PolicyEgress)
            });
            assert_eq!(passes, wanted);
        }
    }
}
