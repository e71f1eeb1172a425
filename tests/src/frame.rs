//! Raw frames, from whomever to whomever: what no socket of the kernel would send.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, bail};
use etherparse::PacketBuilder;
use nix::libc;

use crate::ns::Ns;

/// Makes frames between two machines on one wire, with valid checksums.
#[derive(Clone, Copy, Debug)]
pub struct Frames {
    /// MAC address of the sender.
    pub from: [u8; 6],
    /// MAC address of the receiver.
    pub to: [u8; 6],
}

impl Frames {
    /// The first segment of a TCP connection.
    pub fn syn(&self, from: SocketAddr, to: SocketAddr, sequence: u32) -> Result<Vec<u8>> {
        self.ip(from.ip(), to.ip(), |ip| {
            let mut frame = Vec::new();
            ip.tcp(from.port(), to.port(), sequence, 64_240).syn().write(&mut frame, &[])?;
            Ok(frame)
        })
    }

    /// A datagram.
    pub fn udp(&self, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Result<Vec<u8>> {
        self.ip(from.ip(), to.ip(), |ip| {
            let mut frame = Vec::new();
            ip.udp(from.port(), to.port()).write(&mut frame, payload)?;
            Ok(frame)
        })
    }

    fn ip(
        &self,
        from: IpAddr,
        to: IpAddr,
        rest: impl FnOnce(etherparse::PacketBuilderStep<etherparse::IpHeaders>) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let ethernet = PacketBuilder::ethernet2(self.from, self.to);
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => rest(ethernet.ipv4(from.octets(), to.octets(), 64)),
            (IpAddr::V6(from), IpAddr::V6(to)) => rest(ethernet.ipv6(from.octets(), to.octets(), 64)),
            _ => bail!("{from} and {to} are of two families"),
        }
    }
}

/// One frame, sent again and again by others. Its checksums are brought up to date, not made anew, so that a flood is not
/// held up by them.
#[derive(Clone, Debug)]
pub struct Crowd {
    frame: Vec<u8>,
}

/// Where IP begins.
const L3: usize = 14;

impl Crowd {
    /// Takes a TCP or UDP frame without IP options.
    pub const fn new(frame: Vec<u8>) -> Self {
        Self { frame }
    }

    /// The frame as `from`, of the same family, sends it.
    pub fn sent_by(&mut self, from: SocketAddr) -> Vec<u8> {
        let (protocol, source, l4) = match from {
            SocketAddr::V4(_) => (self.frame[L3 + 9], L3 + 12, L3 + 20),
            SocketAddr::V6(_) => (self.frame[L3 + 6], L3 + 8, L3 + 40),
        };
        let checksum = if protocol == 6 { l4 + 16 } else { l4 + 6 };
        match from.ip() {
            IpAddr::V4(ip) => self.replace(source, &ip.octets(), &[L3 + 10, checksum]),
            IpAddr::V6(ip) => self.replace(source, &ip.octets(), &[checksum]),
        }
        self.replace(l4, &from.port().to_be_bytes(), &[checksum]);
        if protocol == 17 && self.frame[checksum..checksum + 2] == [0, 0] {
            // 0 would say that there is none.
            self.frame[checksum..checksum + 2].copy_from_slice(&[0xff, 0xff]);
        }
        self.frame.clone()
    }

    /// Replaces words, and adds the difference to checksums (RFC 1624).
    fn replace(&mut self, at: usize, new: &[u8], checksums: &[usize]) {
        let old = self.word_sum(at, new.len());
        self.frame[at..at + new.len()].copy_from_slice(new);
        let new = self.word_sum(at, new.len());
        for checksum in checksums {
            let before = u32::from(u16::from_be_bytes([self.frame[*checksum], self.frame[checksum + 1]]));
            let sum = fold((0xffff - before) + (0xffff - fold(old)) + fold(new));
            let after = u16::try_from(0xffff - sum).unwrap_or(0);
            self.frame[*checksum..checksum + 2].copy_from_slice(&after.to_be_bytes());
        }
    }

    fn word_sum(&self, at: usize, length: usize) -> u32 {
        let words = self.frame[at..at + length].chunks(2);
        words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum()
    }
}

fn fold(sum: u32) -> u32 {
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16)
}

/// The `number`-th of a crowd spread over `198.18.0.0/15` or `2001:db8:f::/64`. The first 2^31 all differ.
pub fn stranger(number: u32, is_v4: bool) -> SocketAddr {
    const BITS: u32 = 0x7fff_ffff;
    // An odd factor and a shift keep numbers apart.
    let mixed = number.wrapping_mul(0x1e37_79b1) & BITS;
    let mixed = mixed ^ (mixed >> 15);
    let port = 20_000 + u16::try_from(mixed >> 17).unwrap_or(0);
    let host = mixed & 0x1_ffff;
    let ip = if is_v4 {
        Ipv4Addr::from(0xc612_0000 | host).into()
    } else {
        Ipv6Addr::from(0x2001_0db8_000f_0000_0000_0000_0000_0000 | u128::from(host)).into()
    };
    SocketAddr::new(ip, port)
}

/// A socket that sends frames as they are, past the queue of its device.
#[derive(Debug)]
pub struct FrameSocket {
    socket: OwnedFd,
}

impl FrameSocket {
    /// Sends frames in their order; returns how many the device took.
    pub fn send(&self, frames: &[Vec<u8>]) -> Result<usize> {
        let mut parts: Vec<_> = frames
            .iter()
            .map(|frame| libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() })
            .collect();
        let mut messages: Vec<_> = parts
            .iter_mut()
            .map(|part| {
                // SAFETY: zero is valid for all of its fields.
                let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                message.msg_hdr.msg_iov = part;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        let mut sent = 0;
        while sent < messages.len() {
            let rest = &mut messages[sent..];
            let count = u32::try_from(rest.len())?;
            // SAFETY: `count` messages, each with one part that is in `frames`.
            let result = unsafe { libc::sendmmsg(self.socket.as_raw_fd(), rest.as_mut_ptr(), count, 0) };
            match usize::try_from(result) {
                Ok(0) => bail!("the device takes no frames"),
                Ok(taken) => sent += taken,
                Err(_negative) => match io::Error::last_os_error() {
                    // What past the queue is not taken at once is lost.
                    e if e.raw_os_error() == Some(libc::ENOBUFS) => sent += 1,
                    e => return Err(e).context("send frames"),
                },
            }
        }
        Ok(sent)
    }
}

impl Ns {
    /// A socket for frames at `device`.
    pub fn frame_socket(&self, device: &str) -> Result<FrameSocket> {
        self.run(|| {
            // SAFETY: a system call without pointers.
            let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
            if fd < 0 {
                return Err(io::Error::last_os_error()).context("make a socket for frames");
            }
            // SAFETY: the kernel has just returned this descriptor, and nobody else knows it.
            let socket = unsafe { OwnedFd::from_raw_fd(fd) };
            let one: libc::c_int = 1;
            let size = libc::socklen_t::try_from(size_of_val(&one))?;
            let ifindex = nix::net::if_::if_nametoindex(device)?;
            let address = libc::sockaddr_ll {
                sll_family: u16::try_from(libc::AF_PACKET)?,
                sll_protocol: 0,
                sll_ifindex: i32::try_from(ifindex)?,
                sll_hatype: 0,
                sll_pkttype: 0,
                sll_halen: 0,
                sll_addr: [0; 8],
            };
            let length = libc::socklen_t::try_from(size_of_val(&address))?;
            // SAFETY: the option is an int, and the address one of this family; both live until the calls return.
            let results = unsafe {
                [
                    libc::setsockopt(
                        fd,
                        libc::SOL_PACKET,
                        libc::PACKET_QDISC_BYPASS,
                        (&raw const one).cast(),
                        size,
                    ),
                    libc::bind(fd, (&raw const address).cast(), length),
                ]
            };
            if results != [0, 0] {
                return Err(io::Error::last_os_error()).with_context(|| format!("bind to {device}"));
            }
            Ok(FrameSocket { socket })
        })
    }

    /// The MAC address of a device.
    pub fn mac(&self, device: &str) -> Result<[u8; 6]> {
        let shown = self.ip(&format!("-o link show dev {device}"))?;
        let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether").skip(1);
        let text = words.next().with_context(|| format!("{device} has no MAC address"))?;
        let bytes: Vec<_> =
            text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
        bytes.try_into().map_err(|_bytes| anyhow::anyhow!("a strange MAC address: {text}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use etherparse::{NetHeaders, PacketHeaders, TransportHeader};

    use super::*;

    /// Recomputes all checksums of a frame and compares them with what it says.
    fn verify(frame: &[u8]) -> SocketAddr {
        let packet = PacketHeaders::from_ethernet_slice(frame).unwrap();
        let payload = packet.payload.slice();
        let source: IpAddr = match packet.net.unwrap() {
            NetHeaders::Ipv4(ip, _) => {
                assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                match packet.transport.as_ref().unwrap() {
                    TransportHeader::Tcp(tcp) => {
                        assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(&ip, payload).unwrap());
                    }
                    TransportHeader::Udp(udp) => {
                        assert_eq!(udp.checksum, udp.calc_checksum_ipv4(&ip, payload).unwrap());
                    }
                    other => panic!("{other:?}"),
                }
                ip.source.into()
            }
            NetHeaders::Ipv6(ip, _) => {
                match packet.transport.as_ref().unwrap() {
                    TransportHeader::Tcp(tcp) => {
                        assert_eq!(tcp.checksum, tcp.calc_checksum_ipv6(&ip, payload).unwrap());
                    }
                    TransportHeader::Udp(udp) => {
                        assert_eq!(udp.checksum, udp.calc_checksum_ipv6(&ip, payload).unwrap());
                    }
                    other => panic!("{other:?}"),
                }
                ip.source.into()
            }
            NetHeaders::Arp(_) => panic!("an ARP frame"),
        };
        let port = match packet.transport.unwrap() {
            TransportHeader::Tcp(tcp) => tcp.source_port,
            TransportHeader::Udp(udp) => udp.source_port,
            other => panic!("{other:?}"),
        };
        SocketAddr::new(source, port)
    }

    #[test]
    fn a_crowd_has_valid_checksums_and_different_faces() {
        let frames = Frames { from: [2, 0, 0, 0, 0, 1], to: [2, 0, 0, 0, 0, 2] };
        for (is_v4, to) in [(true, "192.0.2.1:80"), (false, "[2001:db8:99::1]:80")] {
            let to = to.parse().unwrap();
            let first = stranger(0, is_v4);
            for frame in [frames.syn(first, to, 7).unwrap(), frames.udp(first, to, b"hello\n").unwrap()] {
                let mut crowd = Crowd::new(frame);
                let mut seen = BTreeSet::new();
                for number in 0..2_000 {
                    let source = verify(&crowd.sent_by(stranger(number, is_v4)));
                    assert_eq!(source, stranger(number, is_v4));
                    assert!(seen.insert(source));
                }
            }
        }
    }
}
