//! The `hosts` file of an endpoint.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Names of one endpoint and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostsEntry {
    /// Its names, the most important first.
    pub names: Vec<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Makes the text of a `hosts` file: the usual lines of the loopback addresses, then the entries in their order.
pub fn hosts_text(entries: &[HostsEntry]) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    entries.iter().for_each(|entry| text.push_str(&lines(entry)));
    text
}

/// The lines of one entry.
fn lines(entry: &HostsEntry) -> String {
    let mut text = String::new();
    if !entry.names.is_empty() {
        for address in &entry.addresses {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{address}\t{}", entry.names.join(" "));
        }
    }
    text
}

/// Adds an entry to the end of a file.
pub fn add_hosts(path: &Path, entry: &HostsEntry) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(lines(entry).as_bytes())
}

/// Removes the lines of an entry's addresses from a file, in place.
pub fn remove_hosts(path: &Path, entry: &HostsEntry) -> io::Result<()> {
    let text = fs::read_to_string(path)?;
    let addresses: Vec<String> = entry.addresses.iter().map(ToString::to_string).collect();
    let is_its = |line: &str| {
        line.split_once('\t').is_some_and(|(address, _)| addresses.iter().any(|own| own == address))
    };
    let rest: String = text.split_inclusive('\n').filter(|line| !is_its(line)).collect();
    rewrite_in_place(path, &rest)
}

/// Makes a file hold `text` without replacing it: what is bind-mounted elsewhere is the inode. Written over from the
/// start and then cut, so that a reader in between sees old and new lines but never an empty file. Made (0644) if it is
/// not there, not touched if it holds the text already.
pub fn rewrite_in_place(path: &Path, text: &str) -> io::Result<()> {
    match fs::read(path) {
        Ok(old) if old == text.as_bytes() => return Ok(()),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(path)?;
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn every_address_has_all_names() {
        let entries = [
            HostsEntry {
                names: vec!["web".to_owned(), "web.shop".to_owned()],
                addresses: vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            },
            HostsEntry { names: Vec::new(), addresses: vec!["10.0.0.3".parse().unwrap()] },
        ];
        let text = hosts_text(&entries);
        assert!(text.ends_with("loopback\n10.0.0.2\tweb web.shop\nfd00::2\tweb web.shop\n"), "{text}");
    }

    #[test]
    fn entries_come_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        let entry = |name: &str, addresses: [&str; 2]| HostsEntry {
            names: vec![name.to_owned(), "alias".to_owned()],
            addresses: addresses.map(|a| a.parse().unwrap()).into(),
        };
        let (web, db) = (entry("web", ["10.0.0.2", "fd00::2"]), entry("db", ["10.0.0.20", "fd00::20"]));
        rewrite_in_place(&path, &hosts_text(std::slice::from_ref(&web))).unwrap();
        add_hosts(&path, &db).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), hosts_text(&[web.clone(), db.clone()]));
        remove_hosts(&path, &web).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), hosts_text(&[db]));
    }

    #[test]
    fn the_inode_stays_and_the_rest_of_the_old_text_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        rewrite_in_place(&path, "a long first text\n").unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        rewrite_in_place(&path, "short\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "short\n");
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    }
}
