//! Removal of a device by a process that is left behind.
//!
//! The kernel takes a device out of its namespace within a millisecond and frees it after grace periods of RCU, 13 to 19 ms
//! later (`netdev_run_todo`; Linux 6.18). Whoever asks for it waits for both, in a call that nothing interrupts. So a child is
//! left to wait for the second: the process which the user waits for goes on, and usually ends before it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pipe2};
use rtnetlink::LinkUnspec;
use rtnetlink::packet_core::NLM_F_ACK;
use rtnetlink::packet_route::RouteNetlinkMessage;

use super::error::was_there;
use super::netlink::{self, Request};
use super::{Changes, Error, Netlink};

/// Number of the child's request, by which its answer is told.
const NUMBER: u32 = 1;

impl Netlink {
    /// As [`Self::delete_link`], but returns when nothing can be seen of the device any more and no packet is in it: by then an
    /// expedited grace period is over. A child of this process waits for the rest, and nobody for the child, so this is for
    /// a process that ends soon. Where that cannot be done, all is waited for.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_link_soon(&self, index: u32) -> Result<bool, Error> {
        let object = format_args!("with index {index}");
        let request = Request { operation: "delete device", object: &object };
        let ended = match self.leave_behind(index) {
            Ok(removal) => self.watch(request, index, removal)?,
            Err(error) => {
                tracing::debug!(%error, "nobody can be left behind to remove a device");
                None
            }
        };
        match ended {
            Some(is_removed) => Ok(is_removed),
            None => self.delete_link(index),
        }
    }

    /// Starts the child.
    fn leave_behind(&self, index: u32) -> Result<Removal, Error> {
        let failed = |e: io::Error| Error::system("prepare", "the removal of a device", e);
        // Before the child begins, lest the news come too early.
        let changes = self.netns().visit(Changes::listen)??;
        let socket = self.netns().visit(netlink::connect)?.map_err(failed)?;
        let message = RouteNetlinkMessage::DelLink(LinkUnspec::new_with_index(index).build());
        let request = netlink::serialize(message, NLM_F_ACK, NUMBER);
        let (report, reporter) = pipe2(OFlag::O_CLOEXEC).map_err(|e| failed(e.into()))?;
        let null = File::options().read(true).write(true).open("/dev/null").map_err(failed)?;
        // SAFETY: the child makes system calls only, of what was prepared here, and never returns.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => remove(&null, socket.as_raw_fd(), reporter.as_raw_fd(), &request),
            Ok(ForkResult::Parent { child }) => Ok(Removal { changes, report, child }),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Waits until the device is out of sight, or the child has come to an end. Returns whether the device was there, or `None`
    /// where the child was ended before it could tell.
    fn watch(&self, request: Request<'_>, index: u32, removal: Removal) -> Result<Option<bool>, Error> {
        let Removal { changes, report, child } = removal;
        loop {
            let mut watched = [
                PollFd::new(report.as_fd(), PollFlags::POLLIN),
                PollFd::new(changes.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut watched, PollTimeout::from(u16::from(netlink::PATIENCE) * 1000)) {
                Ok(0) => return Err(request.answer("the kernel does not answer")),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(Error::system(request.operation, request.object, error)),
            }
            if watched[0].any() == Some(true) {
                let told = told(report, child);
                return told
                    .map(|answer| was_there(netlink::acknowledged(&answer, NUMBER, request)))
                    .transpose();
            }
            if changes.take()? && !self.is_there(index)? {
                return Ok(Some(true));
            }
        }
    }

    /// Whether there is a device of that index. Asked by a change that changes nothing: as others' changes are waited for, a
    /// device is gone with all that belonged to it.
    fn is_there(&self, index: u32) -> Result<bool, Error> {
        was_there(self.set_link("look for device", index, LinkUnspec::new_with_index(index).build()))
    }
}

/// A removal that has begun.
struct Removal {
    /// Tells when devices change.
    changes: Changes,
    /// Where the child tells the kernel's answer.
    report: OwnedFd,
    child: Pid,
}

/// The answer that the child tells, which is at its end. `None`: it had none.
fn told(report: OwnedFd, child: Pid) -> Option<Vec<u8>> {
    let mut answer = Vec::new();
    let read = File::from(report).read_to_end(&mut answer);
    // It is gone already where this process was started with `SIGCHLD` ignored.
    let _ = waitpid(child, None);
    read.ok().map(|_| answer).filter(|answer| !answer.is_empty())
}

/// The child: sends a request, tells the answer, and ends. All else that is open it closes and its directory it leaves, so
/// that nobody takes it for the process that it comes from: pipes to whoever started that, locks, mounts.
fn remove(null: &File, socket: RawFd, reporter: RawFd, request: &[u8]) -> ! {
    let mut answer = [0_u8; 1024];
    // SAFETY: all of these are system calls with numbers and live buffers of this process, and none allocates or takes a lock.
    unsafe {
        for standard in 0..3 {
            libc::dup2(null.as_raw_fd(), standard);
        }
        libc::chdir(c"/".as_ptr());
        close_all_but([socket.min(reporter), socket.max(reporter)]);
        let sent = libc::send(socket, request.as_ptr().cast(), request.len(), 0);
        let received =
            if sent < 0 { sent } else { libc::recv(socket, answer.as_mut_ptr().cast(), answer.len(), 0) };
        if let Ok(length) = usize::try_from(received) {
            libc::write(reporter, answer.as_ptr().cast(), length);
        }
        libc::_exit(0)
    }
}

/// Closes what is open besides the standard descriptors and two others, the lower one first.
///
/// # Safety
/// Nobody may use a descriptor that is closed.
unsafe fn close_all_but([first, second]: [RawFd; 2]) {
    for (from, to) in [(3, first - 1), (first + 1, second - 1), (second + 1, RawFd::MAX)] {
        if from <= to {
            // SAFETY: it takes numbers only. What has been closed is the caller's to know.
            unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_that_somebody_has_ended_tells_nothing() {
        for (written, expected) in [(&b""[..], None), (b"answer", Some(b"answer".to_vec()))] {
            let (report, reporter) = pipe2(OFlag::O_CLOEXEC).unwrap();
            File::from(reporter).write_all(written).unwrap();
            let mut child = Command::new("true").spawn().unwrap();
            let pid = Pid::from_raw(child.id().try_into().unwrap());
            assert_eq!(told(report, pid), expected);
            assert!(child.try_wait().is_err(), "it is still there");
        }
    }
}
