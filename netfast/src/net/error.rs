//! What can fail here, as facts.

use std::fmt::Display;
use std::io;

use nix::errno::Errno;

/// A failed operation on the network or a process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a netlink request.
    #[error("{operation} {object}: {errno}{}", .reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default(),
        errno = io::Error::from_raw_os_error(*.errno))]
    Netlink {
        /// What was asked for, as in `create bridge`.
        operation: &'static str,
        /// What it was asked of.
        object: String,
        /// The kernel's answer, a positive errno.
        errno: i32,
        /// The kernel's own words, where it has any.
        reason: Option<String>,
    },
    /// A system call or file operation failed.
    #[error("{operation} {object}: {source}")]
    System {
        /// What was tried, as in `open network namespace`.
        operation: &'static str,
        /// What it was tried on.
        object: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The kernel's answer makes no sense to us, or did not come.
    #[error("{operation} {object}: {problem}")]
    Answer {
        /// What was asked for.
        operation: &'static str,
        /// What it was asked of.
        object: String,
        /// What is wrong with the answer.
        problem: &'static str,
    },
    /// A device name the kernel would refuse, or that would reach beyond one device.
    #[error("{0:?} is not the name of a network device")]
    DeviceName(String),
    /// A closure run inside a namespace panicked.
    #[error("a thread inside a network namespace panicked: {0}")]
    Panicked(String),
}

impl Error {
    pub(super) fn system(
        operation: &'static str,
        object: impl Display,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::System { operation, object: object.to_string(), source: source.into() }
    }

    pub(super) fn answer(operation: &'static str, object: impl Display, problem: &'static str) -> Self {
        Self::Answer { operation, object: object.to_string(), problem }
    }

    /// The errno the kernel gave, if it was the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Netlink { errno, .. } => Some(*errno),
            Self::System { source, .. } => source.raw_os_error(),
            Self::Answer { .. } | Self::DeviceName(_) | Self::Panicked(_) => None,
        }
    }

    /// Whether the object (device, address, route, neighbour, file, process) is not there.
    pub fn is_not_found(&self) -> bool {
        let codes = [Errno::ENOENT, Errno::ENODEV, Errno::ENXIO, Errno::ESRCH, Errno::EADDRNOTAVAIL];
        self.errno().is_some_and(|errno| codes.contains(&Errno::from_raw(errno)))
    }

    /// Whether the object is there already.
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(Errno::EEXIST as i32)
    }
}

/// Turns "it is not there" into `false`, success into `true`: the idempotent form of a removal.
pub(super) fn was_there(result: Result<(), Error>) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}
