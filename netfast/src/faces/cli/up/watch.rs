//! Staying in the foreground: follows the files and the host, and repairs what breaks.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::super::{error, output};
use super::follow::Follow;
use super::signals::{End, Signals};
use crate::net::Changes;
use crate::reconcile::instance::{Instance, Options};

/// How often it looks without being told to: nothing tells of a program that was detached, or of a file that changed on
/// another machine.
const PERIOD: Duration = Duration::from_secs(10);
/// How long nothing must have changed before it looks: changes come in bursts.
const QUIET: Duration = Duration::from_millis(100);
/// Where changes do not end, it looks after this time.
const BURST: Duration = Duration::from_secs(1);

/// What it waits for.
pub(super) struct Watch<'a> {
    options: &'a Options,
    signals: &'a Signals,
    follow: Follow,
    changes: Changes,
    /// What was said already and still holds.
    said: BTreeSet<String>,
}

/// Why waiting ended.
enum Wake {
    End(End),
    /// A file may have.
    FileChanged,
    /// A device or an address has.
    HostChanged,
    Elapsed,
}

impl<'a> Watch<'a> {
    /// Begins to listen. `said`: what the user has been told of what is not as it should be.
    pub(super) fn new(
        options: &'a Options,
        signals: &'a Signals,
        follow: Follow,
        said: &[String],
    ) -> Result<Self> {
        let changes = Changes::listen().context("follow the host")?;
        Ok(Self { options, signals, follow, changes, said: said.iter().cloned().collect() })
    }

    /// Stays until a signal ends it, or another command has taken the instance down: then nothing is left to take
    /// down.
    pub(super) fn stay(mut self) -> Result<End> {
        // What changed before it listened.
        let mut is_whole = self.look();
        loop {
            let next = Instant::now() + PERIOD;
            match is_whole {
                Some(true) => match self.wait(next)? {
                    Wake::End(end) => return Ok(end),
                    Wake::FileChanged | Wake::HostChanged => {
                        if let Some(end) = self.settle()? {
                            return Ok(end);
                        }
                    }
                    Wake::Elapsed => {}
                },
                // What was tried and failed may itself have changed devices: trying again at once would never end.
                Some(false) => loop {
                    match self.wait(next)? {
                        Wake::End(end) => return Ok(end),
                        Wake::HostChanged => {}
                        Wake::FileChanged | Wake::Elapsed => break,
                    }
                },
                None => {
                    output::line("taken down by another command")?;
                    return Ok(End::Leave);
                }
            }
            is_whole = self.look();
        }
    }

    /// Waits until changes have come to rest.
    fn settle(&self) -> Result<Option<End>> {
        let last = Instant::now() + BURST;
        loop {
            match self.wait((Instant::now() + QUIET).min(last))? {
                Wake::End(end) => return Ok(Some(end)),
                Wake::FileChanged | Wake::HostChanged if Instant::now() < last => {}
                Wake::FileChanged | Wake::HostChanged | Wake::Elapsed => return Ok(None),
            }
        }
    }

    fn wait(&self, until: Instant) -> Result<Wake> {
        loop {
            if let Some(end) = self.signals.take()? {
                return Ok(Wake::End(end));
            }
            if self.follow.notices().take()? {
                return Ok(Wake::FileChanged);
            }
            if self.changes.take()? {
                return Ok(Wake::HostChanged);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Wake::Elapsed);
            }
            // A millisecond more, as the rest of one is cut off.
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            let sources = [self.signals.as_fd(), self.follow.notices().as_fd(), self.changes.as_fd()];
            match poll(&mut sources.map(|fd| PollFd::new(fd, PollFlags::POLLIN)), timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(e).context("wait for a change"),
            }
        }
    }

    /// Looks at the files and at everything else, and repairs; tells what is new. `false`: repairing failed; `None`: there is nothing any more.
    fn look(&mut self) -> Option<bool> {
        self.follow.look(self.options);
        let (left, is_whole) = match Instance::repair(self.options) {
            Ok(None) => return None,
            Ok(Some(repair)) => {
                for what in &repair.repaired {
                    output::complain(&format!("netfast: repaired: {what}"));
                }
                (repair.left, true)
            }
            Err(failure) => (vec![error::render(&failure.context("repair"), false)], false),
        };
        for what in left.iter().filter(|what| !self.said.contains(*what)) {
            let prefix = if is_whole { "netfast: " } else { "" };
            output::complain(&format!("{prefix}{what}"));
        }
        self.said = left.into_iter().collect();
        Some(is_whole)
    }
}
