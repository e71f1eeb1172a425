//! A connection for each byte there and back.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpListener;

use anyhow::{Result, ensure};

use super::slice::{Clock, Slice};
use super::times::Times;
use super::{Values, sockets};
use crate::bench::peers::Ends;

/// What ends the server.
const END: u8 = 1;

/// Connections one after the other. The server closes them, as one of HTTP/1.0 does, so that it is the server where they
/// linger, and the client never runs out of ports.
pub(super) fn run(ends: &Ends<'_>, slice: &Slice) -> Result<Values> {
    slice.run(
        ends,
        || sockets::tcp(ends.port),
        serve,
        |clock| {
            let mut times = Times::new();
            loop {
                transact(ends, 0)?;
                if !times.note(clock) {
                    break;
                }
            }
            transact(ends, END)?;
            times.values()
        },
    )
}

fn serve(listener: TcpListener, clock: &Clock<'_>) -> Result<()> {
    let mut byte = [0];
    while byte[0] != END {
        let (mut stream, _) = sockets::accept(&listener, clock)?;
        match stream.read(&mut byte) {
            Ok(0) => {}
            Ok(_) => stream.write_all(&byte)?,
            // Accepting says whether to go on.
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    drop(listener);
    Ok(())
}

fn transact(ends: &Ends<'_>, word: u8) -> Result<()> {
    let mut socket = sockets::connect(ends.target)?;
    socket.write_all(&[word])?;
    let mut byte = [0];
    ensure!(socket.read(&mut byte)? == 1, "the server has gone");
    ensure!(socket.read(&mut byte)? == 0, "the server has not closed the connection");
    Ok(())
}
