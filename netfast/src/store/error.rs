//! Why an operation on the state files failed.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why an operation on the state files failed. The cause, where there is one, is the error's source and not
/// repeated in its own text.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("cannot {operation} {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} is damaged ({advice})")]
    Corrupt {
        /// The file. It is left as it is.
        path: PathBuf,
        /// What to try.
        advice: &'static str,
        /// Where and how it is damaged.
        source: serde_json::Error,
    },
    /// A file was written by another netfast.
    #[error(
        "{path} has schema {found}, this netfast knows {known} (use the netfast that wrote it, or move the file away)"
    )]
    Schema {
        /// The file. It is left as it is.
        path: PathBuf,
        /// The schema it has.
        found: u64,
        /// The newest one that is understood.
        known: u32,
    },
    /// A value has no JSON form, which is a fault of the program.
    #[error("cannot write {path}: its content has no JSON form")]
    Encode {
        /// The file that was to be written.
        path: PathBuf,
        /// What serde said.
        source: serde_json::Error,
    },
    /// The lock was not to be had.
    #[error("another netfast works on this instance for more than {} s: {holder} holds {path} (wait for it, or end it)", .waited.as_secs())]
    Locked {
        /// The lock's file.
        path: PathBuf,
        /// Who holds it, as far as is known.
        holder: String,
        /// For how long it was waited.
        waited: Duration,
    },
    /// Numbers that are never used again have run out.
    #[error("all {what} numbers of this instance are used up (`netfast down` and `netfast up` start anew)")]
    Exhausted {
        /// Which numbers.
        what: &'static str,
    },
}

impl StoreError {
    /// Whether the state files cannot be used as they are: one is damaged, or cannot be read or written.
    pub const fn is_of_files(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Corrupt { .. } | Self::Schema { .. })
    }

    pub(super) fn file(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { operation, path: path.into(), source }
    }
}
