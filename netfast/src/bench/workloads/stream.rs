//! As many bytes as there can be, on one connection.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::slice::{Clock, Slice};
use super::volume::{Volume, values};
use super::{Values, sockets};
use crate::bench::cpu::CpuMeter;
use crate::bench::peers::Ends;

/// Bytes of one write, and of one read.
const PIECE: usize = 128 << 10;

/// A stream from the client to the server; what arrived is counted.
pub(super) fn run(ends: &Ends<'_>, slice: &Slice) -> Result<Values> {
    let meter = CpuMeter::new(slice.cpus());
    let arrived = AtomicU64::new(0);
    let volumes = slice.run(
        ends,
        || sockets::tcp(ends.port),
        |listener: TcpListener, clock| serve(&listener, clock, &arrived),
        |clock| {
            let mut stream = sockets::connect(ends.target)?;
            let piece = vec![0; PIECE];
            let mut start = None;
            loop {
                let now = Instant::now();
                if start.is_none() && now >= clock.warm {
                    start = Some(Volume::now(&arrived, &meter)?);
                }
                if now >= clock.end {
                    break;
                }
                ensure!(stream.write(&piece)? > 0, "the server has gone");
            }
            Ok((start.context("the stream never got going")?, Volume::now(&arrived, &meter)?))
        },
    )?;
    Ok(values(&volumes.0, &volumes.1))
}

fn serve(listener: &TcpListener, clock: &Clock<'_>, arrived: &AtomicU64) -> Result<()> {
    let (mut stream, _) = sockets::accept(listener, clock)?;
    let mut piece = vec![0; PIECE];
    while !clock.is_over() {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => {
                arrived.fetch_add(u64::try_from(length)?, Ordering::Relaxed);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
