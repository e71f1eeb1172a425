//! The sockets of a network namespace, as `sock_diag(7)` tells them.

use std::fs;
use std::io;
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

/// A connected socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// IP protocol number.
    pub protocol: u8,
    /// Its cookie, which no other socket gets until a reboot.
    pub cookie: u64,
    family: u8,
    /// Its `struct inet_diag_sockid`.
    id: [u8; ID],
}

impl Connection {
    /// Whether its peer is there.
    pub fn is_to(&self, addr: IpAddr, port: u16) -> bool {
        peer(self.family, &self.id) == Some((addr, port))
    }
}

/// Message types (`linux/sock_diag.h`, `linux/netlink.h`).
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_REQUEST` with `NLM_F_DUMP` and `NLM_F_ACK`.
const DUMP: u16 = 0x301;
const CHANGE: u16 = 0x5;
/// States (`net/tcp_states.h`) as bits. A UDP socket without a peer is "closed"; a TCP socket that is bound and does
/// not listen yet is told since Linux 6.8.
const ESTABLISHED: u32 = 1 << 1;
const SYN_SENT: u32 = 1 << 2;
const CLOSE: u32 = 1 << 7;
const CLOSE_WAIT: u32 = 1 << 8;
const LISTEN: u32 = 1 << 10;
const BOUND_INACTIVE: u32 = 1 << 13;
/// `INET_DIAG_SKV6ONLY`: whether an IPv6 socket takes no IPv4 packets.
const ONLY_V6: u16 = 11;
/// Bytes of `struct nlmsghdr`, `struct inet_diag_sockid` and `struct inet_diag_msg`.
const HEADER: usize = 16;
const ID: usize = 48;
const MESSAGE: usize = 72;
/// Bytes of a request: header, `struct inet_diag_req_v2`.
const REQUEST: usize = HEADER + 8 + ID;
const REQUEST_LENGTH: u32 = 72;
const _: () = assert!(REQUEST == REQUEST_LENGTH as usize);

impl Netns {
    /// The ports that processes hold in the namespace. Connections are not among them.
    pub fn bound_sockets(&self) -> Result<Vec<BoundSocket>, Error> {
        let socket = self.diagnosis()?;
        let entries = dump(&socket, LISTEN | BOUND_INACTIVE, CLOSE).map_err(failed)?;
        Ok(entries.iter().filter_map(bound_socket).collect())
    }

    /// The connected sockets of the namespace.
    pub fn connections(&self) -> Result<Vec<Connection>, Error> {
        let socket = self.diagnosis()?;
        let entries = dump(&socket, ESTABLISHED | SYN_SENT | CLOSE_WAIT, ESTABLISHED).map_err(failed)?;
        Ok(entries.iter().filter_map(connection).collect())
    }

    /// Ends a connected socket: its process is told `ECONNABORTED`. Says whether it was still there.
    pub fn end_connection(&self, connection: &Connection) -> Result<bool, Error> {
        let failed = |e| Error::system("end", "socket", e);
        let Connection { protocol, family, id, .. } = connection;
        let socket = self.diagnosis()?;
        let request = request(SOCK_DESTROY, CHANGE, *family, *protocol, u32::MAX, id);
        socket.send(&request, 0).map_err(failed)?;
        match answers(&socket, |_| ()) {
            Ok(()) => Ok(true),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(e) => Err(failed(e)),
        }
    }

    /// A socket for questions about sockets.
    fn diagnosis(&self) -> Result<Socket, Error> {
        // A socket belongs to the namespace of the thread that opens it.
        self.visit(|| Socket::new(NETLINK_SOCK_DIAG))?.map_err(failed)
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

fn failed(error: io::Error) -> Error {
    Error::system("list", "sockets", error)
}

/// What the kernel tells of a socket: the protocol asked for, and a `struct inet_diag_msg` with its attributes.
struct Entry {
    protocol: u8,
    body: Vec<u8>,
}

/// All TCP and UDP sockets in some states.
fn dump(socket: &Socket, tcp_states: u32, udp_states: u32) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for (protocol, states) in [(libc::IPPROTO_TCP, tcp_states), (libc::IPPROTO_UDP, udp_states)] {
        for family in [libc::AF_INET, libc::AF_INET6] {
            let [family, ..] = family.to_le_bytes();
            let [protocol, ..] = protocol.to_le_bytes();
            let request = request(SOCK_DIAG_BY_FAMILY, DUMP, family, protocol, states, &[0; ID]);
            socket.send(&request, 0)?;
            answers(socket, |body| found.push(Entry { protocol, body: body.to_vec() }))?;
        }
    }
    Ok(found)
}

/// Hands on the sockets of an answer, up to its end.
fn answers(socket: &Socket, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while let Some((kind, body, after)) = message(rest) {
            rest = after;
            match kind {
                SOCK_DIAG_BY_FAMILY => each(body),
                ERROR | DONE => {
                    let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    return if code < 0 { Err(io::Error::from_raw_os_error(-code)) } else { Ok(()) };
                }
                _ => {}
            }
        }
    }
}

/// A request: header, family, protocol, states, and the socket it is about, if it is about one.
fn request(kind: u16, flags: u16, family: u8, protocol: u8, states: u32, id: &[u8; ID]) -> [u8; REQUEST] {
    let mut bytes = [0; REQUEST];
    let parts: [(usize, &[u8]); 6] = [
        (0, &REQUEST_LENGTH.to_ne_bytes()),
        (4, &kind.to_ne_bytes()),
        (6, &flags.to_ne_bytes()),
        (HEADER, &[family, protocol]),
        (HEADER + 4, &states.to_ne_bytes()),
        (HEADER + 8, id),
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

/// Reads a `struct inet_diag_msg`: family, state, two more bytes, the socket's id (ports and addresses in network order,
/// device, cookie); the inode last; then attributes.
fn bound_socket(Entry { protocol, body }: &Entry) -> Option<BoundSocket> {
    let addr = address(*body.first()?, body.get(8..)?)?;
    let port = u16::from_be_bytes(*body.get(4..)?.first_chunk()?);
    let inode = u32::from_ne_bytes(*body.get(MESSAGE - 4..)?.first_chunk()?);
    let only_v6 = attribute(body.get(MESSAGE..)?, ONLY_V6).is_some_and(|value| value.first() == Some(&1));
    Some(BoundSocket { protocol: *protocol, addr, port, only_v6, inode })
}

fn connection(Entry { protocol, body }: &Entry) -> Option<Connection> {
    let id: [u8; ID] = *body.get(4..)?.first_chunk()?;
    // Two words, the lower one first.
    let cookie = [40, 44].map(|at| id.get(at..).and_then(|word| word.first_chunk()).copied());
    let [low, high] = [u32::from_ne_bytes(cookie[0]?), u32::from_ne_bytes(cookie[1]?)].map(u64::from);
    Some(Connection { protocol: *protocol, cookie: low | high << 32, family: *body.first()?, id })
}

/// Address and port of the peer, which stand after those of the socket itself.
fn peer(family: u8, id: &[u8; ID]) -> Option<(IpAddr, u16)> {
    Some((address(family, id.get(20..)?)?, u16::from_be_bytes(*id.get(2..)?.first_chunk()?)))
}

/// An address in the form of the kernel's structures: IPv4 in the first four bytes.
fn address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    if i32::from(family) == libc::AF_INET {
        return Some(IpAddr::V4(Ipv4Addr::from(*bytes.first_chunk::<4>()?)));
    }
    Some(IpAddr::V6(Ipv6Addr::from(*bytes.first_chunk::<16>()?)).to_canonical())
}

/// The value of an attribute.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?) == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
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
