//! Containers of real runtimes, with a daemon and files of their own.
//!
//! A runtime runs in the host's namespace of its peer, and sees `/run` and `/var/lib` of the sandbox only. What it makes
//! outside of those are cgroups, of which the topmost has a name of ours.

mod docker;
mod podman;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};

use super::ground::{DEVICE, Ground, wait_for};
use super::tool::{self, Daemon};
use super::{FIRST_PORT, Peer, Site, cgroup};
use crate::net::{Netlink, Netns, Scope};

/// The image that containers are made of.
const IMAGE: &str = "netfast-bench";
/// The only program in it.
const PROGRAM: &str = "/bin/busybox";
const CONTAINERS: [&str; 2] = ["client", "server"];

/// A runtime and two containers.
pub(crate) struct Runtime {
    host: Netns,
    cli: Cli,
    cgroup: String,
    containers: Option<[Netns; 2]>,
    /// Dropped last, so that it can remove the containers.
    daemon: Option<Daemon>,
}

/// How a runtime is told what to do.
struct Cli {
    program: &'static str,
    arguments: Vec<String>,
    environment: Vec<(&'static str, PathBuf)>,
    /// What `run` is told besides.
    run: Vec<String>,
}

impl Cli {
    fn call(&self, netns: &Netns, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(self.program);
        command.args(&self.arguments).args(arguments).envs(self.environment.iter().map(|(k, v)| (k, v)));
        tool::run(netns, &mut command, "")
    }
}

impl Runtime {
    /// Starts a runtime and both containers.
    pub(super) fn new(peer: Peer, ground: &Ground, site: &Site) -> Result<Self> {
        let directory = site.directory.join(peer.id());
        fs::create_dir(&directory).with_context(|| format!("make {}", directory.display()))?;
        hide_files_of_others()?;
        let image = image(&ground.host, &directory)?;
        let cgroup = format!("netfast-bench-{}-{}", process::id(), peer.id());
        let (cli, daemon) = match peer {
            Peer::Dockerd => docker::start(&ground.host, &directory, &cgroup)?,
            _ => (podman::prepare(peer, &directory, &cgroup)?, None),
        };
        let mut runtime = Self { host: ground.host.try_clone()?, cli, cgroup, containers: None, daemon };
        let image = image.to_str().context("a path that is no text")?;
        runtime.call(&["import", image, IMAGE])?;
        let [client, server] = [runtime.start(CONTAINERS[0], false)?, runtime.start(CONTAINERS[1], true)?];
        runtime.containers = Some([client, server]);
        Ok(runtime)
    }

    /// The client's container and the server's.
    pub(super) fn containers(&self) -> Result<[Netns; 2]> {
        let [client, server] = self.containers.as_ref().context("the containers are not up")?;
        Ok([client.try_clone()?, server.try_clone()?])
    }

    fn call(&self, arguments: &[&str]) -> Result<String> {
        self.cli.call(&self.host, arguments)
    }

    fn start(&self, name: &str, publish: bool) -> Result<Netns> {
        let ports = ["tcp", "udp"].map(|protocol| format!("{FIRST_PORT}:{FIRST_PORT}/{protocol}"));
        let mut arguments = vec!["run", "--detach", "--name", name];
        arguments.extend(self.cli.run.iter().map(String::as_str));
        if publish {
            arguments.extend(ports.iter().flat_map(|port| ["--publish", port]));
        }
        arguments.extend([IMAGE, PROGRAM, "sleep", "1000000"]);
        self.call(&arguments)?;
        let pid = self.call(&["inspect", "--format", "{{.State.Pid}}", name])?;
        let pid =
            pid.trim().parse().with_context(|| format!("the process of the container {name}: {pid}"))?;
        let netns = Netns::of_pid(pid)?;
        wait_for(&netns, DEVICE)?;
        Ok(netns)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        for name in CONTAINERS {
            // One that was never made cannot be removed, and one that is removed need not be killed.
            drop(self.call(&["kill", name]));
            drop(self.call(&["rm", "--force", name]));
        }
        drop(self.daemon.take());
        cgroup::remove_everywhere(&self.cgroup);
    }
}

/// The address of a container.
pub(super) fn address(container: &Netns) -> Result<Ipv4Addr> {
    let addresses = Netlink::open(container)?.addresses()?;
    let global = addresses.iter().filter(|address| address.scope == Scope::Global);
    let mut ips = global.filter_map(|address| if let IpAddr::V4(ip) = address.ip { Some(ip) } else { None });
    ips.next().context("a container without an IPv4 address")
}

/// Puts an empty `/var/lib` over the host's, for this sandbox.
fn hide_files_of_others() -> Result<()> {
    const DIRECTORY: &str = "/var/lib";
    const NONE: Option<&str> = None;
    mount(Some("netfast"), DIRECTORY, Some("tmpfs"), MsFlags::empty(), NONE)
        .with_context(|| format!("mount a tmpfs on {DIRECTORY}"))
}

/// An image of one program, so that nothing has to be fetched.
fn image(netns: &Netns, directory: &Path) -> Result<PathBuf> {
    let root = directory.join("image");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let busybox = std::env::split_paths(&path).map(|bin| bin.join("busybox")).find(|file| file.is_file());
    let busybox = busybox.context("there is no busybox to run in containers (install busybox-static)")?;
    let target = root.join(PROGRAM.trim_start_matches('/'));
    fs::create_dir_all(root.join("bin"))
        .and_then(|()| fs::copy(&busybox, &target))
        .context("copy busybox")?;
    let archive = directory.join("image.tar");
    tool::run(netns, Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg("."), "")?;
    Ok(archive)
}
