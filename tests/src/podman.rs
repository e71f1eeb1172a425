//! podman with its CNI back end, on a lab's host.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::machine::Machine;
use crate::ns::Ns;
use crate::process::{Finished, Running};

/// Starting a container takes half a second, and much longer beside other tests.
const PATIENCE: Duration = Duration::from_mins(2);

/// The name of the only image.
pub(crate) const IMAGE: &str = "localhost/busybox";

/// podman with storage, configuration and control groups of its own. What it runs ends when this is dropped.
#[derive(Debug)]
pub struct Podman<'machine> {
    machine: &'machine Machine<'machine>,
}

impl<'machine> Podman<'machine> {
    /// With the configurations and plugins of `machine`. Containers without `--network` are in `network`.
    pub fn new(machine: &'machine Machine<'machine>, network: &str) -> Result<Self> {
        let dir = machine.lab().dir().join("podman");
        fs::create_dir(&dir)?;
        let (configurations, plugins) = (machine.configurations.display(), machine.plugins.display());
        let dir = dir.display();
        machine.lab().file(
            "podman/containers.conf",
            &format!(
                "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nruntime = \"runc\"\n\
                 tmp_dir = \"{dir}/tmp\"\n\
                 [containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=32768:32768\"]\n\
                 log_driver = \"k8s-file\"\n\
                 [network]\nnetwork_backend = \"cni\"\nnetwork_config_dir = \"{configurations}\"\n\
                 cni_plugin_dirs = [\"{plugins}\"]\ndefault_network = \"{network}\"\n"
            ),
        )?;
        machine.lab().file(
            "podman/storage.conf",
            &format!(
                "[storage]\ndriver = \"overlay\"\nrunroot = \"{dir}/run\"\ngraphroot = \"{dir}/root\"\n"
            ),
        )?;
        let this = Self { machine };
        let archive = machine.lab().dir().join("rootfs.tar").display().to_string();
        let rootfs = machine.rootfs.display().to_string();
        let tar = machine.lab().host.finish("tar", &["-C", &rootfs, "-cf", &archive, "."], PATIENCE)?;
        if !tar.success() {
            bail!("tar: {}", tar.stderr);
        }
        this.ok(&["import", "--change", "CMD=[\"/bin/sleep\",\"100000\"]", &archive, IMAGE])?;
        Ok(this)
    }

    /// Runs podman.
    pub fn podman(&self, args: &[&str]) -> Result<Finished> {
        let lab = self.machine.lab();
        let mut command = lab.host.command("podman");
        let dir = lab.dir().join("podman");
        command.args(args).env("CONTAINERS_CONF", dir.join("containers.conf"));
        command.env("CONTAINERS_STORAGE_CONF", dir.join("storage.conf"));
        for (name, _) in lab.environment() {
            command.env_remove(name);
        }
        Running::start(&mut command)?.finish(PATIENCE)
    }

    /// As [`Self::podman`], but an exit code other than 0 is an error. Returns what it printed.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        let done = self.podman(args)?;
        if !done.success() {
            bail!("`podman {}`: {}", args.join(" "), done.stderr.trim());
        }
        Ok(done.stdout)
    }

    /// Starts a container that sleeps, and returns its namespace, which has the container's name.
    pub fn start(&self, name: &str, options: &[&str]) -> Result<Ns> {
        let cgroup = self.machine.cgroup();
        let args = ["run", "--detach", "--name", name, "--cgroup-parent", &cgroup];
        self.ok(&[&args, options, &[IMAGE]].concat())?;
        self.ns(name)
    }

    /// The namespace of a container that runs.
    pub fn ns(&self, name: &str) -> Result<Ns> {
        let pid = self.inspect(name, "{{.State.Pid}}")?;
        self.machine.ns_of(name, pid.parse().with_context(|| format!("the process {pid} of {name}"))?)
    }

    /// Writes the only image into a file, for other runtimes.
    pub(crate) fn save(&self, file: &str) -> Result<()> {
        self.ok(&["save", "--format", "docker-archive", "--output", file, IMAGE]).map(drop)
    }

    /// What `podman inspect` tells of a container.
    pub fn inspect(&self, name: &str, format: &str) -> Result<String> {
        Ok(self.ok(&["inspect", "--format", format, name])?.trim().to_owned())
    }

    /// Removes a container, whatever it does.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.ok(&["rm", "--force", "--time", "0", name]).map(drop)
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        drop(self.podman(&["rm", "--all", "--force", "--time", "0"]));
    }
}
