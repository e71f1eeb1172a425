//! As many datagrams as there can be.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::slice::{Clock, Slice};
use super::volume::{Volume, values};
use super::{Values, sockets};
use crate::bench::cpu::CpuMeter;
use crate::bench::metric::Metric;
use crate::bench::peers::Ends;

/// Bytes of a datagram: with its headers it fills a packet.
const LENGTH: usize = 1472;
/// What ends the server: a datagram of one byte. It may be lost as others are, so it is sent until the server has heard it.
const END: usize = 1;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(5);

/// A flood of datagrams; what arrived is counted.
pub(super) fn run(ends: &Ends<'_>, slice: &Slice) -> Result<Values> {
    let meter = CpuMeter::new(slice.cpus());
    let arrived = AtomicU64::new(0);
    let is_heard = AtomicU64::new(0);
    let (start, end, sent) = slice.run(
        ends,
        || sockets::udp(ends.port),
        |socket: UdpSocket, clock| serve(&socket, clock, &arrived, &is_heard),
        |clock| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect(ends.target).with_context(|| format!("connect to {}", ends.target))?;
            let datagram = [0; LENGTH];
            let (mut start, mut sent) = (None, 0_u64);
            loop {
                let now = Instant::now();
                if start.is_none() && now >= clock.warm {
                    (start, sent) = (Some(Volume::now(&arrived, &meter)?), 0);
                }
                if now >= clock.end {
                    break;
                }
                match socket.send(&datagram) {
                    Ok(length) => sent += u64::try_from(length)?,
                    // The way is full.
                    Err(e) if e.raw_os_error() == Some(nix::libc::ENOBUFS) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            let end = Volume::now(&arrived, &meter)?;
            while is_heard.load(Ordering::Relaxed) == 0 && !clock.is_over() {
                // Once the server is gone, an answer says so.
                drop(socket.send(&datagram[..END]));
                std::thread::sleep(PAUSE);
            }
            Ok((start.context("the flood never got going")?, end, sent))
        },
    )?;
    let mut values = values(&start, &end);
    values.insert(Metric::LostPercent, lost(sent, end.bytes() - start.bytes()));
    Ok(values)
}

#[expect(clippy::cast_precision_loss, reason = "no slice moves 2^52 bytes")]
fn lost(sent: u64, arrived: u64) -> f64 {
    if sent == 0 { 0.0 } else { (100.0 * (1.0 - arrived as f64 / sent as f64)).max(0.0) }
}

fn serve(socket: &UdpSocket, clock: &Clock<'_>, arrived: &AtomicU64, is_heard: &AtomicU64) -> Result<()> {
    let mut datagram = [0; LENGTH];
    while !clock.is_over() {
        match socket.recv(&mut datagram) {
            Ok(END) => break,
            Ok(length) => {
                arrived.fetch_add(u64::try_from(length)?, Ordering::Relaxed);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    is_heard.store(1, Ordering::Relaxed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_a_share_of_what_was_sent() {
        for (sent, arrived, share) in [(0, 0, 0.0), (100, 100, 0.0), (200, 150, 25.0), (100, 101, 0.0)] {
            assert!((lost(sent, arrived) - share).abs() < 1e-9, "{sent} {arrived}");
        }
    }
}
