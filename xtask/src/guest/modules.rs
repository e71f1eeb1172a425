//! Kernel modules, in an order in which they can be loaded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// What netfast needs, and what its tests do: `br_netfilter` stands in the way of bridges on many a host, and
/// `ss` asks the last three. `nft_ct` brings what it takes to put fragments in order; what that needs asks
/// for a checksum, of which `depends` says nothing.
const WANTED: &[&str] = &[
    "veth",
    "bridge",
    "br_netfilter",
    "sch_ingress",
    "sch_tbf",
    "cls_bpf",
    "crc32c_generic",
    "nf_tables",
    "nft_ct",
    "tun",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
];

/// The modules of `directory` that are wanted, and those that they need, each after what it needs.
pub(crate) fn wanted(directory: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = BTreeMap::new();
    list(&directory.join("kernel"), &mut files)?;
    let mut found = Vec::new();
    for name in WANTED {
        add(name, &files, &mut found)?;
    }
    Ok(found)
}

/// Every module below `directory`, by name.
fn list(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else if let Some((name, _)) =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split_once(".ko"))
        {
            // In file names either may stand for the other.
            files.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

fn add(name: &str, files: &BTreeMap<String, PathBuf>, found: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    if found.iter().any(|(known, _)| known == name) {
        return Ok(());
    }
    // One that is part of the kernel itself has no file.
    let Some(path) = files.get(name) else { return Ok(()) };
    let module = read(path)?;
    for needed in depends(&module) {
        add(&needed.replace('-', "_"), files, found)?;
    }
    found.push((name.to_owned(), module));
    Ok(())
}

/// The module itself; Debian compresses them since 6.12 or so.
fn read(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|extension| extension == "ko") {
        return fs::read(path).with_context(|| format!("read {}", path.display()));
    }
    let output =
        Command::new("xz").args(["--decompress", "--stdout"]).arg(path).output().context("run xz")?;
    if !output.status.success() {
        bail!("decompress {}: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// Names in the line `depends=` of a module's information.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let line = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(line).split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_is_read_from_it() {
        assert_eq!(depends(b"\0license=GPL\0depends=stp,llc\0retpoline=Y\0"), ["stp", "llc"]);
        assert!(depends(b"\0license=GPL\0depends=\0name=llc\0").is_empty());
        assert!(depends(b"\x7fELF").is_empty());
    }

    #[test]
    fn a_module_comes_after_what_it_needs() {
        let directory = std::env::temp_dir().join(format!("netfast-modules-{}", std::process::id()));
        fs::create_dir_all(directory.join("kernel/net")).unwrap();
        for (file, content) in [
            ("bridge.ko", "\0depends=stp,llc\0"),
            ("stp.ko", "\0depends=llc\0"),
            ("llc.ko", "\0depends=\0"),
            ("other.ko", "\0depends=\0"),
        ] {
            fs::write(directory.join("kernel/net").join(file), content).unwrap();
        }
        let found = wanted(&directory);
        fs::remove_dir_all(&directory).unwrap();
        let names: Vec<_> = found.unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["llc", "stp", "bridge"]);
    }
}
