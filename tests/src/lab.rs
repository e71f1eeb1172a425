//! A host of one's own, with a world outside it, for netfast to run on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::cgroup::Cgroup;
use crate::ns::Ns;
use crate::process::{Finished, Running, run};

/// The host's address on its uplink.
pub const HOST_V4: &str = "192.0.2.1";
/// The host's IPv6 address on its uplink.
pub const HOST_V6: &str = "2001:db8:99::1";
/// The address of the world outside, the host's default gateway.
pub const OUTSIDE_V4: &str = "192.0.2.2";
/// The IPv6 address of the world outside, the host's default gateway.
pub const OUTSIDE_V6: &str = "2001:db8:99::2";

/// No command of netfast's takes anywhere near as long.
const PATIENCE: Duration = Duration::from_mins(1);

/// A namespace that plays the host, with the device `uplink0`, joined to the device `eth0` of a namespace that
/// plays the world outside; directories and a cgroup for one instance of netfast. All of it goes away when the
/// lab is dropped: first what netfast made, by `netfast down`.
#[derive(Debug)]
pub struct Lab {
    /// Where netfast runs. What is done through it belongs to the lab's cgroup.
    pub host: Ns,
    /// The world outside.
    pub outside: Ns,
    binary: PathBuf,
    used: AtomicBool,
    // Dropped last, in this order.
    cgroup: Cgroup,
    dir: TempDir,
}

impl Lab {
    /// Makes a lab for the binary named by `NETFAST_BIN`, else the one that this workspace built.
    pub fn new() -> Result<Self> {
        Self::with_binary(&binary()?)
    }

    /// Makes a lab for the netfast binary at `binary`.
    pub fn with_binary(binary: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("netfast-lab-").tempdir()?;
        for name in ["state", "run", "bpffs"] {
            fs::create_dir(dir.path().join(name))?;
        }
        let cgroup = Cgroup::new()?;
        let (host, outside) = machines(&cgroup)?;
        Ok(Self { host, outside, binary: binary.to_owned(), used: AtomicBool::new(false), cgroup, dir })
    }

    /// A private directory, for manifests and the like; `state`, `run` and `bpffs` in it are netfast's.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The netfast binary.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The cgroup that stands for the host's root cgroup.
    pub fn cgroup(&self) -> &Path {
        self.cgroup.path()
    }

    /// Writes a file into [`Self::dir`] and returns its path.
    pub fn file(&self, name: &str, content: &str) -> Result<String> {
        let path = self.dir().join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        Ok(path.display().to_string())
    }

    /// What tells a netfast binary which instance it is.
    pub fn environment(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("NETFAST_STATE_DIR", self.dir().join("state")),
            ("NETFAST_RUN_DIR", self.dir().join("run")),
            ("NETFAST_BPFFS", self.dir().join("bpffs")),
            ("NETFAST_CGROUP", self.cgroup().to_owned()),
        ]
    }

    /// Notes that netfast may be up here, so that it is taken down in the end.
    pub(crate) fn mark_used(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// A netfast command that will run on the host.
    pub fn command(&self, args: &[&str]) -> Command {
        self.mark_used();
        let mut command = self.host.command(&self.binary);
        command.args(args).envs(self.environment());
        command
    }

    /// netfast on the host as a CNI plugin, which its configuration tells which instance it is.
    pub(crate) fn plugin_command(&self) -> Command {
        self.mark_used();
        self.host.command(&self.binary)
    }

    /// Runs netfast on the host and waits for it.
    pub fn netfast(&self, args: &[&str]) -> Result<Finished> {
        run(&mut self.command(args), PATIENCE)
    }

    /// As [`Self::netfast`], but an exit code other than 0 is an error. Returns what it printed.
    pub fn netfast_ok(&self, args: &[&str]) -> Result<String> {
        let done = self.netfast(args)?;
        if !done.success() {
            bail!("`netfast {}` failed ({}): {}", args.join(" "), done.status, done.stderr.trim());
        }
        Ok(done.stdout)
    }

    /// As [`Self::netfast_ok`] with `-o json` added.
    pub fn netfast_json(&self, args: &[&str]) -> Result<Value> {
        let args = [args, &["-o", "json"]].concat();
        let text = self.netfast_ok(&args)?;
        serde_json::from_str(&text)
            .with_context(|| format!("the JSON of `netfast {}`: {text}", args.join(" ")))
    }

    /// Starts netfast on the host without waiting for it; it is killed when the handle is dropped.
    pub fn start(&self, args: &[&str]) -> Result<Running> {
        Running::start(&mut self.command(args))
    }

    /// The namespace of an endpoint, as netfast tells it.
    pub fn endpoint_ns(&self, endpoint: &str) -> Result<Ns> {
        let about = self.netfast_json(&["endpoint", "inspect", endpoint])?;
        let path = about["netns"].as_str().context("`netfast endpoint inspect` tells no netns")?;
        // The name alone: `default/web` answers as `web`.
        self.host.open(endpoint.rsplit('/').next().unwrap_or(endpoint), Path::new(path))
    }

    /// How many packets netfast has dropped at an endpoint, by reason. Counters only grow: compare two readings.
    pub fn drops(&self, endpoint: &str) -> Result<BTreeMap<String, u64>> {
        let about = self.netfast_json(&["endpoint", "inspect", endpoint])?;
        let drops = about["drops"].as_object().context("`netfast endpoint inspect` tells no drops")?;
        Ok(drops.iter().filter_map(|(reason, count)| Some((reason.clone(), count.as_u64()?))).collect())
    }

    /// What a reboot does: every process of the lab ends, and all namespaces, devices and mounts are others. The
    /// directories stay as they are, also the one for what should be gone with a reboot. Handles of the old
    /// namespaces must be dropped before.
    pub fn reboot(&mut self) -> Result<()> {
        self.cgroup.kill();
        (self.host, self.outside) = machines(&self.cgroup)?;
        let file = self.dir().join("run/instance.json");
        let mut instance: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
        instance["boot_id"] = "the boot before".into();
        Ok(fs::write(&file, instance.to_string())?)
    }

    /// Runs `netfast down`, and tells what went wrong with it. Dropping the lab does so silently.
    pub fn down(&self) -> Result<()> {
        self.netfast_ok(&["down"])?;
        self.used.store(false, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.used.load(Ordering::Relaxed) {
            drop(self.netfast(&["down"]));
        }
        // A mount would keep the directory from being removed only in the host's mount namespace, which is gone
        // with its last file; what is still there is unlinked by `TempDir`.
    }
}

/// The host and the world outside.
fn machines(cgroup: &Cgroup) -> Result<(Ns, Ns)> {
    let host = Ns::new_host("host", cgroup.path())?;
    let outside = Ns::new("outside")?;
    host.join("uplink0", &outside, "eth0")?;
    for (ns, device, v4, v6, peer_v4, peer_v6) in [
        (&host, "uplink0", HOST_V4, HOST_V6, OUTSIDE_V4, OUTSIDE_V6),
        (&outside, "eth0", OUTSIDE_V4, OUTSIDE_V6, HOST_V4, HOST_V6),
    ] {
        ns.address(device, &format!("{v4}/24"))?;
        ns.address(device, &format!("{v6}/64"))?;
        ns.ip(&format!("route add default via {peer_v4}"))?;
        ns.ip(&format!("-6 route add default via {peer_v6}"))?;
    }
    Ok((host, outside))
}

fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("NETFAST_BIN") {
        return Ok(path.into());
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    ["release", "debug"]
        .map(|profile| target.join(profile).join("netfast"))
        .into_iter()
        .find(|path| path.exists())
        .context("the netfast binary is not built (try `cargo xtask build`, or set NETFAST_BIN)")
}
