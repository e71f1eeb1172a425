//! An archive as the kernel unpacks it at boot: cpio in the "new" format, all numbers as eight hexadecimal digits.

use std::collections::BTreeSet;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// An archive in memory. Everything belongs to root and may be executed.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    paths: BTreeSet<String>,
}

impl Archive {
    /// Adds a file, with the directories above it; one that is there already stays. `path` is absolute.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        let path = path.trim_start_matches('/');
        for (slash, _) in path.match_indices('/') {
            self.directory(&path[..slash]);
        }
        if self.paths.insert(path.to_owned()) {
            self.entry(PROGRAM, path, content);
        }
    }

    fn directory(&mut self, path: &str) {
        if self.paths.insert(path.to_owned()) {
            self.entry(DIRECTORY, path, &[]);
        }
    }

    /// The whole of it.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(0, "TRAILER!!!", &[]);
        self.bytes
    }

    fn entry(&mut self, mode: u32, name: &str, content: &[u8]) {
        let inode = self.paths.len();
        let (size, name_size) = (content.len(), name.len() + 1);
        // Inode, mode, owner, group, links, time, size, four of devices, length of the name, no checksum.
        let header = format!(
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}\
             {name_size:08x}{0:08x}",
            0, 1
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Names and contents begin at multiples of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_first_and_once_and_everything_is_aligned() {
        let mut archive = Archive::default();
        archive.file("/a/b", b"12345");
        archive.file("/a/c", b"");
        archive.file("/a/b", b"other");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap();
        let names: Vec<_> = text
            .match_indices("070701")
            .map(|(at, _)| {
                assert_eq!(at % 4, 0);
                text[at + 110..].split('\0').next().unwrap()
            })
            .collect();
        assert_eq!(names, ["a", "a/b", "a/c", "TRAILER!!!"]);
        assert!(text.contains("12345\0\0\x00070701") && !text.contains("other"));
    }
}
