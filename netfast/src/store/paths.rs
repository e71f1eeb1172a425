//! Where an instance keeps its state.

use std::io;
use std::path::{Path, PathBuf};

use super::{Result, StoreError};

const STATE_DIR: &str = "/var/lib/netfast";
const RUN_DIR: &str = "/run/netfast";
const BPFFS: &str = "/sys/fs/bpf/netfast";

/// Where an instance keeps its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// What survives a reboot.
    pub state_dir: PathBuf,
    /// What does not, with the lock.
    pub run_dir: PathBuf,
    /// Pinned programs and maps.
    pub bpffs: PathBuf,
    /// The cgroup whose sockets reach published ports; `None`: that of all processes.
    pub cgroup: Option<PathBuf>,
}

/// What a user said of the paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathsOptions {
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `--run-dir`; without it, the state directory decides.
    pub run_dir: Option<PathBuf>,
    /// `--bpffs`.
    pub bpffs: Option<PathBuf>,
    /// `--cgroup`.
    pub cgroup: Option<PathBuf>,
}

impl Paths {
    /// Fills in what was not said. Touches nothing; the paths become absolute and, as far as they exist, free of
    /// symbolic links, so that one directory under two names is one instance.
    ///
    /// # Errors
    /// When a path cannot be resolved.
    pub fn resolve(options: PathsOptions) -> Result<Self> {
        let resolve =
            |path: Option<PathBuf>, default: &str| canonical(path.as_deref().unwrap_or(Path::new(default)));
        let state_dir = resolve(options.state_dir, STATE_DIR)?;
        let run_dir = match options.run_dir {
            Some(given) => canonical(&given)?,
            None if state_dir == canonical(Path::new(STATE_DIR))? => PathBuf::from(RUN_DIR),
            None => {
                PathBuf::from(format!("{RUN_DIR}-{:016x}", hash(state_dir.as_os_str().as_encoded_bytes())))
            }
        };
        let bpffs = resolve(options.bpffs, BPFFS)?;
        let cgroup = options.cgroup.as_deref().map(canonical).transpose()?;
        Ok(Self { state_dir, run_dir, bpffs, cgroup })
    }
}

impl Paths {
    /// A number that tells this instance from others.
    pub fn number(&self) -> u64 {
        hash(self.run_dir.as_os_str().as_encoded_bytes())
    }
}

/// The real path of what exists, followed by what does not.
fn canonical(path: &Path) -> Result<PathBuf> {
    let failed = |e| StoreError::file("resolve", path, e);
    let path = std::path::absolute(path).map_err(failed)?;
    for ancestor in path.ancestors() {
        match ancestor.canonicalize() {
            Ok(real) => {
                let rest = path.strip_prefix(ancestor).unwrap_or(Path::new(""));
                // Joining an empty path would add a slash.
                return Ok(if rest.as_os_str().is_empty() { real } else { real.join(rest) });
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
        }
    }
    Ok(path)
}

/// FNV-1a, for names made of other names. The standard library's hashes may change with its version, and a directory's name must not.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_derived_paths() {
        let paths = Paths::resolve(PathsOptions::default()).unwrap();
        assert_eq!(paths.state_dir, Path::new(STATE_DIR));
        assert_eq!(paths.run_dir, Path::new(RUN_DIR));
        assert_eq!(paths.bpffs, Path::new(BPFFS));

        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let of = |state: &Path| {
            Paths::resolve(PathsOptions { state_dir: Some(state.to_owned()), ..PathsOptions::default() })
                .unwrap()
        };
        let before = of(&state);
        assert!(before.run_dir.to_str().unwrap().starts_with("/run/netfast-"));
        std::fs::create_dir(&state).unwrap();
        std::os::unix::fs::symlink(&state, dir.path().join("link")).unwrap();
        assert_eq!(of(&state), before, "it does not matter whether it exists");
        assert_eq!(of(&dir.path().join("link")), before, "nor by which name it is called");
        assert_ne!(of(dir.path()).run_dir, before.run_dir);
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
