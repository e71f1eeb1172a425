//! Whatever bytes come: the corpus as it is, the corpus damaged at random, and noise, through all three programs.
//!
//! It is the same every time. `NETFAST_FUZZ_RUNS` and `NETFAST_FUZZ_SEED` ask for more, or for other damage. A packet
//! that does harm is printed in full: as a file in `netfast-ebpf/corpus` it is part of every later run.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::bytes::Bytes;
use super::cast::{CLIENT, HOST, OUTSIDE};
use super::corpus;
use super::invariants::{Seen, always, closed_lab, denied, open_lab, places, run, try_one};
use super::lab::{Lab, Program};

/// Damaged packets of one test, unless `NETFAST_FUZZ_RUNS` says otherwise.
const RUNS: u32 = 100_000;
/// Packets after which a lab is made anew, so that its tables stay small.
const RUNS_OF_A_LAB: u32 = 1000;
/// Longest frame that is made of others.
const LONGEST: usize = 2000;

/// A small generator of random numbers (xorshift64), so that a failure comes again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// A setting from the environment.
fn setting(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |value| value.parse().expect(name))
}

/// Damages a packet: a few bits, a byte that is often special, its end, or a piece of another packet.
fn damage(random: &mut Random, bytes: &mut Vec<u8>, others: &[(String, Vec<u8>)]) {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => {
                bytes[at] = *random.one_of(&[0, 1, 6, 17, 44, 58, 60, 0x7f, 0x80, 0xff]);
            }
            2 if !bytes.is_empty() => bytes[at] = random.byte(),
            3 => bytes.truncate(at),
            4 => {
                let more = random.below(40);
                bytes.extend((0..more).map(|_| random.byte()));
            }
            _ => {
                let (_, other) = random.one_of(others);
                let from = random.below(other.len());
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
        }
    }
    bytes.truncate(LONGEST);
}

/// Bytes that were never a packet, though half of them look like one at first.
fn noise(random: &mut Random) -> Vec<u8> {
    let length = random.below(120);
    let mut bytes: Vec<u8> = (0..length).map(|_| random.byte()).collect();
    if bytes.len() > 40 && random.below(2) == 0 {
        bytes[6..12].copy_from_slice(&CLIENT.mac.octets());
        let ether_type = random.one_of(&[[8, 0, 0x45], [0x86, 0xdd, 0x60], [8, 6, 0]]);
        bytes[12..15].copy_from_slice(ether_type);
    }
    bytes
}

/// Sends the corpus, as it is and damaged, and noise; returns how many packets passed, and how many became errors.
fn fuzz(lab: fn() -> Lab, check: fn(&Lab, &Seen)) -> (u32, u32) {
    let corpus = corpus::read();
    let (mut passed, mut told) = (0, 0);
    let mut note = |seen: &Seen| {
        passed += u32::from(seen.passed.is_some());
        told += u32::from(seen.told.is_some());
    };
    for (_, frame) in &corpus {
        let mut lab = lab();
        for place in places() {
            note(&try_one(&mut lab, place, Bytes::new(frame.clone(), place.1), check));
        }
    }
    let mut random = Random(setting("NETFAST_FUZZ_SEED", 1));
    let places = places();
    // Most of the corpus is the client's, or comes from outside.
    let likely = [
        (Program::FromEndpoint, CLIENT.ifindex),
        (Program::ToEndpoint, CLIENT.ifindex),
        (Program::FromUplink, HOST.ifindex),
    ];
    let mut world = lab();
    for run in 0..setting("NETFAST_FUZZ_RUNS", u64::from(RUNS)) {
        if run % u64::from(RUNS_OF_A_LAB) == 0 {
            world = lab();
        }
        let frame = if random.below(20) == 0 {
            noise(&mut random)
        } else {
            let mut frame = random.one_of(&corpus).1.clone();
            damage(&mut random, &mut frame, &corpus);
            frame
        };
        let place = if random.below(4) == 0 { *random.one_of(&places) } else { *random.one_of(&likely) };
        let mut packet = Bytes::new(frame, place.1);
        packet.has_vlan_tag = random.below(50) == 0;
        packet.is_offloaded = random.below(10) == 0;
        packet.segment = *random.one_of(&[0, 0, 0, 300, 1400]);
        note(&try_one(&mut world, place, packet, check));
        if random.below(100) == 0 {
            world.wait(random.below(20) as u64);
        }
    }
    (passed, told)
}

#[test]
fn nothing_passes_where_nothing_is_allowed() {
    let (passed, _) = fuzz(closed_lab, denied);
    assert!(passed > 0, "the host's own packets, and answers about neighbours");
}

#[test]
fn whatever_comes_stays_within_bounds_where_everything_is_allowed() {
    let (passed, told) = fuzz(open_lab, |_, _| {});
    assert!(passed > 1000 && told > 10, "{passed} passed and {told} were told");
}

#[test]
fn what_holds_where_nothing_is_allowed_fails_where_something_is() {
    let ask = super::message::Message::new(
        &CLIENT,
        &OUTSIDE,
        super::cast::Family::V4,
        super::message::udp(4000, 53),
    );
    let mut lab = open_lab();
    let place = (Program::FromEndpoint, CLIENT.ifindex);
    let seen = run(&mut lab, place, Bytes::new(ask.bytes(), place.1));
    always(&seen);
    assert!(catch_unwind(AssertUnwindSafe(|| denied(&lab, &seen))).is_err());
}
