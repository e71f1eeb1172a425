//! Listeners, one for every port that is probed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::net::{Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result};
use netfast_common::protocol;
use socket2::{Domain, Protocol as Transport, Socket, Type};

use super::ends::{Place, Places};
use super::sctp;
use super::send::{Shot, payload_number};
use crate::model::Protocol;

/// No packet of ours is larger.
const LARGEST: usize = 2048;

/// The length of an IPv4 header is in the lower half of its first byte, in words.
const IHL: u8 = 0xf;

/// What is listened to: a port of a place. SCTP is heard on all ports at once, by a socket for each family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ear {
    Port(Protocol, u16),
    Sctp { is_v6: bool },
}

impl Ear {
    /// Whether it hears datagrams. (Connections are seen by who asks for them.)
    const fn is_of_datagrams(&self) -> bool {
        !matches!(self, Self::Port(Protocol::Tcp, _))
    }
}

/// Sockets that hear what arrives.
pub(super) struct Listeners {
    sockets: Vec<(Place, Ear, Socket)>,
}

impl Listeners {
    /// Listens wherever the shots go to.
    pub(super) fn new(shots: &[&Shot], places: &Places) -> Result<Self> {
        let mut wanted: BTreeMap<&Place, BTreeSet<Ear>> = BTreeMap::new();
        for shot in shots {
            let ear = match shot.protocol {
                Protocol::Sctp => Ear::Sctp { is_v6: shot.destination.is_ipv6() },
                protocol => Ear::Port(protocol, shot.port),
            };
            wanted.entry(&shot.to).or_default().insert(ear);
        }
        let mut sockets = Vec::new();
        for (place, ears) in wanted {
            let netns = places.get(place).context("a place without a namespace")?;
            let opened = netns
                .run(|| ears.into_iter().map(|ear| Ok((open(&ear)?, ear))).collect::<io::Result<Vec<_>>>())?;
            sockets.extend(opened?.into_iter().map(|(socket, ear)| (place.clone(), ear, socket)));
        }
        Ok(Self { sockets })
    }

    /// The sockets that datagrams come to.
    pub(super) fn of_datagrams(&self) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().filter(|(_, ear, _)| ear.is_of_datagrams()).map(|(_, _, socket)| socket)
    }

    /// The numbers of the shots whose datagrams have arrived, where they were to.
    pub(super) fn heard(&self, shots: &[&Shot]) -> Vec<usize> {
        let mut heard = Vec::new();
        for (place, ear, socket) in self.sockets.iter().filter(|(_, ear, _)| ear.is_of_datagrams()) {
            let mut buffer = [0; LARGEST];
            let mut socket = socket;
            while let Ok(length) = socket.read(&mut buffer) {
                let Some((number, port)) = understand(ear, &buffer[..length]) else { continue };
                let is_it = |shot: &&&Shot| shot.number == number && shot.to == *place && shot.port == port;
                if shots.iter().any(|shot| is_it(&shot)) {
                    heard.push(number);
                }
            }
        }
        heard
    }
}

/// Opens a socket in the namespace of the calling thread.
fn open(ear: &Ear) -> io::Result<Socket> {
    let socket = match ear {
        Ear::Sctp { is_v6 } => {
            let domain = if *is_v6 { Domain::IPV6 } else { Domain::IPV4 };
            Socket::new(domain, Type::RAW, Some(Transport::from(i32::from(protocol::SCTP))))?
        }
        Ear::Port(Protocol::Tcp, port) => {
            let socket = dual(Type::STREAM, *port)?;
            socket.listen(1024)?;
            socket
        }
        Ear::Port(_, port) => dual(Type::DGRAM, *port)?,
    };
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A socket for a port of all addresses of both families.
fn dual(kind: Type, port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, kind, None)?;
    socket.set_only_v6(false)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    Ok(socket)
}

/// The number of the shot that a datagram is of, and the port it came to.
fn understand(ear: &Ear, datagram: &[u8]) -> Option<(usize, u16)> {
    match ear {
        Ear::Port(_, port) => Some((payload_number(datagram)?, *port)),
        Ear::Sctp { is_v6 } => {
            // Raw sockets of IPv4 get the IP header, too.
            let header = if *is_v6 { 0 } else { usize::from(datagram.first()? & IHL) * 4 };
            let (port, tag) = sctp::read(datagram.get(header..)?)?;
            Some((usize::try_from(tag).ok()?, port))
        }
    }
}
