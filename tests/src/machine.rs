//! What a container runtime takes for granted of the machine it runs on, made for one lab alone.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};

use crate::lab::Lab;
use crate::ns::Ns;
use crate::patience::patient;
use crate::program::place_program;

/// Directories that runtimes share with all others of the machine.
const SHARED: [&str; 4] = ["/run", "/var/lib/cni", "/opt", "/etc/cni"];

/// Programs in a container.
const APPLETS: [&str; 8] = ["sh", "sleep", "cat", "ip", "ls", "ping", "echo", "true"];

/// Where Debian's packages put the plugins of the CNI project.
pub const STOCK_PLUGINS: &str = "/usr/lib/cni";

/// The first of the programs and files that runtimes need here which is missing, if one is.
pub fn missing_runtime() -> Option<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_program = |name: &str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    let programs = ["podman", "runc", "containerd", "ctr", "go"];
    let files =
        ["/usr/lib/cni/bridge", "/bin/busybox", "/usr/share/gocode/src/github.com/containernetworking"];
    let programs = programs.into_iter().filter(|name| !is_program(name));
    programs.chain(files.into_iter().filter(|file| !Path::new(file).exists())).next()
}

/// The machine part of a lab: its own `/run`, directories for plugins and configurations, a root file system for containers.
#[derive(Debug)]
pub struct Machine<'lab> {
    lab: &'lab Lab,
    /// Where plugins are: the stock ones, and `netfast`.
    pub plugins: PathBuf,
    /// Where configurations are.
    pub configurations: PathBuf,
    /// A root file system with busybox.
    pub rootfs: PathBuf,
}

impl<'lab> Machine<'lab> {
    /// Makes them; empty ones hide the shared directories, in the lab's own mount namespace.
    pub fn new(lab: &'lab Lab) -> Result<Self> {
        lab.mark_used();
        let directory = |name: &str| -> Result<PathBuf> {
            let path = lab.dir().join(name);
            fs::create_dir_all(&path)?;
            Ok(path)
        };
        let (plugins, configurations, rootfs) =
            (directory("plugins")?, directory("net.d")?, directory("rootfs")?);
        for plugin in fs::read_dir(STOCK_PLUGINS).with_context(|| format!("list {STOCK_PLUGINS}"))? {
            let plugin = plugin?.path();
            symlink(&plugin, plugins.join(plugin.file_name().unwrap_or_default()))?;
        }
        symlink(fs::canonicalize(lab.binary())?, plugins.join("netfast"))?;
        fill(&rootfs)?;
        lab.host.run(|| {
            for path in SHARED {
                fs::create_dir_all(path)?;
                mount(Some("netfast-lab"), path, Some("tmpfs"), MsFlags::empty(), None::<&str>)
                    .with_context(|| format!("mount a tmpfs at {path}"))?;
            }
            fs::create_dir("/run/lock")?;
            // Where runtimes look that are told nothing.
            fs::create_dir("/opt/cni")?;
            symlink(&plugins, "/opt/cni/bin")?;
            Ok(symlink(&configurations, "/etc/cni/net.d")?)
        })?;
        Ok(Self { lab, plugins, configurations, rootfs })
    }

    /// Writes a configuration. Of several, the first by name is a runtime's own network.
    pub fn configure(&self, file: &str, list: &serde_json::Value) -> Result<()> {
        Ok(fs::write(self.configurations.join(file), list.to_string())?)
    }

    /// The lab it is part of.
    pub fn lab(&self) -> &'lab Lab {
        self.lab
    }

    /// The network namespace of a process.
    pub fn ns_of(&self, name: &str, pid: u32) -> Result<Ns> {
        self.lab.host.open(name, &PathBuf::from(format!("/proc/{pid}/ns/net")))
    }

    /// The name of the control groups that are the lab's: of version 2, where it has made one, and of version 1, where a
    /// runtime makes them beside it.
    pub fn cgroup(&self) -> String {
        format!("/{}", self.lab.cgroup().file_name().unwrap_or_default().display())
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        drop(self.clear());
    }
}

impl Machine<'_> {
    /// Ends everything that runs in the lab's control groups, and removes what is in them.
    fn clear(&self) -> Result<()> {
        drop(fs::write(self.lab.cgroup().join("cgroup.kill"), "1"));
        let deadline = Instant::now() + patient(Duration::from_secs(10));
        loop {
            let mut is_clear = true;
            for directory in [self.lab.cgroup().to_owned()].into_iter().chain(hierarchies()?) {
                let is_ours = directory == self.lab.cgroup();
                let path =
                    if is_ours { directory } else { directory.join(self.cgroup().trim_start_matches('/')) };
                is_clear &= remove_groups(&path, !is_ours);
            }
            if is_clear {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the control groups {} cannot be removed", self.cgroup());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Mount points of the hierarchies of version 1.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let cgroup = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let path = fields.next()?;
        (fields.next()? == "cgroup").then(|| PathBuf::from(path))
    };
    Ok(mounts.lines().filter_map(cgroup).collect())
}

/// Removes the groups inside a group, and itself if asked. `false`: something still runs there.
fn remove_groups(group: &Path, itself: bool) -> bool {
    let Ok(entries) = fs::read_dir(group) else { return true };
    let mut is_clear = true;
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            is_clear &= remove_groups(&entry.path(), true);
        }
    }
    is_clear && (!itself || fs::remove_dir(group).is_ok())
}

/// A root file system with nothing but busybox.
fn fill(rootfs: &Path) -> Result<()> {
    for directory in ["bin", "proc", "sys", "dev", "etc", "tmp", "run"] {
        fs::create_dir(rootfs.join(directory))?;
    }
    place_program(&rootfs.join("bin/busybox"), &fs::read("/bin/busybox").context("read /bin/busybox")?)?;
    for applet in APPLETS {
        symlink("busybox", rootfs.join("bin").join(applet))?;
    }
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n")?;
    Ok(fs::write(rootfs.join("etc/group"), "root:x:0:\n")?)
}
