//! Whole frames at a device: sent as they are, and those that come in.

use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use etherparse::SlicedPacket;
use nix::libc;
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

use crate::ns::Ns;

/// Room for the largest packet that is handed over in one piece.
const LARGEST: usize = 1 << 17;

/// A socket that hears every frame coming in at a device, from its making on, and sends frames out of it.
#[derive(Debug)]
pub struct Raw {
    socket: Socket,
}

impl Ns {
    /// Opens a device for whole frames.
    pub fn raw(&self, device: &str) -> Result<Raw> {
        let index = self.run(|| Ok(nix::net::if_::if_nametoindex(device)?))?;
        let socket = self.socket(Domain::PACKET, Type::RAW, None)?;
        socket.set_recv_buffer_size(4 << 20)?;
        let on: libc::c_int = 1;
        // SAFETY: the option's value is an integer that lives through the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_IGNORE_OUTGOING,
                (&raw const on).cast(),
                4,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error().into());
        }
        socket.bind(&all_of(index)?)?;
        Ok(Raw { socket })
    }
}

impl Raw {
    /// Sends a frame, Ethernet header and all.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(drop)
    }

    /// The next frame that came in, if one does within `timeout`.
    pub fn next(&self, timeout: Duration) -> Option<Vec<u8>> {
        self.socket.set_read_timeout(Some(timeout.max(Duration::from_micros(1)))).ok()?;
        let mut buffer = vec![0; LARGEST];
        let length = (&self.socket).read(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }

    /// The first frame within `timeout` that can be parsed and is wanted; of those that are there already, any.
    pub fn find(
        &self,
        timeout: Duration,
        mut wanted: impl FnMut(&SlicedPacket<'_>) -> bool,
    ) -> Option<Vec<u8>> {
        let deadline = Instant::now() + timeout;
        loop {
            let frame = self.next(deadline.saturating_duration_since(Instant::now()))?;
            if SlicedPacket::from_ethernet(&frame).is_ok_and(|packet| wanted(&packet)) {
                return Some(frame);
            }
        }
    }
}

/// The address of a packet socket that gets every protocol at one device.
fn all_of(index: u32) -> Result<SockAddr> {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the structure begins as every socket address does, and zeroes are a valid rest.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = u16::try_from(libc::AF_PACKET)?;
    address.sll_protocol = u16::try_from(libc::ETH_P_ALL)?.to_be();
    address.sll_ifindex = index.cast_signed();
    // SAFETY: a whole address was written.
    Ok(unsafe { SockAddr::new(storage, u32::try_from(size_of::<libc::sockaddr_ll>())?) })
}
