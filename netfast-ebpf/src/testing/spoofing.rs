//! Endpoints that pretend to be others.

use netfast_common::addr::Addr;
use netfast_common::protocol::UDP;
use netfast_common::reason::DropReason;

use super::bytes::Bytes;
use super::cast::{CLIENT, Family, HOST, OUTSIDE, STRANGER, WEB};
use super::lab::{Fate, Lab, Program};
use super::message::{Message, ping, tcp, udp};
use crate::verdict::Verdict;

#[test]
fn a_foreign_mac_or_address() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let honest = Message::new(&CLIENT, &WEB, family, tcp(4000, 80));
        let mac = Message { from_mac: STRANGER.mac, ..honest.clone() };
        assert_eq!(lab.sends(&CLIENT, &mac), Fate::Dropped(DropReason::SpoofedMac));
        let none = Addr::default().unspecified();
        let unspecified = if family == Family::V4 { Addr::UNSPECIFIED_V4 } else { none };
        for src in
            [STRANGER, WEB, HOST, OUTSIDE].map(|member| member.addr(family)).into_iter().chain([unspecified])
        {
            let message = Message { src, ..honest.clone() };
            assert_eq!(lab.sends(&CLIENT, &message), Fate::Dropped(DropReason::SpoofedAddress));
        }
        assert_eq!(lab.flows(), 0);
    }
}

#[test]
fn a_family_the_endpoint_has_no_address_of() {
    let mut lab = Lab::new();
    lab.maps.endpoints.get_mut(&CLIENT.ifindex).unwrap().ip6 = Addr::UNSPECIFIED_V6;
    for src in [CLIENT.ip6, Addr::UNSPECIFIED_V6] {
        let message = Message { src, ..Message::new(&CLIENT, &WEB, Family::V6, tcp(4000, 80)) };
        assert_eq!(lab.sends(&CLIENT, &message), Fate::Dropped(DropReason::SpoofedAddress));
    }
}

#[test]
fn a_known_flow_does_not_help_a_spoofer() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ask = Message::new(&CLIENT, &WEB, family, tcp(4000, 80));
        assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask);
        let forged = Message { from_mac: STRANGER.mac, ..ask };
        assert_eq!(lab.sends(&STRANGER, &forged), Fate::Dropped(DropReason::SpoofedAddress));
    }
}

#[test]
fn an_endpoints_address_from_outside() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        let ask = Message::new(&CLIENT, &WEB, family, tcp(4000, 80));
        let new = Message { src: CLIENT.addr(family), ..Message::new(&OUTSIDE, &WEB, family, ping(1)) };
        assert_eq!(lab.comes_in(&new), Fate::Dropped(DropReason::SpoofedAddress));
        assert_eq!(lab.sends(&CLIENT, &ask).at(&WEB), ask);
        assert_eq!(lab.comes_in(&ask), Fate::Dropped(DropReason::SpoofedAddress), "of a known flow");
    }
}

#[test]
fn from_outside_in_the_hosts_name() {
    for family in Family::BOTH {
        let mut lab = Lab::new();
        lab.publish(UDP, 8080, &WEB, 80);
        let spoofed = Fate::Dropped(DropReason::SpoofedAddress);
        for name in [HOST, CLIENT.gateway()] {
            let outsider =
                Message { src: name.addr(family), ..Message::new(&OUTSIDE, &HOST, family, udp(53, 8080)) };
            assert_eq!(lab.comes_in(&outsider), spoofed, "to a published port");
            let from_host = Message::new(&name, &CLIENT, family, udp(53, 4000));
            assert_eq!(lab.host_sends(&CLIENT, &from_host), Fate::On(from_host.clone()));
            assert_eq!(lab.comes_in(&from_host), spoofed, "as the host's side of a flow with an endpoint");
        }
        let to_host =
            Message { src: HOST.addr(family), ..Message::new(&OUTSIDE, &HOST, family, udp(53, 4000)) };
        assert_eq!(lab.comes_in(&to_host), Fate::On(to_host.clone()), "the host's to judge");
    }
}

#[test]
fn destinations_that_can_never_stand_on_a_wire() {
    let mut lab = Lab::new();
    let ask = Message::new(&CLIENT, &WEB, Family::V4, tcp(4000, 80));
    for dst in [Addr::from_v4([127, 0, 0, 1]), Addr::UNSPECIFIED_V4] {
        assert_eq!(lab.sends(&CLIENT, &Message { dst, ..ask.clone() }), Fate::Dropped(DropReason::Martian));
    }
    for dst in [Addr::from_v4([224, 0, 0, 251]), Addr::from_v4([255; 4])] {
        assert_eq!(lab.sends(&CLIENT, &Message { dst, ..ask.clone() }), Fate::Dropped(DropReason::Multicast));
        assert_eq!(
            lab.host_sends(&CLIENT, &Message { dst, ..ask.clone() }),
            Fate::Dropped(DropReason::Multicast)
        );
    }
}

#[test]
fn vlan_tags_and_other_ethertypes() {
    let mut lab = Lab::new();
    let bytes = Message::new(&CLIENT, &WEB, Family::V4, tcp(4000, 80)).bytes();
    let mut tagged = Bytes::new(bytes.clone(), CLIENT.ifindex);
    tagged.has_vlan_tag = true;
    let dropped = lab.run(Program::FromEndpoint, &mut tagged).unwrap_err();
    assert_eq!((dropped.reason, dropped.endpoint), (DropReason::BadEthertype, CLIENT.incarnation));
    for ether_type in [0x8100_u16, 0x88cc, 0x8847, 0x0006] {
        let mut other = bytes.clone();
        other[12..14].copy_from_slice(&ether_type.to_be_bytes());
        let (verdict, _) = lab.frame(Program::FromEndpoint, CLIENT.ifindex, other);
        assert_eq!(verdict, Err(DropReason::BadEthertype));
    }
}

#[test]
fn sources_from_outside_that_can_never_stand_on_a_wire() {
    let [mut loopback, mut multicast] = [[0; 16]; 2];
    loopback[15] = 1;
    multicast[0] = 0xff;
    multicast[1] = 2;
    let v4 = [[127, 0, 0, 1], [0; 4], [224, 0, 0, 1], [255; 4]].map(Addr::from_v4);
    let v6 = [Addr::from_v6(loopback), Addr::UNSPECIFIED_V6, Addr::from_v6(multicast)];
    for (family, sources) in [(Family::V4, &v4[..]), (Family::V6, &v6[..])] {
        let mut lab = Lab::new();
        lab.publish(UDP, 8080, &WEB, 80);
        for src in sources.iter().copied() {
            let to = |port| Message { src, ..Message::new(&OUTSIDE, &HOST, family, udp(53, port)) };
            assert_eq!(lab.comes_in(&to(8080)), Fate::Dropped(DropReason::Martian), "{src:?}");
            assert_eq!(lab.comes_in(&to(4000)), Fate::On(to(4000)), "the host's to judge");
        }
        assert_eq!(lab.flows(), 0);
    }
}

#[test]
fn a_link_local_client_is_the_hosts_to_answer() {
    // Only the host knows by which device to reach it; and says at once that nobody listens there.
    let mut lab = Lab::new();
    lab.publish(UDP, 8080, &WEB, 80);
    let mut link_local = [0; 16];
    link_local[0] = 0xfe;
    link_local[1] = 0x80;
    link_local[15] = 9;
    let src = Addr::from_v6(link_local);
    let ask = Message { src, ..Message::new(&OUTSIDE, &HOST, Family::V6, udp(53, 8080)) };
    assert_eq!(lab.comes_in(&ask), Fate::On(ask.clone()));
    assert_eq!(lab.flows(), 0);
}

#[test]
fn an_ipv4_address_in_an_ipv6_header() {
    // Here IPv4 addresses are held like that: what has one in a header of IPv6 would be taken for somebody else.
    let mapped = |bytes: &[u8], at: usize, addr: Addr| {
        let mut bytes = bytes.to_vec();
        bytes[at..at + 16].copy_from_slice(&addr.octets());
        bytes
    };
    let (source, destination) = (14 + 8, 14 + 24);
    let mut lab = Lab::new();
    lab.publish(UDP, 8080, &WEB, 80);
    let ask = Message::new(&OUTSIDE, &HOST, Family::V6, udp(53, 8080)).bytes();
    let (verdict, _) = lab.frame(Program::FromUplink, HOST.ifindex, mapped(&ask, source, OUTSIDE.ip4));
    assert_eq!(verdict, Ok(Verdict::Next), "the host's to judge");
    let ask = Message::new(&CLIENT, &WEB, Family::V6, udp(53, 80)).bytes();
    for (at, addr) in [(source, CLIENT.ip4), (destination, WEB.ip4)] {
        let (verdict, _) = lab.frame(Program::FromEndpoint, CLIENT.ifindex, mapped(&ask, at, addr));
        assert_eq!(verdict, Err(DropReason::Martian));
    }
    assert_eq!(lab.flows(), 0);
}
