//! Probes as packets: all at once, and then what arrives is waited for.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use netfast_common::protocol;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol as Transport, SockAddr, Socket, Type};

use super::ends::{Place, Places};
use super::listen::Listeners;
use super::sctp;
use super::subnets::Plan;
use crate::cases::world::Scene;
use crate::manifest::cases::{End, Probe};
use crate::model::Protocol;

/// How many are sent at once: each takes a socket or two.
pub(super) const VOLLEY: usize = 128;

/// What has not arrived this long after all that was awaited has, will not.
const QUIET: Duration = Duration::from_millis(200);
/// What has not arrived by then, will not, though it was awaited.
const PATIENCE: Duration = Duration::from_secs(3);
/// When a datagram is sent again that is awaited: one may be lost while neighbours are looked for.
const AGAIN: Duration = Duration::from_millis(250);

/// The first source port of SCTP, whose sockets have none.
const FIRST_SOURCE: u16 = 20_000;

/// What a datagram begins with.
const MAGIC: [u8; 4] = *b"nfct";

/// A probe that can be sent.
#[derive(Clone, Debug)]
pub(super) struct Shot {
    /// What tells it from the others of its case.
    pub(super) number: usize,
    from: Place,
    pub(super) to: Place,
    /// The address to send from; `None`: the host's routes decide.
    source: Option<IpAddr>,
    pub(super) destination: IpAddr,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    /// It is expected to arrive.
    pub(super) is_awaited: bool,
}

/// What became of a shot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It arrived.
    Seen,
    /// It did not.
    NotSeen,
    /// It never left.
    Unsent(String),
}

impl Shot {
    /// Aims a probe; or says why it cannot be sent.
    pub(super) fn new(number: usize, probe: &Probe, scene: &Scene, plan: &Plan) -> Result<Self, String> {
        let family = scene.family(probe)?;
        let (from, to) = (scene.known(&probe.from), scene.known(&probe.to));
        if ![&from, &to].iter().any(|end| matches!(end, End::Endpoint(_))) {
            return Err("no endpoint is at either end: netfast has no part in it".to_owned());
        }
        for end in [&from, &to] {
            if let End::Address(address) = end {
                if !is_ordinary(*address) {
                    return Err(format!("nobody outside can have the address {address}"));
                }
                if let Some(net) = plan.subnet_of(*address) {
                    return Err(format!("{address} is in {net}, which has to hold the endpoints"));
                }
            }
        }
        let source = if from == End::Node { None } else { scene.address(&from, family) };
        let destination = scene.address(&to, family).ok_or("no address")?;
        let Probe { port, protocol, .. } = *probe;
        let (from, to) = (Place::from(from), Place::from(to));
        Ok(Self { number, from, to, source, destination, port, protocol, is_awaited: false })
    }

    /// Opens its socket in the namespace of the calling thread, and begins.
    fn begin(&self) -> io::Result<Socket> {
        let domain = Domain::for_address(SocketAddr::new(self.destination, 0));
        let (kind, transport) = match self.protocol {
            Protocol::Tcp => (Type::STREAM, None),
            Protocol::Udp => (Type::DGRAM, None),
            Protocol::Sctp => (Type::RAW, Some(Transport::from(i32::from(protocol::SCTP)))),
        };
        let socket = Socket::new(domain, kind, transport)?;
        socket.set_nonblocking(true)?;
        if let Some(source) = self.source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        if self.protocol == Protocol::Tcp {
            match socket.connect(&SocketAddr::new(self.destination, self.port).into()) {
                Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => return Err(error),
                _ => {}
            }
        } else {
            self.send(&socket)?;
        }
        Ok(socket)
    }

    /// Sends its datagram.
    fn send(&self, socket: &Socket) -> io::Result<()> {
        let (packet, address): (Vec<u8>, SockAddr) = match self.protocol {
            Protocol::Sctp => {
                let number = u32::try_from(self.number).unwrap_or(u32::MAX);
                let source = FIRST_SOURCE.wrapping_add(u16::try_from(self.number % 10_000).unwrap_or(0));
                // A raw socket's address has no port.
                (sctp::init(source, self.port, number), SocketAddr::new(self.destination, 0).into())
            }
            _ => (payload(self.number), SocketAddr::new(self.destination, self.port).into()),
        };
        socket.send_to(&packet, &address).map(drop)
    }
}

/// Whether an address can be somebody's outside.
pub(super) fn is_ordinary(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.octets()[0] == 0 || v4.is_loopback() || v4.is_multicast() || v4.octets()[0] >= 240)
        }
        IpAddr::V6(v6) => {
            !(v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() || v6.is_unicast_link_local())
        }
    }
}

fn payload(number: usize) -> Vec<u8> {
    [&MAGIC[..], &u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes()].concat()
}

/// The number of the shot that a datagram is of.
pub(super) fn payload_number(datagram: &[u8]) -> Option<usize> {
    let number = datagram.strip_prefix(&MAGIC)?.first_chunk()?;
    usize::try_from(u32::from_be_bytes(*number)).ok()
}

/// A shot under way.
struct Flight<'a> {
    shot: &'a Shot,
    socket: Option<Socket>,
    arrival: Arrival,
}

/// Sends all shots at once, and says what became of each.
pub(super) fn fire(shots: &[&Shot], places: &Places) -> Result<Vec<Arrival>> {
    let listeners = Listeners::new(shots, places)?;
    let mut flights = begin(shots, places)?;
    let start = Instant::now();
    let (mut last, mut again) = (start, start + AGAIN);
    loop {
        let now = Instant::now();
        let is_awaited =
            flights.iter().any(|flight| flight.shot.is_awaited && flight.arrival == Arrival::NotSeen);
        let end = if is_awaited { start + PATIENCE } else { last + QUIET };
        if now >= end {
            break;
        }
        if now >= again {
            again = now + AGAIN;
            flights.iter().for_each(Flight::send_again);
        }
        wait(&flights, &listeners, end.min(again) - now)?;
        let heard = listeners.heard(shots);
        for flight in flights.iter_mut().filter(|flight| flight.arrival == Arrival::NotSeen) {
            flight.arrival = flight.look(&heard);
            if flight.arrival != Arrival::NotSeen {
                last = Instant::now();
            }
        }
    }
    Ok(flights.into_iter().map(|flight| flight.arrival).collect())
}

/// Opens the sockets of all shots, place by place, and begins.
fn begin<'a>(shots: &[&'a Shot], places: &Places) -> Result<Vec<Flight<'a>>> {
    let mut by_place: BTreeMap<&Place, Vec<usize>> = BTreeMap::new();
    for (index, shot) in shots.iter().enumerate() {
        by_place.entry(&shot.from).or_default().push(index);
    }
    let mut sockets: BTreeMap<usize, io::Result<Socket>> = BTreeMap::new();
    for (place, indices) in by_place {
        let netns = places.get(place).context("a place without a namespace")?;
        let begun =
            netns.run(|| indices.into_iter().map(|at| (at, shots[at].begin())).collect::<Vec<_>>())?;
        sockets.extend(begun);
    }
    let flights = shots.iter().zip(sockets.into_values());
    Ok(flights
        .map(|(shot, socket)| match socket {
            Ok(socket) => Flight { shot, socket: Some(socket), arrival: Arrival::NotSeen },
            Err(error) => Flight { shot, socket: None, arrival: Arrival::Unsent(error.to_string()) },
        })
        .collect())
}

impl Flight<'_> {
    /// A connection is made by whoever answers; a datagram was heard.
    fn look(&self, heard: &[usize]) -> Arrival {
        if heard.contains(&self.shot.number) {
            return Arrival::Seen;
        }
        let Some(socket) = self.socket.as_ref().filter(|_| self.shot.protocol == Protocol::Tcp) else {
            return Arrival::NotSeen;
        };
        match socket.take_error() {
            Ok(Some(error)) | Err(error) => Arrival::Unsent(error.to_string()),
            Ok(None) if socket.peer_addr().is_ok() => Arrival::Seen,
            Ok(None) => Arrival::NotSeen,
        }
    }

    fn send_again(&self) {
        let is_lost = self.arrival == Arrival::NotSeen && self.shot.is_awaited;
        if let Some(socket) = self.socket.as_ref().filter(|_| is_lost && self.shot.protocol != Protocol::Tcp)
        {
            // If it cannot be sent, it does not arrive.
            drop(self.shot.send(socket));
        }
    }
}

/// Waits until something may have arrived.
fn wait(flights: &[Flight<'_>], listeners: &Listeners, timeout: Duration) -> Result<()> {
    let connecting = flights
        .iter()
        .filter(|flight| flight.arrival == Arrival::NotSeen && flight.shot.protocol == Protocol::Tcp);
    let mut fds: Vec<PollFd<'_>> = connecting
        .filter_map(|flight| flight.socket.as_ref())
        .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLOUT))
        .collect();
    fds.extend(listeners.of_datagrams().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
    // A millisecond more, as the rest of one is cut off.
    let timeout = PollTimeout::try_from(timeout + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error).context("wait for packets"),
    }
}
