//! Binding to a port that was given up a moment ago.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::patience::patient;

/// Binds `socket` to `address` as soon as nobody has it.
///
/// A closed socket may hold its port a little longer: a process that another test starts has a copy of it between its fork
/// and its exec.
pub fn bind_when_free(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + patient(Duration::from_secs(10));
    loop {
        match socket.bind(&address.into()) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}
