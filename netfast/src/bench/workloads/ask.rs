//! A byte there and a byte back, over and over.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use anyhow::{Context as _, Result, ensure};

use super::slice::Slice;
use super::times::Times;
use super::{Values, sockets};
use crate::bench::peers::Ends;

/// By TCP, on one connection.
pub(super) fn tcp(ends: &Ends<'_>, slice: &Slice) -> Result<Values> {
    slice.run(
        ends,
        || sockets::tcp(ends.port),
        |listener: TcpListener, clock| {
            let (mut stream, _) = sockets::accept(&listener, clock)?;
            stream.set_nodelay(true)?;
            let mut byte = [0];
            while !clock.is_over() {
                match stream.read(&mut byte) {
                    Ok(0) => break,
                    Ok(_) => stream.write_all(&byte)?,
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) => return Err(e.into()),
                }
            }
            Ok(())
        },
        |clock| {
            let mut stream = sockets::connect(ends.target)?;
            stream.set_tcp_nodelay(true)?;
            let mut times = Times::new();
            let mut byte = [0];
            loop {
                stream.write_all(&byte)?;
                ensure!(stream.read(&mut byte)? == 1, "the server has gone");
                if !times.note(clock) {
                    return times.values();
                }
            }
        },
    )
}

/// What ends a server of datagrams.
const END: u8 = 1;

/// By UDP, from one port.
pub(super) fn udp(ends: &Ends<'_>, slice: &Slice) -> Result<Values> {
    slice.run(
        ends,
        || sockets::udp(ends.port),
        |socket: UdpSocket, clock| {
            let mut byte = [0];
            while !clock.is_over() {
                match socket.recv_from(&mut byte) {
                    Ok((_, from)) => {
                        socket.send_to(&byte, from)?;
                        if byte[0] == END {
                            break;
                        }
                    }
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) => return Err(e.into()),
                }
            }
            Ok(())
        },
        |clock| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect(ends.target).with_context(|| format!("connect to {}", ends.target))?;
            let mut times = Times::new();
            let mut byte = [0];
            loop {
                socket.send(&byte)?;
                socket.recv(&mut byte)?;
                if byte[0] == END {
                    return times.values();
                }
                if !times.note(clock) {
                    byte[0] = END;
                }
            }
        },
    )
}
