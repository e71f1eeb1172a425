//! Waiting for events, signals, and the end of whoever reads what is printed.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Why waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// A signal asks for the end.
    Signal,
    /// Nobody reads standard output any more.
    Unread,
    /// There is something to read, or it is time.
    Time,
}

/// Holds signals back and waits for them, among others.
#[derive(Debug)]
pub(super) struct Waker {
    signals: SignalFd,
}

impl Waker {
    pub(super) fn new() -> Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        signals.thread_block().context("hold signals back")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self { signals: SignalFd::with_flags(&signals, flags).context("wait for signals")? })
    }

    /// Waits until there is something to read from `events`, or something else happens, or `time` is over.
    pub(super) fn wait(&self, events: &impl AsFd, time: Duration) -> Result<Wake> {
        let stdout = io::stdout();
        // Of standard output, only errors are of interest: those are told unasked.
        let mut files = [
            PollFd::new(events.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(stdout.as_fd(), PollFlags::empty()),
        ];
        let timeout = PollTimeout::try_from(time.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        match poll(&mut files, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("wait for events"),
        }
        let happened =
            |index: usize, flags| files[index].revents().is_some_and(|f: PollFlags| f.intersects(flags));
        Ok(if happened(1, PollFlags::POLLIN) {
            Wake::Signal
        } else if happened(2, PollFlags::POLLERR | PollFlags::POLLHUP) {
            Wake::Unread
        } else {
            Wake::Time
        })
    }
}
