//! Datagrams in fragments, of any size and in any order.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, bail};
use etherparse::{IpNumber, PacketBuilder};
use nix::libc;
use socket2::{Domain, Protocol, Type};

use crate::ns::Ns;

/// An IP header and as much of the payload.
pub type Piece = Vec<u8>;

/// A datagram in pieces of at most `size` bytes of IP payload, which is a multiple of 8.
pub fn udp_pieces(
    from: SocketAddr,
    to: SocketAddr,
    id: u16,
    payload: &[u8],
    size: usize,
) -> Result<Vec<Piece>> {
    let builder = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), TTL),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), TTL),
        _ => bail!("{from} and {to} are of different families"),
    };
    let mut whole = Vec::new();
    builder.udp(from.port(), to.port()).write(&mut whole, payload)?;
    let (header, payload) = whole.split_at(if from.is_ipv4() { 20 } else { 40 });
    let count = payload.chunks(size).len();
    payload
        .chunks(size)
        .enumerate()
        .map(|(number, part)| piece(header, id, number * size, number + 1 < count, part))
        .collect()
}

/// The TTL pieces are sent with.
pub const TTL: u8 = 61;

fn piece(header: &[u8], id: u16, offset: usize, more: bool, payload: &[u8]) -> Result<Piece> {
    let mut piece = header.to_vec();
    let offset = u16::try_from(offset)?;
    if header[0] >> 4 == 4 {
        piece[2..4].copy_from_slice(&u16::try_from(20 + payload.len())?.to_be_bytes());
        piece[4..6].copy_from_slice(&id.to_be_bytes());
        piece[6..8].copy_from_slice(&((offset / 8) | u16::from(more) << 13).to_be_bytes());
    } else {
        piece[4..6].copy_from_slice(&u16::try_from(8 + payload.len())?.to_be_bytes());
        piece[6] = IpNumber::IPV6_FRAGMENTATION_HEADER.0;
        piece.extend([IpNumber::UDP.0, 0]);
        piece.extend((offset | u16::from(more)).to_be_bytes());
        piece.extend(u32::from(id).to_be_bytes());
    }
    piece.extend(payload);
    Ok(piece)
}

impl Ns {
    /// Sends IP packets as they are, to where this namespace's routes lead.
    pub fn send_pieces(&self, to: IpAddr, pieces: &[Piece]) -> Result<()> {
        // Of a raw socket, the port must be 0.
        let to = SocketAddr::new(to, 0);
        let socket =
            self.socket(Domain::for_address(to), Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
        if to.is_ipv4() { socket.set_header_included_v4(true) } else { socket.set_header_included_v6(true) }?;
        for piece in pieces {
            socket.send_to(piece, &to.into())?;
        }
        Ok(())
    }
}
