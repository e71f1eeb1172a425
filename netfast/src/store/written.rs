//! Files that only programs read. Each begins with its form and with the stamp of the file that it is about: it is void beside
//! another one. Behind what it says there may be a tail, which is read and written as it is.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::stamp::Stamp;
use super::tail::Tail;
use super::{Result, atomic};

/// What stands in such a file.
#[derive(Debug)]
pub struct Written {
    bytes: Vec<u8>,
    start: usize,
}

impl Written {
    /// The file at `path`; `None`: there is none, or it is void or of another form.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn at(path: &Path, form: [u8; 8], about: &Stamp) -> Result<Option<Self>> {
        let Some(bytes) = atomic::read_bytes(path)? else { return Ok(None) };
        let Some(stamped) = bytes.strip_prefix(&form) else { return Ok(None) };
        let Ok((stamp, content)) = postcard::take_from_bytes::<Stamp>(stamped) else { return Ok(None) };
        let start = bytes.len() - content.len();
        Ok((stamp == *about).then_some(Self { bytes, start }))
    }

    /// Writes one. Where there is no room for it there is none, and the next change looks at everything.
    ///
    /// # Errors
    /// When it cannot be written, and the one before it cannot be removed.
    pub(super) fn put(
        path: &Path,
        form: [u8; 8],
        about: &Stamp,
        content: &(impl Serialize + ?Sized),
        tail: &[u8],
    ) -> Result<()> {
        atomic::write_binary(path, &(form, about, content, tail.len()), tail).or_else(|error| {
            tracing::warn!(%error, "the next change takes longer");
            atomic::remove(path).map(drop)
        })
    }

    /// What it says, which may borrow from it. `None`: it cannot be understood.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        self.parts().filter(|(_, tail)| tail.is_empty()).map(|(content, _)| content)
    }

    /// As [`Self::read`], and what stands behind it.
    pub(super) fn read_with_tail<T: DeserializeOwned>(self) -> Option<(T, Tail)> {
        let (content, tail): (_, &[u8]) = self.parts()?;
        let start = self.bytes.len() - tail.len();
        Some((content, Tail::new(self.bytes, start)))
    }

    fn parts<'a, T: Deserialize<'a>>(&'a self) -> Option<(T, &'a [u8])> {
        let ((content, length), tail) =
            postcard::take_from_bytes::<(T, usize)>(self.bytes.get(self.start..)?).ok()?;
        (tail.len() == length).then_some((content, tail))
    }
}
