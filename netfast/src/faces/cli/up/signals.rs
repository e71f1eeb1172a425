//! Waiting in the foreground.
//!
//! The signals are held back and taken one by one, instead of being handled whenever they come: what is being done is
//! finished first, and nothing interrupts taking down.

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// How waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The user wants the network to go.
    TakeDown,
    /// The process is to go, the network stays.
    Leave,
}

/// Signals held back for [`Signals::wait`].
#[derive(Debug)]
pub(super) struct Signals(SigSet);

impl Signals {
    /// Holds the signals back from now on, in this thread and those it will start.
    pub(super) fn hold() -> Result<Self> {
        let signals: SigSet =
            [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD].into_iter().collect();
        signals.thread_block().context("hold signals back")?;
        Ok(Self(signals))
    }

    /// Waits for a signal that ends the process, also one that came before. Children that end are reaped.
    pub(super) fn wait(&self) -> Result<End> {
        // Several children may share a signal, and one may have ended before it was held back.
        reap();
        loop {
            match self.0.wait() {
                Ok(Signal::SIGINT) => return Ok(End::TakeDown),
                Ok(Signal::SIGCHLD) => reap(),
                Ok(_) => return Ok(End::Leave),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("wait for a signal"),
            }
        }
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

    /// Sends signals to a thread that holds them back, and returns how its waiting ends.
    fn end(sent: &[Signal]) -> End {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let signals = Signals::hold().unwrap();
                for signal in sent {
                    pthread_kill(pthread_self(), *signal).unwrap();
                }
                signals.wait().unwrap()
            });
            thread.join().unwrap()
        })
    }

    #[test]
    fn only_an_interrupt_takes_down() {
        assert_eq!(end(&[Signal::SIGINT]), End::TakeDown);
        assert_eq!(end(&[Signal::SIGTERM]), End::Leave);
        assert_eq!(end(&[Signal::SIGHUP]), End::Leave);
        assert_eq!(end(&[Signal::SIGCHLD, Signal::SIGTERM]), End::Leave);
    }
}
