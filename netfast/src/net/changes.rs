//! Notice of changed devices and addresses.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use super::Error;

/// A socket at which the kernel tells of every change of devices and addresses in one network namespace. Readable
/// when something has changed.
#[derive(Debug)]
pub struct Changes {
    socket: OwnedFd,
}

impl Changes {
    /// Begins to listen, in the namespace of the calling thread.
    pub fn listen() -> Result<Self, Error> {
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        let open = || {
            let socket = socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                SockProtocol::NetlinkRoute,
            )?;
            bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups.unsigned_abs()))?;
            Ok(Self { socket })
        };
        open().map_err(|e: Errno| Error::system("listen for changes of", "devices and addresses", e))
    }

    /// Takes all that was told, and says whether that was anything. What has changed is for others to look up: a
    /// burst of messages may be larger than the socket's buffer, and then it is known only that there was one.
    pub fn take(&self) -> Result<bool, Error> {
        let mut buffer = [0; 8192];
        let mut found = false;
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(_) | Err(Errno::ENOBUFS) => found = true,
                Err(Errno::EAGAIN) => return Ok(found),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(Error::system("read changes of", "devices and addresses", e)),
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
