//! Captured packets as a pcapng file: an interface for each endpoint, nanoseconds, and who sent each packet.
//!
//! The format is that of <https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcapng/>, in this machine's byte order.

use std::collections::BTreeMap;

use crate::reconcile::monitor::Captured;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const LINK_ETHERNET: u16 = 1;
/// Options: the name of an interface, the digits of its times, and the direction of a packet.
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// Writes a file, a part at a time.
#[derive(Debug)]
pub(super) struct Writer {
    snap: u32,
    /// Numbers of the interfaces, by endpoint.
    interfaces: BTreeMap<String, u32>,
    /// What is still to be written.
    bytes: Vec<u8>,
}

impl Writer {
    /// A file of packets of which at most `snap` bytes are kept.
    pub(super) fn new(snap: u32) -> Self {
        let mut bytes = Vec::new();
        block(&mut bytes, SECTION_HEADER, |body| {
            put(body, &BYTE_ORDER.to_ne_bytes());
            // Version 1.0, of a length nobody knows yet.
            put(body, &1_u16.to_ne_bytes());
            put(body, &0_u16.to_ne_bytes());
            put(body, &(-1_i64).to_ne_bytes());
        });
        Self { snap, interfaces: BTreeMap::new(), bytes }
    }

    /// Adds a packet, and before its endpoint's first one the endpoint.
    pub(super) fn packet(&mut self, packet: &Captured) {
        let interface = self.interface(&packet.endpoint);
        let kept = u32::try_from(packet.bytes.len()).unwrap_or(u32::MAX);
        block(&mut self.bytes, ENHANCED_PACKET, |body| {
            put(body, &interface.to_ne_bytes());
            let (high, low) = (packet.time >> 32, packet.time & 0xffff_ffff);
            for half in [high, low] {
                put(body, &u32::try_from(half).unwrap_or(0).to_ne_bytes());
            }
            put(body, &kept.to_ne_bytes());
            put(body, &packet.length.to_ne_bytes());
            put(body, &packet.bytes);
            pad(body);
            let direction = if packet.is_sent { OUTBOUND } else { INBOUND };
            option(body, EPB_FLAGS, &direction.to_ne_bytes());
            option(body, 0, &[]);
        });
    }

    /// Takes what is to be written next.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    fn interface(&mut self, endpoint: &str) -> u32 {
        if let Some(number) = self.interfaces.get(endpoint) {
            return *number;
        }
        let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        block(&mut self.bytes, INTERFACE, |body| {
            put(body, &LINK_ETHERNET.to_ne_bytes());
            put(body, &0_u16.to_ne_bytes());
            put(body, &self.snap.to_ne_bytes());
            option(body, IF_NAME, endpoint.as_bytes());
            option(body, IF_TSRESOL, &[9]);
            option(body, 0, &[]);
        });
        self.interfaces.insert(endpoint.to_owned(), number);
        number
    }
}

/// A block: its type, its length, its body, its length again.
fn block(bytes: &mut Vec<u8>, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::new();
    fill(&mut body);
    let length = u32::try_from(body.len() + 12).unwrap_or(u32::MAX).to_ne_bytes();
    put(bytes, &kind.to_ne_bytes());
    put(bytes, &length);
    put(bytes, &body);
    put(bytes, &length);
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    put(body, &code.to_ne_bytes());
    put(body, &u16::try_from(value.len()).unwrap_or(u16::MAX).to_ne_bytes());
    put(body, value);
    pad(body);
}

fn put(bytes: &mut Vec<u8>, more: &[u8]) {
    bytes.extend_from_slice(more);
}

/// To whole words: all that stands before is whole words too.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::super::testing::drop_event;
    use super::*;

    fn packet(endpoint: &str, is_sent: bool, bytes: &[u8]) -> Captured {
        Captured {
            time: 0x1_0000_0002,
            endpoint: endpoint.to_owned(),
            is_sent,
            length: 1500,
            bytes: bytes.to_vec(),
            view: drop_event(),
        }
    }

    /// Types and bodies of blocks.
    fn blocks(mut bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let mut blocks = Vec::new();
        let word = |bytes: &[u8], at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        while !bytes.is_empty() {
            let length = word(bytes, 4) as usize;
            assert_eq!((length % 4, word(bytes, length - 4) as usize), (0, length));
            blocks.push((word(bytes, 0), bytes[8..length - 4].to_vec()));
            bytes = &bytes[length..];
        }
        blocks
    }

    #[test]
    fn each_endpoint_is_an_interface() {
        let mut writer = Writer::new(256);
        writer.packet(&packet("web", true, &[1, 2, 3]));
        writer.packet(&packet("db", false, &[4; 8]));
        writer.packet(&packet("web", false, &[5]));
        let blocks = blocks(&writer.take());
        let kinds: Vec<_> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(
            kinds,
            [SECTION_HEADER, INTERFACE, ENHANCED_PACKET, INTERFACE, ENHANCED_PACKET, ENHANCED_PACKET]
        );
        assert_eq!(blocks[1].1[8..15], *b"\x02\0\x03\0web");
        let numbers: Vec<_> = [2, 4, 5].iter().map(|at| blocks[*at].1[0]).collect();
        assert_eq!(numbers, [0, 1, 0]);
        let words: Vec<_> =
            blocks[2].1.chunks(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect();
        assert_eq!(words[..5], [0, 1, 2, 3, 1500]);
        assert_eq!(blocks[2].1[20..24], [1, 2, 3, 0]);
        assert_eq!((words[7], blocks[4].1[32]), (OUTBOUND, 1));
        assert!(writer.take().is_empty());
    }
}
