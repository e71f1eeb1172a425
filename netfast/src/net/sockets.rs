//! The sockets of a network namespace, as `sock_diag(7)` tells them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::libc;
use rtnetlink::sys::{Socket, protocols::NETLINK_SOCK_DIAG};

use super::{Error, Netns};

/// A port that a process holds: a TCP socket that listens or is about to, or a UDP socket without a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundSocket {
    /// IP protocol number.
    pub protocol: u8,
    /// Its address; unspecified: all of the family.
    pub addr: IpAddr,
    /// Its port.
    pub port: u16,
    /// It is an IPv6 socket that takes no IPv4 packets.
    pub only_v6: bool,
    /// Number of its file.
    pub inode: u32,
}

impl BoundSocket {
    /// Whether another socket could not be bound to `addr` and the same port.
    pub fn conflicts(&self, addr: IpAddr) -> bool {
        if self.addr == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && addr.is_ipv4() {
            return !self.only_v6;
        }
        self.addr.is_ipv4() == addr.is_ipv4()
            && (self.addr == addr || self.addr.is_unspecified() || addr.is_unspecified())
    }
}

/// Message types (`linux/sock_diag.h`, `linux/netlink.h`).
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// States (`net/tcp_states.h`) as bits. A UDP socket without a peer is "closed"; a TCP socket that is bound and does
/// not listen yet is told since Linux 6.8.
const CLOSE: u32 = 1 << 7;
const LISTEN: u32 = 1 << 10;
const BOUND_INACTIVE: u32 = 1 << 13;
/// `INET_DIAG_SKV6ONLY`: whether an IPv6 socket takes no IPv4 packets.
const ONLY_V6: u16 = 11;
/// Bytes of `struct nlmsghdr`, `struct inet_diag_req_v2` and `struct inet_diag_msg`.
const HEADER: usize = 16;
const REQUEST: usize = 56;
const MESSAGE: usize = 72;

const WHAT: (&str, &str) = ("list", "sockets");

impl Netns {
    /// The ports that processes hold in the namespace. Connections are not among them.
    pub fn bound_sockets(&self) -> Result<Vec<BoundSocket>, Error> {
        let failed = |e| Error::system(WHAT.0, WHAT.1, e);
        // A socket belongs to the namespace of the thread that opens it.
        let socket = self.run(|| Socket::new(NETLINK_SOCK_DIAG))?.map_err(failed)?;
        let mut found = Vec::new();
        for (protocol, states) in [(libc::IPPROTO_TCP, LISTEN | BOUND_INACTIVE), (libc::IPPROTO_UDP, CLOSE)] {
            for family in [libc::AF_INET, libc::AF_INET6] {
                let (family, protocol) = (family.to_ne_bytes()[0], protocol.to_ne_bytes()[0]);
                dump(&socket, family, protocol, states, &mut found)?;
            }
        }
        Ok(found)
    }
}

/// The process that holds a socket, and its name; `None` if it cannot be seen from here.
pub fn holder(inode: u32) -> Option<(u32, String)> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pid = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).find(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut links = files.filter_map(|file| fs::read_link(file.path()).ok());
        links.any(|link| link.as_os_str() == wanted.as_str())
    })?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some((pid, name.trim().to_owned()))
}

fn dump(
    socket: &Socket,
    family: u8,
    protocol: u8,
    states: u32,
    found: &mut Vec<BoundSocket>,
) -> Result<(), Error> {
    let failed = |e| Error::system(WHAT.0, WHAT.1, e);
    socket.send(&request(family, protocol, states), 0).map_err(failed)?;
    loop {
        let (datagram, _) = socket.recv_from_full().map_err(failed)?;
        let mut rest = datagram.as_slice();
        while let Some((kind, body, after)) = message(rest) {
            rest = after;
            match kind {
                SOCK_DIAG_BY_FAMILY => found.extend(bound_socket(protocol, body)),
                ERROR | DONE => {
                    let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    return match code {
                        0.. => Ok(()),
                        code => Err(failed(std::io::Error::from_raw_os_error(-code))),
                    };
                }
                _ => {}
            }
        }
    }
}

/// A request for all sockets of a kind: header, family, protocol, states; the rest, which would name one socket, is zero.
fn request(family: u8, protocol: u8, states: u32) -> [u8; HEADER + REQUEST] {
    let mut bytes = [0; HEADER + REQUEST];
    let parts: [(usize, &[u8]); 5] = [
        (0, &[HEADER.to_ne_bytes()[0].wrapping_add(REQUEST.to_ne_bytes()[0]), 0, 0, 0]),
        (4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes()),
        (6, &DUMP.to_ne_bytes()),
        (16, &[family, protocol]),
        (20, &states.to_ne_bytes()),
    ];
    for (at, part) in parts {
        bytes[at..at + part.len()].copy_from_slice(part);
    }
    bytes
}

/// Splits off the first message: its type, its body, and what follows.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Reads a `struct inet_diag_msg`: family, state, two more bytes; ports and addresses in network order; the inode last;
/// then attributes.
fn bound_socket(protocol: u8, body: &[u8]) -> Option<BoundSocket> {
    let address: [u8; 16] = *body.get(8..)?.first_chunk()?;
    let addr = if i32::from(*body.first()?) == libc::AF_INET {
        IpAddr::V4(Ipv4Addr::from(*address.first_chunk::<4>()?))
    } else {
        IpAddr::V6(Ipv6Addr::from(address)).to_canonical()
    };
    let inode = u32::from_ne_bytes(*body.get(MESSAGE - 4..)?.first_chunk()?);
    let mut attributes = body.get(MESSAGE..)?;
    let mut only_v6 = false;
    while let Some(length) = attributes.first_chunk().map(|length| usize::from(u16::from_ne_bytes(*length))) {
        let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        if kind == ONLY_V6 {
            only_v6 = attributes.get(4..length)?.first() == Some(&1);
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..).unwrap_or_default();
    }
    let port = u16::from_be_bytes(*body.get(4..)?.first_chunk()?);
    Some(BoundSocket { protocol, addr, port, only_v6, inode })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(addr: &str, only_v6: bool) -> BoundSocket {
        BoundSocket { protocol: 6, addr: addr.parse().unwrap(), port: 80, only_v6, inode: 1 }
    }

    #[test]
    fn conflicts_are_those_of_bind() {
        for (bound, only_v6, asked, wanted) in [
            ("0.0.0.0", false, "192.0.2.1", true),
            ("0.0.0.0", false, "::", false),
            ("192.0.2.1", false, "0.0.0.0", true),
            ("192.0.2.1", false, "192.0.2.1", true),
            ("192.0.2.1", false, "192.0.2.2", false),
            ("::", false, "192.0.2.1", true),
            ("::", true, "192.0.2.1", false),
            ("::", true, "::1", true),
            ("::1", false, "::", true),
            ("::1", false, "0.0.0.0", false),
        ] {
            assert_eq!(socket(bound, only_v6).conflicts(asked.parse().unwrap()), wanted, "{bound} {asked}");
        }
    }
}
