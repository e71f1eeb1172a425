//! ICMP echo by raw sockets: no `ping` program needed, and no limit of one that is setuid or rate limited.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Type};

use crate::ns::Ns;
use crate::patience::patient;
use crate::payload::Payload;
use crate::tcp::{invalid, late};

impl Ns {
    /// Sends one echo request with a small payload. Returns the round-trip time.
    pub fn ping(&self, address: &str, timeout: Duration) -> io::Result<Duration> {
        self.ping_sized(address, 56, timeout)
    }

    /// As [`Self::ping`], with a payload of `size` bytes: beyond the MTU it travels in fragments. Answers with
    /// another identifier, number or payload are not taken.
    pub fn ping_sized(&self, address: &str, size: usize, timeout: Duration) -> io::Result<Duration> {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        let address: IpAddr = address.parse().map_err(invalid)?;
        let (domain, protocol, request, answer) = match address {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 0),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129),
        };
        let mut socket = self.socket(domain, Type::RAW, Some(protocol)).map_err(io::Error::other)?;
        // Only answers from there are of interest.
        socket.connect(&SocketAddr::new(address, 0).into())?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let identifier = u16::try_from(std::process::id() & 0xffff).unwrap_or(0);
        let message = echo(request, identifier, number, size);

        let (start, timeout) = (Instant::now(), patient(timeout));
        socket.send(&message)?;
        let mut buffer = vec![0; 65_536];
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            socket.set_read_timeout(Some(left))?;
            let length = socket.read(&mut buffer).map_err(late)?;
            let mut packet = &buffer[..length];
            if address.is_ipv4() {
                // IPv4 raw sockets deliver the IP header, whose length is in its first byte.
                let header = packet.first().map_or(0, |byte| usize::from(byte & 0xf) * 4);
                packet = packet.get(header..).unwrap_or_default();
            }
            if packet.first() == Some(&answer) && packet.get(4..) == message.get(4..) {
                return Ok(start.elapsed());
            }
        }
    }
}

/// An echo request. The kernel fills in the checksum of `ICMPv6`, and overwrites what is there.
fn echo(kind: u8, identifier: u16, number: u16, size: usize) -> Vec<u8> {
    let mut message = vec![0; 8 + size];
    message[0] = kind;
    message[4..6].copy_from_slice(&identifier.to_be_bytes());
    message[6..8].copy_from_slice(&number.to_be_bytes());
    Payload::new(u64::from(number)).fill(&mut message[8..]);
    let checksum = checksum(&message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}
