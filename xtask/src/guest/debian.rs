//! Kernels as Debian builds them: fetched once, unpacked below the target directory, never installed.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::step;
use crate::workspace::target;

/// What signs Debian's package lists.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A kernel to test on: the one of a Debian release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kernel {
    /// Debian 12: no tcx yet
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13
    #[value(name = "6.12")]
    V6_12,
}

impl Kernel {
    fn release(self) -> &'static str {
        match self {
            Self::V6_1 => "bookworm",
            Self::V6_12 => "trixie",
        }
    }
}

impl Display for Kernel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        })
    }
}

/// What was unpacked.
#[derive(Debug)]
pub(crate) struct Files {
    /// The kernel's image.
    pub(crate) kernel: PathBuf,
    /// The directory of its modules.
    pub(crate) modules: PathBuf,
}

/// Where everything about `kernel` is.
pub(crate) fn directory(kernel: Kernel) -> PathBuf {
    target().join("kernels").join(kernel.to_string())
}

/// Fetches and unpacks `kernel`, unless that was done before.
pub(crate) fn fetch(kernel: Kernel) -> Result<Files> {
    let directory = directory(kernel);
    let root = directory.join("root");
    if !root.exists() {
        unpack(&download(kernel, &directory.join("apt"))?, &root)?;
    }
    find(&root).with_context(|| format!("look for the kernel (try to remove {})", directory.display()))
}

/// Downloads the package with an apt of its own: the lists and settings of this machine stay as they are, and it
/// may be another release. The lists' signatures are checked as ever.
fn download(kernel: Kernel, directory: &Path) -> Result<PathBuf> {
    if !Path::new(KEYRING).exists() {
        bail!("{KEYRING} is missing: the kernels are Debian's (try to install debian-archive-keyring)");
    }
    for name in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(directory.join(name))?;
    }
    fs::write(directory.join("state/status"), "")?;
    let source = format!(
        "deb [arch=amd64 signed-by={KEYRING}] http://deb.debian.org/debian {} main\n",
        kernel.release()
    );
    fs::write(directory.join("sources.list"), source)?;
    step::run(
        &format!("fetch the package lists of Debian {}", kernel.release()),
        &format!("its kernel is Linux {kernel}"),
        apt("apt-get", directory).arg("update"),
    )?;
    let depends = apt("apt-cache", directory).args(["depends", "linux-image-amd64"]).output()?;
    let depends = String::from_utf8_lossy(&depends.stdout).into_owned();
    let package = depends
        .lines()
        .find_map(|line| {
            line.trim().strip_prefix("Depends: ").filter(|name| name.starts_with("linux-image-"))
        })
        .with_context(|| format!("linux-image-amd64 depends on no kernel, but: {depends}"))?;
    step::run(
        &format!("fetch {package}"),
        "about 100 MB, once; it is not installed",
        apt("apt-get", directory).args(["download", package]).current_dir(directory),
    )?;
    let fetched = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    fetched
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .max()
        .context("apt-get downloaded no package")
}

/// apt with all of its state in `directory`.
fn apt(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    let at = |name: &str| directory.join(name).display().to_string();
    for option in [
        format!("Dir::Etc::SourceList={}", at("sources.list")),
        "Dir::Etc::SourceParts=-".to_owned(),
        format!("Dir::State={}", at("state")),
        format!("Dir::State::Status={}", at("state/status")),
        format!("Dir::Cache={}", at("cache")),
        "APT::Architecture=amd64".to_owned(),
        // The directory may be one that only its owner can read.
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
    ] {
        command.args(["-o", &option]);
    }
    command
}

fn unpack(package: &Path, root: &Path) -> Result<()> {
    let unfinished = root.with_extension("new");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("remove {}", unfinished.display()))?;
    }
    let mut command = Command::new("dpkg-deb");
    step::run("unpack it", "below the target directory", command.arg("-x").arg(package).arg(&unfinished))?;
    fs::rename(&unfinished, root).with_context(|| format!("rename to {}", root.display()))
}

fn find(root: &Path) -> Result<Files> {
    let only = |directory: PathBuf, prefix: &str| -> Result<PathBuf> {
        let mut entries = fs::read_dir(&directory)
            .with_context(|| format!("list {}", directory.display()))?
            .flatten()
            .map(|entry| entry.path());
        entries
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
            .with_context(|| format!("nothing in {} begins with {prefix:?}", directory.display()))
    };
    let kernel = only(root.join("boot"), "vmlinuz-")?;
    // Since Debian 13 the modules are below /usr.
    let modules =
        ["lib/modules", "usr/lib/modules"].map(|name| root.join(name)).into_iter().find(|d| d.exists());
    Ok(Files { kernel, modules: only(modules.context("the package holds no modules")?, "")? })
}
