//! Endpoints whose devices another plugin made, on that plugin's bridge, which is an uplink too.

use netfast_common::addr::{Addr, Mac};
use netfast_common::counter::Path;
use netfast_common::protocol::TCP;
use netfast_common::reason::DropReason;
use netfast_common::rows::{ADDRESS_HOST, AddressRow, ENDPOINT_HELD, UPLINK_SHARED, UplinkRow};

use super::bytes::Bytes;
use super::cast::{CLIENT, ELSEWHERE, Family, HOST, LODGER, Member, NEIGHBOUR, OUTSIDE, WEB};
use super::lab::{Fate, Lab, Program, Way, anyone};
use super::message::{Message, ping, tcp, udp, verify_checksums};
use super::neighbours::{arp, discovery, group};
use crate::verdict::Verdict;

/// The other plugin's bridge.
const BRIDGE: u32 = 50;

fn lab() -> Lab {
    let mut lab = Lab::new();
    let host = AddressRow { kind: ADDRESS_HOST, ..AddressRow::default() };
    for member in [LODGER, NEIGHBOUR] {
        lab.join(&member);
        for family in Family::BOTH {
            lab.maps.addresses.insert(member.gateway().addr(family), host);
        }
    }
    let Member { ip4, ip6, .. } = LODGER.gateway();
    lab.maps.uplinks.insert(BRIDGE, UplinkRow { ip4, ip6, mtu: 1500, flags: UPLINK_SHARED });
    lab
}

/// Somebody on the same bridge who is no endpoint.
fn bystander() -> Member {
    Member {
        ip4: Addr::from_v4([10, 5, 0, 99]),
        ip6: Addr::from_v6([0xfd, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 99]),
        mac: Mac::new([2, 0, 0, 0, 5, 99]),
        ..LODGER
    }
}

/// What comes to the host by the bridge.
fn by_bridge(lab: &mut Lab, message: &Message) -> Result<Verdict, DropReason> {
    lab.frame(Program::FromUplink, BRIDGE, message.bytes()).0
}

#[test]
fn two_of_them_are_redirected_and_keep_what_is_in_the_packet() {
    for family in Family::BOTH {
        for what in [tcp(4000, 80), udp(4000, 53), ping(7)] {
            let mut lab = lab();
            // By way of the gateway, as with a ptp plugin.
            let ask =
                Message { to_mac: LODGER.gateway().mac, ..Message::new(&LODGER, &NEIGHBOUR, family, what) };
            let got = lab.sends(&LODGER, &ask).at(&NEIGHBOUR);
            assert_eq!(got, Message { to_mac: NEIGHBOUR.mac, ..ask });
            assert_eq!(lab.path(), Some(Path::ToEndpoint));
            assert_eq!(lab.sends(&NEIGHBOUR, &got.reply()).at(&LODGER).src, NEIGHBOUR.addr(family));
        }
    }
}

#[test]
fn what_leads_to_no_endpoint_is_left_to_the_stack_and_comes_back_through_it() {
    for family in Family::BOTH {
        for to in [OUTSIDE, LODGER.gateway(), bystander()] {
            for what in [tcp(4000, 443), udp(4000, 53), ping(7)] {
                let mut lab = lab();
                let ask = Message::new(&LODGER, &to, family, what);
                assert_eq!(lab.sends(&LODGER, &ask), Fate::On(ask.clone()), "no masquerade, no TTL");
                assert_eq!(by_bridge(&mut lab, &ask), Ok(Verdict::Next));
                let answer = Message { to_mac: LODGER.mac, ..ask.reply() };
                assert_eq!(lab.host_sends(&LODGER, &answer), Fate::On(answer.clone()));
                assert_eq!(lab.sends(&LODGER, &ask), Fate::On(ask.clone()));
                assert_eq!(lab.flows(), 1);
            }
        }
    }
}

#[test]
fn answers_that_were_not_masqueraded_go_through_the_stack_too() {
    for family in Family::BOTH {
        let mut lab = lab();
        let ask = Message::new(&LODGER, &OUTSIDE, family, tcp(4000, 443));
        assert_eq!(lab.sends(&LODGER, &ask), Fate::On(ask.clone()));
        let answer = ask.reply();
        assert_eq!(lab.comes_in(&answer), Fate::On(answer.clone()));
        assert_eq!(lab.host_sends(&LODGER, &answer), Fate::On(answer.clone()));
    }
}

#[test]
fn policies_hold_in_both_directions() {
    for family in Family::BOTH {
        let mut lab = lab();
        lab.isolate(&LODGER, Way::In, &[anyone(TCP, 80)]);
        lab.isolate(&LODGER, Way::Out, &[anyone(TCP, 443)]);
        lab.flip();
        for from in [OUTSIDE, bystander()] {
            let good = Message::new(&from, &LODGER, family, tcp(4000, 80));
            assert_eq!(lab.comes_in(&good), Fate::On(good.clone()), "the stack decides first");
            assert_eq!(lab.host_sends(&LODGER, &good), Fate::On(good.clone()));
            let bad = Message::new(&from, &LODGER, family, tcp(4000, 81));
            assert_eq!(lab.host_sends(&LODGER, &bad), Fate::Dropped(DropReason::PolicyIngress));
        }
        let own = Message::new(&LODGER.gateway(), &LODGER, family, tcp(4000, 81));
        assert_eq!(lab.host_sends(&LODGER, &own), Fate::On(own.clone()), "the host itself may always");
        for to in [OUTSIDE, NEIGHBOUR, bystander()] {
            let bad = Message::new(&LODGER, &to, family, tcp(5000, 80));
            assert_eq!(lab.sends(&LODGER, &bad), Fate::Dropped(DropReason::PolicyEgress));
            let good = Message::new(&LODGER, &to, family, tcp(5000, 443));
            assert!(matches!(lab.sends(&LODGER, &good), Fate::On(_) | Fate::At(..)));
        }
    }
}

#[test]
fn published_ports_lead_there_from_everywhere_and_back() {
    for family in Family::BOTH {
        let mut lab = lab();
        lab.publish(TCP, 8080, &LODGER, 80);
        let ask = Message::new(&OUTSIDE, &HOST, family, tcp(50000, 8080));
        let got = lab.comes_in(&ask).at(&LODGER);
        assert_eq!((got.from_mac, got.to_mac), (LODGER.gateway().mac, LODGER.mac));
        assert_eq!(lab.sends(&LODGER, &got.reply()).out().src, HOST.addr(family));

        // From the same bridge, endpoint or not, and from itself.
        let ask = Message::new(&NEIGHBOUR, &HOST, family, tcp(50001, 8080));
        let got = lab.sends(&NEIGHBOUR, &ask).at(&LODGER);
        assert_eq!(lab.sends(&LODGER, &got.reply()).at(&NEIGHBOUR).src, HOST.addr(family));
        let ask = Message::new(&bystander(), &HOST, family, tcp(50002, 8080));
        let (verdict, _) = lab.frame(Program::FromUplink, BRIDGE, ask.bytes());
        assert_eq!(verdict, Ok(Verdict::ToEndpoint(LODGER.ifindex)));
        let ask = Message::new(&LODGER, &HOST, family, tcp(50003, 8080));
        let got = lab.sends(&LODGER, &ask).at(&LODGER);
        assert_eq!(got.src, LODGER.gateway().addr(family));
        assert_eq!(lab.sends(&LODGER, &got.reply()).at(&LODGER).src, HOST.addr(family));
    }
}

#[test]
fn without_an_address_of_the_host_an_endpoint_does_not_reach_itself() {
    let mut lab = lab();
    lab.publish(TCP, 8080, &LODGER, 80);
    lab.maps.endpoints.get_mut(&LODGER.ifindex).unwrap().gateway4 = Addr::UNSPECIFIED_V4;
    let ask = Message::new(&LODGER, &HOST, Family::V4, tcp(50003, 8080));
    assert_eq!(lab.sends(&LODGER, &ask), Fate::Dropped(DropReason::NoRoute));
}

#[test]
fn who_inherits_an_address_of_one_that_is_gone_is_outside() {
    for family in Family::BOTH {
        let mut lab = lab();
        let ask = Message::new(&LODGER, &HOST, family, tcp(4000, 80));
        assert_eq!(lab.sends(&LODGER, &ask), Fate::On(ask.clone()));
        // The endpoint's own packets come this way.
        let (verdict, _) = lab.frame(Program::FromUplink, BRIDGE, ask.bytes());
        assert_eq!(verdict, Ok(Verdict::Next));
        lab.leave(&LODGER);
        let (verdict, _) = lab.frame(Program::FromUplink, BRIDGE, ask.bytes());
        assert_eq!(verdict, Ok(Verdict::Next));
        assert_eq!(lab.flows(), 0, "what it is of is void");
    }
}

#[test]
fn nobody_passes_for_one_of_them() {
    for family in Family::BOTH {
        let mut lab = lab();
        let forged =
            Message { src: NEIGHBOUR.addr(family), ..Message::new(&LODGER, &OUTSIDE, family, ping(1)) };
        assert_eq!(lab.sends(&LODGER, &forged), Fate::Dropped(DropReason::SpoofedAddress));
        let forged = Message { from_mac: NEIGHBOUR.mac, ..Message::new(&LODGER, &OUTSIDE, family, ping(1)) };
        assert_eq!(lab.sends(&LODGER, &forged), Fate::Dropped(DropReason::SpoofedMac));
        // From the bridge: what the endpoint itself sends is redirected, so this is somebody else's.
        let forged = Message::new(&NEIGHBOUR, &LODGER, family, ping(1));
        assert_eq!(lab.host_sends(&LODGER, &forged), Fate::Dropped(DropReason::SpoofedAddress));
        // From outside.
        let forged =
            Message { src: NEIGHBOUR.addr(family), ..Message::new(&OUTSIDE, &HOST, family, ping(1)) };
        assert_eq!(lab.comes_in(&forged), Fate::Dropped(DropReason::SpoofedAddress));
    }
}

#[test]
fn they_and_other_networks_do_not_reach_each_other() {
    for family in Family::BOTH {
        let mut lab = lab();
        for (from, to) in [(LODGER, CLIENT), (CLIENT, LODGER)] {
            let ask = Message::new(&from, &to, family, tcp(4000, 80));
            assert_eq!(lab.sends(&from, &ask), Fate::Dropped(DropReason::OtherNetwork));
            assert_eq!(lab.host_sends(&to, &ask), Fate::Dropped(DropReason::OtherNetwork));
        }
        let ask = Message::new(&ELSEWHERE, &WEB, family, tcp(4000, 80));
        assert_eq!(lab.host_sends(&WEB, &ask), Fate::Dropped(DropReason::Unpublished));
    }
}

#[test]
fn what_is_held_back_goes_by_the_host_and_is_judged_once_more() {
    for family in Family::BOTH {
        let mut lab = lab();
        lab.maps.endpoints.get_mut(&LODGER.ifindex).unwrap().flags |= ENDPOINT_HELD;
        lab.isolate(&NEIGHBOUR, Way::In, &[anyone(TCP, 80)]);
        lab.publish(TCP, 8080, &LODGER, 80);
        lab.flip();
        let ask = Message::new(&LODGER, &NEIGHBOUR, family, tcp(4000, 80));
        assert_eq!(lab.sends(&LODGER, &ask), Fate::On(ask.clone()));
        assert_eq!(lab.host_sends(&NEIGHBOUR, &ask), Fate::On(ask.clone()));
        assert_eq!(lab.sends(&NEIGHBOUR, &ask.reply()).at(&LODGER).src, NEIGHBOUR.addr(family));
        let bad = Message::new(&LODGER, &NEIGHBOUR, family, tcp(4000, 81));
        assert_eq!(lab.sends(&LODGER, &bad), Fate::Dropped(DropReason::PolicyIngress));
        // What is translated cannot: the host would take its own address for a lie.
        let asked = Message::new(&OUTSIDE, &HOST, family, tcp(50000, 8080));
        let got = lab.comes_in(&asked).at(&LODGER);
        assert_eq!(lab.sends(&LODGER, &got.reply()).out().src, HOST.addr(family));
        let asked = Message::new(&NEIGHBOUR, &HOST, family, tcp(50001, 8080));
        let got = lab.sends(&NEIGHBOUR, &asked).at(&LODGER);
        assert_eq!(lab.sends(&LODGER, &got.reply()).at(&NEIGHBOUR).src, HOST.addr(family));
    }
}

#[test]
fn neighbours_are_asked_and_answered_by_whoever_is_there() {
    let mut lab = lab();
    let nobody = Mac::default();
    let broadcast = Mac::new([0xff; 6]);
    let own = (LODGER.mac, LODGER.ip4);
    let probe = (LODGER.mac, Addr::UNSPECIFIED_V4);
    let peer = (NEIGHBOUR.mac, NEIGHBOUR.ip4);
    let ask = |sender| arp(broadcast, 1, sender, (nobody, LODGER.gateway().ip4));
    for frame in [ask(own), ask(probe), arp(peer.0, 2, own, peer), arp(broadcast, 1, own, own)] {
        let (verdict, after) = lab.frame(Program::FromEndpoint, LODGER.ifindex, frame.clone());
        assert_eq!(verdict, Ok(Verdict::Next));
        assert_eq!(after, frame, "untouched");
        assert_eq!(lab.frame(Program::ToEndpoint, NEIGHBOUR.ifindex, frame).0, Ok(Verdict::Next));
    }
    for frame in [ask((LODGER.mac, NEIGHBOUR.ip4)), arp(peer.0, 2, (LODGER.mac, NEIGHBOUR.ip4), peer)] {
        let (verdict, _) = lab.frame(Program::FromEndpoint, LODGER.ifindex, frame);
        assert_eq!(verdict, Err(DropReason::SpoofedArp));
    }
}

#[test]
fn neighbours_of_ipv6_too() {
    let mut lab = lab();
    let link_local = LODGER.mac.link_local();
    let peer = (NEIGHBOUR.mac, NEIGHBOUR.ip6);
    let ask = |src| {
        let target = LODGER.gateway().ip6;
        discovery((LODGER.mac, src), group(target), 135, 0, target, (1, LODGER.mac))
    };
    let tell = |target| discovery((LODGER.mac, LODGER.ip6), peer, 136, 0x60, target, (2, LODGER.mac));
    for frame in [ask(LODGER.ip6), ask(link_local), tell(LODGER.ip6), tell(link_local)] {
        let (verdict, after) = lab.frame(Program::FromEndpoint, LODGER.ifindex, frame.clone());
        assert_eq!(verdict, Ok(Verdict::Next));
        assert_eq!(after, frame, "untouched");
        assert_eq!(lab.frame(Program::ToEndpoint, NEIGHBOUR.ifindex, frame).0, Ok(Verdict::Next));
    }
    // What is asked of another endpoint need not go where filters are.
    let target = NEIGHBOUR.ip6;
    let frame = discovery((LODGER.mac, LODGER.ip6), group(target), 135, 0, target, (1, LODGER.mac));
    let (verdict, after) = lab.frame(Program::FromEndpoint, LODGER.ifindex, frame);
    assert_eq!(verdict, Ok(Verdict::ToEndpoint(LODGER.ifindex)));
    verify_checksums(&after);
    assert!(after.ends_with(&NEIGHBOUR.mac.octets()));
    let lie = [tell(NEIGHBOUR.ip6), tell(NEIGHBOUR.mac.link_local())];
    for frame in lie {
        let (verdict, _) = lab.frame(Program::FromEndpoint, LODGER.ifindex, frame);
        assert_eq!(verdict, Err(DropReason::SpoofedArp));
    }
    // Who is a router is not for endpoints to say.
    let router = discovery((LODGER.mac, link_local), group(peer.1), 134, 0, peer.1, (1, LODGER.mac));
    let (verdict, _) = lab.frame(Program::FromEndpoint, LODGER.ifindex, router);
    assert_eq!(verdict, Err(DropReason::Multicast));
}

#[test]
fn before_its_policy_is_in_force_nothing_passes() {
    let mut lab = lab();
    lab.maps.endpoints.get_mut(&LODGER.ifindex).unwrap().flags &= !netfast_common::rows::ENDPOINT_READY;
    let ask = Message::new(&LODGER, &OUTSIDE, Family::V4, ping(1));
    assert_eq!(lab.sends(&LODGER, &ask), Fate::Dropped(DropReason::NotReady));
    assert_eq!(lab.host_sends(&LODGER, &ask.reply()), Fate::Dropped(DropReason::NotReady));
    let packet =
        Bytes::new(arp(LODGER.mac, 1, (LODGER.mac, LODGER.ip4), (LODGER.mac, LODGER.ip4)), LODGER.ifindex);
    let mut packet = packet;
    assert_eq!(lab.run(Program::FromEndpoint, &mut packet).unwrap_err().reason, DropReason::NotReady);
}
