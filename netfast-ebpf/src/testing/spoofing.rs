//! Endpoints that pretend to be others.

use netfast_common::addr::Addr;
use netfast_common::protocol::UDP;
use netfast_common::reason::DropReason;

use super::bytes::Bytes;
use super::cast::{CLIENT, Family, HOST, OUTSIDE, STRANGER, WEB};
use super::lab::{Fate, Lab, Program};
use super::message::{Message, ping, tcp, udp};

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
