//! A small disk in the place of one of netfast's directories, which a test fills.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};

use crate::lab::Lab;

/// What such a disk is called in the list of mounts, by which it is told from what netfast leaves behind.
pub(crate) const SOURCE: &str = "netfast-test-disk";

/// What a file takes at least.
const BLOCK: usize = 4096;
/// The file that takes the room. It is none of netfast's, and no record.
const FILLER: &str = ".filler";

/// A disk of its own for one of netfast's directories.
#[derive(Debug)]
pub struct Disk<'lab> {
    lab: &'lab Lab,
    directory: PathBuf,
}

impl Lab {
    /// Puts a small disk, of so many blocks, in the place of `state` or `run`. It goes with the lab.
    pub fn small_disk(&self, name: &str, blocks: usize) -> Result<Disk<'_>> {
        let directory = self.dir().join(name);
        let options = format!("size={}", blocks * BLOCK);
        self.host.run(|| {
            mount(Some(SOURCE), &directory, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
                .with_context(|| format!("mount a disk at {}", directory.display()))
        })?;
        Ok(Disk { lab: self, directory })
    }
}

impl Disk<'_> {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Takes all room but for so many blocks.
    pub fn fill(&self, left: usize) -> Result<()> {
        let path = self.directory.join(FILLER);
        self.lab.host.run(|| {
            let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
            loop {
                match file.write(&[0; BLOCK]) {
                    Ok(_) => {}
                    Err(e) if e.kind() == ErrorKind::StorageFull => break,
                    Err(e) => return Err(e).context("fill the disk"),
                }
            }
            let block = BLOCK as u64;
            let blocks = file.metadata()?.len() / block;
            Ok(file.set_len(blocks.saturating_sub(left as u64) * block)?)
        })
    }

    /// Gives the room back.
    pub fn empty(&self) -> Result<()> {
        let path = self.directory.join(FILLER);
        self.lab.host.run(|| match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e).context("empty the disk"),
            _ => Ok(()),
        })
    }
}
