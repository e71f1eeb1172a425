//! What stands at the end of a file, in the memory that the file was read to.

use std::ops::{Deref, Range};

/// Bytes behind others, which nobody looks at any more. To take these away would be to copy those.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    bytes: Vec<u8>,
    start: usize,
}

impl Tail {
    /// What of `bytes` is behind `start`.
    pub(super) const fn new(bytes: Vec<u8>, start: usize) -> Self {
        Self { bytes, start }
    }

    /// Puts some more behind it.
    pub fn push(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
    }

    /// Takes some away.
    ///
    /// # Panics
    /// Where there are none.
    pub fn remove(&mut self, range: Range<usize>) {
        self.bytes.drain(self.start + range.start..self.start + range.end);
    }
}

impl Deref for Tail {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

impl PartialEq for Tail {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Tail {}
