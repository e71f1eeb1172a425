//! Sockets whose waiting ends when nothing moves: the library's own way of connecting and accepting goes on after an
//! interrupt.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, SockRef, Socket, Type};

use super::slice::Clock;

/// Listens for connections.
pub(super) fn tcp(port: u16) -> Result<TcpListener> {
    // The library lets a port be taken again while old connections linger.
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).with_context(|| format!("listen on port {port}"))
}

/// Takes the next connection.
pub(super) fn accept(listener: &TcpListener, clock: &Clock<'_>) -> Result<(TcpStream, SocketAddr)> {
    loop {
        if clock.is_over() {
            bail!("nobody connected");
        }
        match accept_once(listener) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            result => return result.context("accept a connection"),
        }
    }
}

fn accept_once(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, address) = SockRef::from(listener).accept()?;
    let address = address.as_socket().ok_or(ErrorKind::InvalidData)?;
    Ok((socket.into(), address))
}

/// A socket for datagrams.
pub(super) fn udp(port: u16) -> Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).with_context(|| format!("listen on port {port}"))
}

/// Connects to a server.
pub(super) fn connect(target: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.connect(&target.into()).with_context(|| format!("connect to {target}"))?;
    Ok(socket)
}
