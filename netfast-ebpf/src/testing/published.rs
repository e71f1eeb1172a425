//! Published ports: from outside, from other endpoints, and from the endpoint itself.

use netfast_common::counter::Path;
use netfast_common::protocol::{TCP, UDP};
use netfast_common::reason::DropReason;

use super::bytes::Bytes;
use super::cast::{CLIENT, ELSEWHERE, Family, HERMIT, HOST, OUTSIDE, STRANGER, WEB};
use super::lab::{Allow, Fate, Lab, Program, Way};
use super::message::{ACK, Message, What, tcp, udp};

fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.publish(TCP, 8080, &WEB, 80);
    lab.publish(UDP, 8080, &WEB, 80);
    lab
}

/// The message with other ports.
fn with_ports(message: &Message, sport: u16, dport: u16) -> Message {
    let what = match message.what {
        What::Tcp { flags, .. } => What::Tcp { sport, dport, flags },
        _ => What::Udp { sport, dport },
    };
    Message { what, ..message.clone() }
}

#[test]
fn from_outside_and_back() {
    for family in Family::BOTH {
        for what in [tcp(50000, 8080), udp(50000, 8080)] {
            let mut lab = lab();
            let ask = Message::new(&OUTSIDE, &HOST, family, what);
            let got = lab.comes_in(&ask).at(&WEB);
            let expected = Message {
                from_mac: WEB.gateway().mac,
                to_mac: WEB.mac,
                dst: WEB.addr(family),
                ttl: 63,
                ..with_ports(&ask, 50000, 80)
            };
            assert_eq!(got, expected, "the source is preserved");
            assert_eq!(lab.path(), Some(Path::FromOutside));

            let answer = got.reply();
            let back = lab.sends(&WEB, &answer).out();
            assert_eq!(lab.path(), Some(Path::ToOutside));
            assert_eq!(back, Message { src: HOST.addr(family), ttl: 63, ..with_ports(&answer, 8080, 50000) });
            assert_eq!(lab.flows(), 2, "a flow and its alias");
        }
    }
}

#[test]
fn a_port_published_on_one_address_only() {
    let mut lab = lab();
    let (key, row) = lab.next_published().pop_first().unwrap();
    lab.next_published().clear();
    let (family, host) = if row.addr.is_v4() { (Family::V4, HOST.ip4) } else { (Family::V6, HOST.ip6) };
    lab.next_published().insert(netfast_common::rows::PublishKey { addr: host, ..key }, row);
    lab.flip();
    let what = if key.protocol == TCP { tcp(50000, 8080) } else { udp(50000, 8080) };
    let ask = Message::new(&OUTSIDE, &HOST, family, what);
    assert_eq!(lab.comes_in(&ask).at(&WEB).dst, WEB.addr(family));
    let at_gateway = Message::new(&STRANGER, &STRANGER.gateway(), family, what);
    assert_eq!(lab.sends(&STRANGER, &at_gateway), Fate::On(at_gateway.clone()));
}

#[test]
fn policy_sees_the_real_client_and_the_real_port() {
    for family in Family::BOTH {
        let mut lab = lab();
        let identity = Lab::outer_identity(&OUTSIDE, family);
        lab.isolate(&WEB, Way::In, &[Allow { identity, protocol: TCP, port: Some(80) }]);
        lab.flip();
        let ask = Message::new(&OUTSIDE, &HOST, family, tcp(50000, 8080));
        let got = lab.comes_in(&ask).at(&WEB);
        let denied = Message::new(&ELSEWHERE, &HOST, family, tcp(50000, 8080));
        assert_eq!(lab.comes_in(&denied), Fate::Dropped(DropReason::PolicyIngress));

        lab.isolate(&WEB, Way::In, &[]);
        lab.flip();
        assert_eq!(lab.comes_in(&ask.flags(ACK)), Fate::Dropped(DropReason::PolicyIngress));
        assert_eq!(lab.sends(&WEB, &got.reply()), Fate::Dropped(DropReason::PolicyIngress));
    }
}

#[test]
fn from_an_endpoint_of_any_network_by_any_address_of_the_host() {
    for family in Family::BOTH {
        for (member, address) in [(CLIENT, HOST), (STRANGER, HOST), (STRANGER, STRANGER.gateway())] {
            let mut lab = lab();
            let ask = Message::new(&member, &address, family, tcp(50000, 8080));
            let got = lab.sends(&member, &ask).at(&WEB);
            assert_eq!((got.src, got.dst), (member.addr(family), WEB.addr(family)));
            assert_eq!((got.ports(), got.ttl), ((50000, 80), 63));
            assert_eq!((got.from_mac, got.to_mac), (WEB.gateway().mac, WEB.mac));
            let back = lab.sends(&WEB, &got.reply()).at(&member);
            assert_eq!((back.src, back.dst), (address.addr(family), member.addr(family)));
            assert_eq!(back.ports(), (8080, 50000));
        }
    }
}

#[test]
fn a_direct_flow_and_one_through_the_published_port_with_the_same_source_port() {
    for family in Family::BOTH {
        let mut lab = lab();
        let direct = Message::new(&CLIENT, &WEB, family, tcp(50000, 80));
        assert_eq!(lab.sends(&CLIENT, &direct).at(&WEB), direct);
        let ask = Message::new(&CLIENT, &HOST, family, tcp(50000, 8080));
        let got = lab.sends(&CLIENT, &ask).at(&WEB);
        assert_ne!(got.ports().0, 50000, "the responder could not tell them apart");
        let back = lab.sends(&WEB, &got.reply()).at(&CLIENT);
        assert_eq!((back.src, back.ports()), (HOST.addr(family), (8080, 50000)));
        assert_eq!(lab.sends(&WEB, &direct.reply()).at(&CLIENT), direct.reply());
    }
}

#[test]
fn a_hairpin_to_oneself() {
    for family in Family::BOTH {
        for what in [tcp(50000, 8080), udp(50000, 8080)] {
            let mut lab = lab();
            // Not for policies to stop.
            lab.isolate(&WEB, Way::In, &[]);
            lab.isolate(&WEB, Way::Out, &[]);
            lab.flip();
            let ask = Message::new(&WEB, &HOST, family, what);
            let got = lab.sends(&WEB, &ask).at(&WEB);
            assert_eq!((got.src, got.dst), (WEB.gateway().addr(family), WEB.addr(family)));
            assert_eq!(got.ports().1, 80);
            let back = lab.sends(&WEB, &got.reply()).at(&WEB);
            assert_eq!((back.src, back.dst), (HOST.addr(family), WEB.addr(family)));
            assert_eq!(back.ports(), (8080, 50000));
        }
    }
}

#[test]
fn a_port_given_to_another_endpoint_takes_no_flow_along() {
    let mut lab = lab();
    let ask = Message::new(&OUTSIDE, &HOST, Family::V4, udp(50000, 8080));
    let first = lab.comes_in(&ask).at(&WEB);
    lab.next_published().clear();
    lab.publish(UDP, 8080, &CLIENT, 80);
    for row in lab.next_published().values_mut() {
        row.incarnation += 1;
    }
    assert_eq!(lab.comes_in(&ask).at(&WEB), first, "not before the generation says so");
    lab.flip();
    assert_eq!(lab.comes_in(&ask).at(&CLIENT).dst, CLIENT.ip4);
    assert_ne!(lab.sends(&WEB, &first.reply()).out().ports().0, 8080, "what is left is a flow of its own");
    lab.next_published().clear();
    lab.flip();
    assert_eq!(lab.comes_in(&ask), Fate::On(ask.clone()), "the host says that the port is closed");
}

#[test]
fn a_port_that_is_published_takes_over_what_nobody_answered() {
    for family in Family::BOTH {
        for what in [tcp(50000, 8080), udp(50000, 8080)] {
            let mut lab = Lab::new();
            let ask = Message::new(&CLIENT, &HOST, family, what);
            for _ in 0..2 {
                assert_eq!(lab.sends(&CLIENT, &ask), Fate::On(ask.clone()));
            }
            lab.publish(TCP, 8080, &WEB, 80);
            lab.publish(UDP, 8080, &WEB, 80);
            lab.flip();
            let got = lab.sends(&CLIENT, &ask).at(&WEB);
            assert_eq!((got.dst, got.ports()), (WEB.addr(family), (50000, 80)));
            assert_eq!(lab.sends(&WEB, &got.reply()).at(&CLIENT).ports(), (8080, 50000));
        }
    }
}

#[test]
fn an_answer_of_the_host_does_not_keep_a_port_from_who_published_it() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ask = Message::new(&CLIENT, &HOST, family, udp(50000, 8080));
        assert_eq!(lab.sends(&CLIENT, &ask), Fate::On(ask.clone()));
        let answer = ask.reply();
        assert_eq!(lab.host_sends(&CLIENT, &answer), Fate::On(answer.clone()));
        lab.publish(UDP, 8080, &WEB, 80);
        lab.flip();
        for _ in 0..2 {
            assert_eq!(lab.host_sends(&CLIENT, &answer), Fate::On(answer.clone()));
        }
        assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB).dst, WEB.addr(family));
    }
}

#[test]
fn a_flow_of_an_internal_network_to_its_gateway_is_the_same_after_its_port_is_published() {
    let mut lab = lab();
    let ask = Message::new(&HERMIT, &HERMIT.gateway(), Family::V4, udp(50000, 8080));
    assert_eq!(lab.sends(&HERMIT, &ask), Fate::On(ask.clone()));
    // SAFETY: the lab never frees entries.
    let created =
        |lab: &Lab| unsafe { lab.maps.nursery.borrow().values().next().unwrap().as_ptr().read().created };
    let before = created(&lab);
    lab.wait(1);
    lab.flip();
    assert_eq!(lab.sends(&HERMIT, &ask), Fate::On(ask.clone()));
    assert_eq!(created(&lab), before);
}

#[test]
fn a_connection_to_the_host_goes_on_when_its_port_is_published() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ask = Message::new(&CLIENT, &HOST, family, tcp(50000, 8080));
        assert_eq!(lab.sends(&CLIENT, &ask), Fate::On(ask.clone()));
        let answer = ask.reply();
        assert_eq!(lab.host_sends(&CLIENT, &answer), Fate::On(answer.clone()));
        assert_eq!(lab.sends(&CLIENT, &ask.flags(ACK)), Fate::On(ask.flags(ACK)));
        lab.publish(TCP, 8080, &WEB, 80);
        lab.flip();
        assert_eq!(lab.sends(&CLIENT, &ask.flags(ACK)), Fate::On(ask.flags(ACK)));
    }
}

/// The message in the midst of its flow.
fn later(message: &Message) -> Message {
    match message.what {
        What::Tcp { .. } => message.flags(ACK),
        _ => message.clone(),
    }
}

#[test]
fn from_listed_sources_only() {
    for family in Family::BOTH {
        let mut lab = lab();
        lab.limit_sources(7, &[OUTSIDE.addr(family), CLIENT.addr(family)]);
        lab.flip();
        let denied = Fate::Dropped(DropReason::SourceNotAllowed);
        for what in [tcp(50000, 8080), udp(50000, 8080)] {
            let ask = Message::new(&OUTSIDE, &HOST, family, what);
            let got = lab.comes_in(&ask).at(&WEB);
            assert_eq!(lab.comes_in(&Message::new(&ELSEWHERE, &HOST, family, what)), denied);
            assert_eq!(
                lab.sends(&CLIENT, &Message::new(&CLIENT, &HOST, family, what)).at(&WEB).ports().1,
                80
            );
            assert_eq!(lab.sends(&STRANGER, &Message::new(&STRANGER, &HOST, family, what)), denied);
            // The endpoint itself is nobody to be kept out.
            assert_eq!(lab.sends(&WEB, &Message::new(&WEB, &HOST, family, what)).at(&WEB).ports().1, 80);

            // A list that changes cuts what it no longer holds, in both directions, and nothing else.
            lab.limit_sources(8, &[ELSEWHERE.addr(family)]);
            assert_eq!(lab.comes_in(&later(&ask)).at(&WEB), later(&got));
            lab.flip();
            assert_eq!(lab.comes_in(&later(&ask)), denied);
            assert_eq!(lab.sends(&WEB, &later(&got).reply()), denied);
            assert_eq!(lab.sends(&WEB, &Message::new(&WEB, &HOST, family, what)).at(&WEB).ports().1, 80);
            lab.limit_sources(7, &[OUTSIDE.addr(family), CLIENT.addr(family)]);
            lab.flip();
            assert_eq!(lab.comes_in(&later(&ask)).at(&WEB), later(&got));
        }
    }
}

#[test]
fn a_drop_at_a_published_port_is_its_endpoints() {
    let mut lab = lab();
    lab.limit_sources(7, &[]);
    lab.flip();
    let ask = Message::new(&CLIENT, &HOST, Family::V4, tcp(50000, 8080));
    let dropped = lab.run(Program::FromEndpoint, &mut Bytes::new(ask.bytes(), CLIENT.ifindex)).unwrap_err();
    assert_eq!((dropped.reason, dropped.endpoint), (DropReason::SourceNotAllowed, WEB.incarnation));
}

#[test]
fn a_row_that_names_another_endpoint_leads_nowhere() {
    // What a program may read while the row of an address is replaced.
    for family in Family::BOTH {
        let mut lab = lab();
        let other = lab.maps.addresses[&CLIENT.addr(family)];
        lab.maps.addresses.insert(WEB.addr(family), other);
        let direct = Message::new(&CLIENT, &WEB, family, tcp(50000, 80));
        assert_eq!(lab.sends(&CLIENT, &direct), Fate::Dropped(DropReason::NotReady));
        let ask = Message::new(&OUTSIDE, &HOST, family, tcp(50000, 8080));
        assert_eq!(lab.comes_in(&ask), Fate::Dropped(DropReason::NotReady));
    }
}

#[test]
fn an_internal_network_reaches_no_published_port() {
    let mut lab = lab();
    let ask = Message::new(&HERMIT, &HOST, Family::V4, tcp(50000, 8080));
    assert_eq!(lab.sends(&HERMIT, &ask), Fate::Dropped(DropReason::Internal));
    let ask = Message::new(&HERMIT, &HERMIT.gateway(), Family::V4, tcp(50000, 8080));
    assert_eq!(lab.sends(&HERMIT, &ask), Fate::On(ask.clone()));
}

#[test]
fn a_packet_at_the_end_of_its_life_is_not_translated() {
    for family in Family::BOTH {
        let mut lab = lab();
        let ask = Message { ttl: 1, ..Message::new(&OUTSIDE, &HOST, family, tcp(50000, 8080)) };
        assert_eq!(lab.comes_in(&ask), Fate::Dropped(DropReason::TtlExpired));
    }
}
