//! UDP between namespaces: a server that tells what it saw, and clients that check it.
//!
//! A question is a line of decimal digits (so that a late answer is not taken for this one's), padded with
//! zero bytes to the size wanted. The answer is `number hash peer local name`, padded to the same size.

use std::io;
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use socket2::{Domain, SockRef, Socket, Type};

use crate::bind::bind_when_free;
use crate::ns::Ns;
use crate::patience::patient;
use crate::payload::{Hash, Payload};
use crate::tcp::{Reply, invalid, late, plain};

/// Room for the longest answer.
const SMALLEST: usize = 256;

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct UdpServer {
    socket: UdpSocket,
    address: SocketAddr,
}

impl UdpServer {
    /// The address it listens at; the port is the real one where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        // An unconnected socket refuses this, and wakes its readers all the same.
        drop(SockRef::from(&self.socket).shutdown(Shutdown::Both));
    }
}

impl Ns {
    /// Serves UDP at `address`, which should be one address: answers leave from the one the route prefers.
    pub fn udp_serve(&self, address: &str) -> Result<UdpServer> {
        let address: SocketAddr = address.parse()?;
        let socket = self.socket(Domain::for_address(address), Type::DGRAM, None)?;
        bind_when_free(&socket, address)?;
        let socket: UdpSocket = socket.into();
        let address = socket.local_addr()?;
        let (serving, name) = (socket.try_clone()?, self.name().to_owned());
        thread::spawn(move || serve(&serving, address, &name));
        Ok(UdpServer { socket, address })
    }

    /// Asks `address` once from a new socket; a datagram that is lost is not sent again.
    pub fn udp_ask(&self, address: &str, timeout: Duration) -> io::Result<Reply> {
        self.udp_ask_sized(address, SMALLEST, timeout)
    }

    /// As [`Self::udp_ask`], with a payload of `size` bytes each way: beyond the MTU it travels in fragments.
    pub fn udp_ask_sized(&self, address: &str, size: usize, timeout: Duration) -> io::Result<Reply> {
        let address: SocketAddr = address.parse().map_err(invalid)?;
        let socket = self.socket_for(address, Type::DGRAM, None)?;
        socket.connect(&address.into())?;
        udp_ask_on(&socket, size, timeout)
    }

    /// A connected socket for several questions of one flow, with [`udp_ask_on`].
    pub fn udp_connect(&self, from: Option<SocketAddr>, address: &str) -> io::Result<Socket> {
        let address: SocketAddr = address.parse().map_err(invalid)?;
        let socket = self.socket_for(address, Type::DGRAM, from)?;
        socket.connect(&address.into())?;
        Ok(socket)
    }
}

/// Asks once on a connected socket.
pub fn udp_ask_on(socket: &Socket, size: usize, timeout: Duration) -> io::Result<Reply> {
    let question = UdpQuestion::new(size);
    socket.send(question.payload())?;
    question.answered(socket, timeout)
}

/// A question that is not sent yet.
#[derive(Debug)]
pub struct UdpQuestion {
    number: u64,
    payload: Vec<u8>,
}

impl UdpQuestion {
    /// A question of `size` bytes, and a few at least.
    pub fn new(size: usize) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut payload = padded(&format!("{number}\n"), size.max(SMALLEST));
        Payload::new(number).fill(&mut payload[SMALLEST..]);
        Self { number, payload }
    }

    /// What is to be sent.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Waits for the answer on the connected socket the question seems to come from.
    pub fn answered(&self, socket: &Socket, timeout: Duration) -> io::Result<Reply> {
        let mut hash = Hash::new();
        hash.update(&self.payload);
        wait(socket, self.number, &hash.value().to_string(), self.payload.len(), timeout)
    }
}

fn wait(socket: &Socket, number: u64, hash: &str, size: usize, timeout: Duration) -> io::Result<Reply> {
    let socket: UdpSocket = socket.try_clone()?.into();
    let deadline = Instant::now() + patient(timeout);
    let mut buffer = vec![0; 65_536];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut buffer).map_err(late)?;
        let line = first_line(&buffer[..length]);
        let Some(rest) = line.strip_prefix(&format!("{number} ")) else { continue };
        let (seen, rest) = rest.split_once(' ').ok_or_else(|| invalid("a strange answer"))?;
        if seen != hash || length != size {
            return Err(invalid("the server got another datagram than was sent"));
        }
        return Reply::parse(rest, plain(socket.local_addr()?), plain(socket.peer_addr()?));
    }
}

fn serve(socket: &UdpSocket, address: SocketAddr, name: &str) {
    let mut buffer = vec![0; 65_536];
    // A shut-down socket reads as an empty datagram.
    while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
        if length == 0 {
            return;
        }
        let question = &buffer[..length];
        let mut hash = Hash::new();
        hash.update(question);
        let line =
            format!("{} {} {} {} {name}\n", first_line(question), hash.value(), plain(peer), plain(address));
        drop(socket.send_to(&padded(&line, length), peer));
    }
}

fn first_line(datagram: &[u8]) -> String {
    let line = datagram.split(|byte| *byte == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(line).into_owned()
}

fn padded(line: &str, size: usize) -> Vec<u8> {
    let mut bytes = line.as_bytes().to_vec();
    bytes.resize(size.max(bytes.len()), 0);
    bytes
}
