//! SCTP without a kernel that speaks it: the packet that asks for a connection, as raw bytes.

use crc::{CRC_32_ISCSI, Crc};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// The header before the chunks.
const HEADER: usize = 12;
/// Type of the chunk that asks for a connection, and its length.
const INIT: u8 = 1;
const INIT_LENGTH: u16 = 20;

/// A packet that asks for a connection. `tag` tells it from others.
pub(super) fn init(source: u16, port: u16, tag: u32) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(source.to_be_bytes());
    packet.extend(port.to_be_bytes());
    // There is no connection yet, so no tag of it; and the checksum is made over zeros.
    packet.extend([0; 8]);
    packet.extend([INIT, 0]);
    packet.extend(INIT_LENGTH.to_be_bytes());
    packet.extend(tag.to_be_bytes());
    // The window; one stream each way; the first sequence number.
    packet.extend(65535_u32.to_be_bytes());
    packet.extend([0, 1, 0, 1]);
    packet.extend(1_u32.to_be_bytes());
    let checksum = CRC.checksum(&packet).to_le_bytes();
    packet[8..HEADER].copy_from_slice(&checksum);
    packet
}

/// The port and the tag of a packet that asks for a connection and is whole.
pub(super) fn read(packet: &[u8]) -> Option<(u16, u32)> {
    let mut unsummed = packet.to_vec();
    unsummed.get_mut(8..HEADER)?.fill(0);
    let checksum = u32::from_le_bytes(*packet.get(8..)?.first_chunk()?);
    let is_whole = CRC.checksum(&unsummed) == checksum;
    let is_init = packet.get(HEADER) == Some(&INIT);
    let port = u16::from_be_bytes(*packet.get(2..)?.first_chunk()?);
    let tag = u32::from_be_bytes(*packet.get(HEADER + 4..)?.first_chunk()?);
    (is_whole && is_init).then_some((port, tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc32c() {
        // The check value of the algorithm.
        assert_eq!(CRC.checksum(b"123456789"), 0xe306_9283);
        let packet = init(1000, 5000, 7);
        assert_eq!(packet.len(), HEADER + usize::from(INIT_LENGTH));
        assert_eq!(read(&packet), Some((5000, 7)));
        let mut damaged = packet;
        damaged[3] ^= 1;
        assert_eq!(read(&damaged), None);
        assert_eq!(read(&[]), None);
    }
}
