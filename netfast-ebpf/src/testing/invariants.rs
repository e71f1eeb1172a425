//! What holds whatever bytes come, in a world where nothing is allowed and in one where everything is.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use netfast_common::addr::Addr;
use netfast_common::counter::Path;
use netfast_common::protocol::{TCP, UDP};

use super::bytes::Bytes;
use super::cast::{ENDPOINTS, HOST, Member, WEB};
use super::lab::{Lab, Program, Way};
use crate::report::report;
use crate::verdict::Verdict;

/// Most bytes of an ICMP error: Ethernet, IPv6 and ICMP headers, and the quote.
const LONGEST_ERROR: usize = 14 + 40 + 8 + 128;

/// Where a packet comes in: one program at one device.
pub(super) fn places() -> Vec<(Program, u32)> {
    let ports = ENDPOINTS.map(|member| member.ifindex).into_iter().chain([9999]);
    let both = ports.flat_map(|at| [(Program::FromEndpoint, at), (Program::ToEndpoint, at)]);
    both.chain([(Program::FromUplink, HOST.ifindex)]).collect()
}

/// What was seen of one packet.
pub(super) struct Seen {
    program: Program,
    ifindex: u32,
    before: Vec<u8>,
    after: Vec<u8>,
    pub(super) passed: Option<Verdict>,
    /// It was dropped, and turned into an error that goes this way.
    pub(super) told: Option<Verdict>,
    path: Option<Path>,
}

/// Runs a program on a packet.
pub(super) fn run(lab: &mut Lab, (program, ifindex): (Program, u32), packet: Bytes) -> Seen {
    let before = packet.frame.clone();
    let mut packet = packet;
    let (mut passed, mut told) = (None, None);
    match lab.run(program, &mut packet) {
        Ok(verdict) => passed = Some(verdict),
        Err(dropped) => told = report(&mut packet, &lab.maps, &mut lab.work, dropped.reason),
    }
    Seen { program, ifindex, before, after: packet.frame, passed, told, path: lab.path() }
}

/// What holds in every world.
pub(super) fn always(seen: &Seen) {
    let Seen { program, ifindex, before, after, passed, told, .. } = seen;
    match (passed, told) {
        (Some(verdict), _) => {
            keeps_its_length(before, after);
            if matches!((program, verdict), (Program::ToEndpoint, to) if *to != Verdict::Next) {
                panic!("redirected on its way to the endpoint");
            }
            if let Verdict::ToEndpoint(to) | Verdict::ToDevice(to) = verdict {
                let member = member(*to);
                assert_eq!(after[..6], member.mac.octets(), "delivered with another's MAC address");
            }
            if matches!(program, Program::FromEndpoint) {
                from_its_own(before, &member(*ifindex));
            }
        }
        (None, Some(verdict)) => {
            let back = match program {
                Program::FromUplink => Verdict::ToUplink(*ifindex),
                _ => Verdict::ToEndpoint(*ifindex),
            };
            assert_eq!(*verdict, back, "an error goes back to where the packet came from");
            assert!(after.len() <= LONGEST_ERROR, "an error of {} bytes", after.len());
            assert_eq!((&after[..6], &after[6..12]), (&before[6..12], &before[..6]), "to the sender");
        }
        (None, None) => {}
    }
}

/// What passes keeps its length, but for what gets a header of the other family; an error about such packets is cut.
fn keeps_its_length(before: &[u8], after: &[u8]) {
    let (old, new) = (before.len(), after.len());
    match (before.get(12..14), after.get(12..14)) {
        (Some([8, 0]), Some([0x86, 0xdd])) => {
            assert!(new == old + 20 || new == 14 + 40 + 8 + 48, "{old}, {new}");
        }
        (Some([0x86, 0xdd]), Some([8, 0])) => {
            assert!(new + 20 == old || new == 14 + 20 + 8 + 28, "{old}, {new}");
        }
        (one, other) => assert_eq!((one, old), (other, new)),
    }
}

/// The endpoint behind a device.
fn member(ifindex: u32) -> Member {
    ENDPOINTS.into_iter().find(|member| member.ifindex == ifindex).expect("no such endpoint")
}

/// The source and the destination of an IP packet, read without the parser under test.
fn ends(frame: &[u8]) -> Option<(Addr, Addr)> {
    let v4 = |at: usize| Some(Addr::from_v4(frame.get(at..at + 4)?.try_into().ok()?));
    let v6 = |at: usize| Some(Addr::from_v6(frame.get(at..at + 16)?.try_into().ok()?));
    match frame.get(12..14)? {
        [8, 0] => Some((v4(26)?, v4(30)?)),
        [0x86, 0xdd] => Some((v6(22)?, v6(38)?)),
        _ => None,
    }
}

/// Type of the ICMP message in a packet without options and extension headers.
fn icmp_type(frame: &[u8]) -> Option<u8> {
    match (frame.get(12..14)?, frame.get(23)?, frame.get(20)?) {
        ([8, 0], 1, _) => frame.get(14 + usize::from(frame[14] & 0xf) * 4).copied(),
        ([0x86, 0xdd], _, 58) => frame.get(54).copied(),
        _ => None,
    }
}

/// What an endpoint sends passes only with its own addresses.
fn from_its_own(frame: &[u8], endpoint: &Member) {
    assert_eq!(frame[6..12], endpoint.mac.octets(), "with another's MAC address");
    if let Some((src, _)) = ends(frame) {
        let is_neighbour_discovery = matches!(icmp_type(frame), Some(135..=137)) && frame[12] == 0x86;
        let is_own = src == endpoint.ip4 || src == endpoint.ip6;
        assert!(
            is_own || is_neighbour_discovery && src.is_link_local_v6(),
            "with another's address: {src:?}"
        );
    }
}

/// Whether an address is the host's, or a gateway's.
fn is_the_hosts(lab: &Lab, addr: Addr) -> bool {
    let gateways = ENDPOINTS.map(|member| member.gateway());
    let is_known = lab.maps.addresses.contains_key(&addr);
    is_known && gateways.into_iter().chain([HOST]).any(|member| addr == member.ip4 || addr == member.ip6)
}

/// What holds where policies allow nothing: only the host and its endpoints talk, as policies are no matter between
/// them, and neighbours are answered.
pub(super) fn denied(lab: &Lab, seen: &Seen) {
    let Seen { program, ifindex, before, after, passed, told, path } = seen;
    match (program, passed) {
        (_, None) => {
            assert_eq!(
                (before, told),
                (after, &None),
                "what is dropped at once is not changed, and no error is sent"
            );
        }
        (Program::FromEndpoint, Some(Verdict::ToEndpoint(to))) => {
            assert_eq!(to, ifindex, "to whom sent it");
            if *path == Some(Path::Neighbour) {
                let is_answer = after[12..14] == [8, 6] || icmp_type(after) == Some(136);
                assert!(is_answer, "no answer about a neighbour");
            } else {
                let (src, dst) = ends(before).expect("no IP packet");
                assert_eq!(src, dst, "what one sends to oneself is one's own business");
            }
        }
        (Program::FromEndpoint, Some(Verdict::Next)) => {
            let (_, dst) = ends(before).expect("no IP packet");
            assert!(is_the_hosts(lab, dst), "an endpoint got to {dst:?}");
            assert_eq!(before, after);
        }
        (Program::ToEndpoint, Some(Verdict::Next)) => {
            assert_eq!(before, after);
            // ARP, and what the host's stack says about neighbours.
            let Some((src, _)) = ends(before) else {
                assert_eq!(before[12..14], [8, 6], "no IP packet");
                return;
            };
            let errors: &[u8] =
                if before[12] == 8 { &[3, 4, 5, 11, 12] } else { &[1, 2, 3, 4, 133, 134, 135, 136, 137] };
            let is_error = icmp_type(before).is_some_and(|kind| errors.contains(&kind));
            assert!(is_the_hosts(lab, src) || is_error, "{src:?} got to an endpoint");
        }
        (Program::FromUplink, Some(Verdict::Next)) => {
            assert_eq!(before, after, "what is the host's is left alone");
        }
        (_, Some(verdict)) => panic!("{verdict:?}, though nothing is allowed"),
    }
}

/// Everything is forbidden, and nothing is published.
pub(super) fn closed_lab() -> Lab {
    let mut lab = Lab::new();
    for member in ENDPOINTS {
        lab.isolate(&member, Way::In, &[]);
        lab.isolate(&member, Way::Out, &[]);
    }
    lab.flip();
    lab
}

/// Everything is allowed, and there is something to get to.
pub(super) fn open_lab() -> Lab {
    let mut lab = Lab::new();
    lab.publish(TCP, 8080, &WEB, 80);
    lab.publish_across(UDP, 8080, &WEB, 80);
    lab.maps.config.smallest_mtu = 400;
    lab.maps.uplinks.get_mut(&HOST.ifindex).unwrap().mtu = 400;
    lab
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Runs `check` on what becomes of a packet, and tells which packet it was should that fail.
pub(super) fn try_one(lab: &mut Lab, place: (Program, u32), packet: Bytes, check: fn(&Lab, &Seen)) -> Seen {
    let told = (hex(&packet.frame), packet.has_vlan_tag, packet.is_offloaded, packet.segment);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let seen = run(lab, place, packet);
        always(&seen);
        check(lab, &seen);
        seen
    }));
    result.unwrap_or_else(|cause| {
        eprintln!("{place:?}; frame, VLAN tag, offloaded, segment: {told:?}");
        resume_unwind(cause)
    })
}
