//! Signals to the foreground process.
//!
//! They are held back and taken one by one, instead of being handled whenever they come: what is being done is
//! finished first, and nothing interrupts repairing or taking down.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// How waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The user wants the network to go.
    TakeDown,
    /// The process is to go, the network stays.
    Leave,
}

/// Signals held back; readable when one has come.
#[derive(Debug)]
pub(super) struct Signals(SignalFd);

impl Signals {
    /// Holds the signals back from now on, in this thread and those it will start.
    pub(super) fn hold() -> Result<Self> {
        let signals: SigSet =
            [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD].into_iter().collect();
        signals.thread_block().context("hold signals back")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&signals, flags).map(Self).context("listen for signals")
    }

    /// Takes the signals that have come, up to one that ends the process. Children that have ended are reaped.
    pub(super) fn take(&self) -> Result<Option<End>> {
        // Several children may share a signal, and one may have ended before it was held back.
        reap();
        while let Some(signal) = self.0.read_signal().context("read a signal")? {
            match Signal::try_from(signal.ssi_signo.cast_signed()) {
                Ok(Signal::SIGINT) => return Ok(Some(End::TakeDown)),
                Ok(Signal::SIGCHLD) => reap(),
                _ => return Ok(Some(End::Leave)),
            }
        }
        Ok(None)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn reap() {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(_) => return,
            Ok(status) => tracing::info!(?status, "a command ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::sys::pthread::{pthread_kill, pthread_self};

    use super::*;

    /// Sends signals to a thread that holds them back, and returns what it makes of them.
    fn end(sent: &[Signal]) -> Option<End> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let signals = Signals::hold().unwrap();
                for signal in sent {
                    pthread_kill(pthread_self(), *signal).unwrap();
                }
                signals.take().unwrap()
            });
            thread.join().unwrap()
        })
    }

    #[test]
    fn only_an_interrupt_takes_down() {
        assert_eq!(end(&[Signal::SIGINT]), Some(End::TakeDown));
        assert_eq!(end(&[Signal::SIGTERM]), Some(End::Leave));
        assert_eq!(end(&[Signal::SIGHUP]), Some(End::Leave));
        assert_eq!(end(&[Signal::SIGCHLD, Signal::SIGTERM]), Some(End::Leave));
        assert_eq!(end(&[Signal::SIGCHLD]), None);
        assert_eq!(end(&[]), None);
    }
}
