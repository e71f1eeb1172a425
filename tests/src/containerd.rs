//! containerd and its client `ctr`, on a lab's host.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::cri::Cri;
use crate::machine::Machine;
use crate::ns::Ns;
use crate::patience::patient;
use crate::podman::{IMAGE, Podman};
use crate::process::{Finished, Running};

/// As for podman.
const PATIENCE: Duration = Duration::from_mins(2);

/// A daemon with directories of its own. It ends when this is dropped, and its containers with the machine.
#[derive(Debug)]
pub struct Containerd<'machine> {
    machine: &'machine Machine<'machine>,
    socket: PathBuf,
    daemon: Running,
}

impl<'machine> Containerd<'machine> {
    /// Starts the daemon, and waits until it answers.
    pub fn start(machine: &'machine Machine<'machine>) -> Result<Self> {
        Self::with(machine, "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n")
    }

    /// As [`Self::start`], with what a kubelet would speak to. Pods have nothing in them but their sandbox.
    pub fn start_with_cri(machine: &'machine Machine<'machine>) -> Result<(Self, Cri)> {
        const CRI: &str = "plugins.\"io.containerd.grpc.v1.cri\"";
        let this = Self::with(
            machine,
            &format!(
                "[{CRI}]\nsandbox_image = \"{IMAGE}:latest\"\ndisable_apparmor = true\n\
                 restrict_oom_score_adj = true\n[{CRI}.containerd]\nsnapshotter = \"native\"\n"
            ),
        )?;
        let archive = machine.lab().dir().join("image.tar").display().to_string();
        if !fs::exists(&archive)? {
            Podman::new(machine, "none")?.save(&archive)?;
            let done =
                this.ctr(&["--namespace", "k8s.io", "image", "import", "--snapshotter", "native", &archive])?;
            if !done.success() {
                bail!("ctr image import: {}", done.stderr);
            }
        }
        let cri = Cri::at(&this.socket)?;
        Ok((this, cri))
    }

    /// `more` of its configuration stands before the first table of this.
    fn with(machine: &'machine Machine<'machine>, more: &str) -> Result<Self> {
        let dir = machine.lab().dir().join("containerd");
        fs::create_dir_all(&dir)?;
        let socket = dir.join("socket");
        let at = dir.display();
        let config = machine.lab().file(
            "containerd/config.toml",
            &format!(
                "version = 2\nroot = \"{at}/root\"\nstate = \"{at}/state\"\n\
                 {more}\
                 [grpc]\naddress = \"{at}/socket\"\n\
                 [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{at}/opt\"\n"
            ),
        )?;
        let mut daemon =
            Running::start(machine.lab().host.command("containerd").args(["--config", &config]))?;
        daemon.wait_for("containerd successfully booted", PATIENCE)?;
        Ok(Self { machine, socket, daemon })
    }

    /// Runs `ctr`.
    pub fn ctr(&self, args: &[&str]) -> Result<Finished> {
        let mut ctr = self.machine.lab().host.command("ctr");
        Running::start(ctr.arg("--address").arg(&self.socket).args(args))?.finish(PATIENCE)
    }

    /// Starts a container that sleeps, in the networks of the configurations, by `ctr run --cni`.
    pub fn run(&self, name: &str) -> Result<CtrTask<'_>> {
        let mut ctr = self.machine.lab().host.command("ctr");
        ctr.arg("--address").arg(&self.socket).args(["run", "--rm", "--cni", "--cgroup"]);
        ctr.arg(format!("{}/{name}", self.machine.cgroup())).arg("--rootfs").arg(&self.machine.rootfs);
        let client = Running::start(ctr.args([name, "/bin/sleep", "100000"]))?;
        let mut task = CtrTask { containerd: self, name: name.to_owned(), client, pid: 0 };
        task.wait()?;
        Ok(task)
    }

    /// What the daemon has logged.
    pub fn log(&self) -> String {
        self.daemon.stderr()
    }
}

/// A container that runs as long as a client of its own waits for it.
#[derive(Debug)]
pub struct CtrTask<'containerd> {
    containerd: &'containerd Containerd<'containerd>,
    name: String,
    client: Running,
    pid: u32,
}

impl CtrTask<'_> {
    /// Its network namespace, which has its name.
    pub fn ns(&self) -> Result<Ns> {
        self.containerd.machine.ns_of(&self.name, self.pid)
    }

    /// Ends what runs inside, and waits for the client to tidy up, which has the interface removed.
    pub fn end(self) -> Result<()> {
        let Self { containerd, name, client, .. } = self;
        let killed = containerd.ctr(&["task", "kill", "--signal", "SIGKILL", &name])?;
        if !killed.success() {
            bail!("ctr task kill: {}", killed.stderr);
        }
        // Its exit code is that of what was killed.
        let done = client.finish(PATIENCE)?;
        if done.status.code() != Some(137) {
            bail!("ctr run: {}: {}", done.status, done.stderr);
        }
        Ok(())
    }

    /// Waits until it runs.
    fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + patient(PATIENCE);
        while Instant::now() < deadline {
            let tasks = self.containerd.ctr(&["task", "ls"])?.stdout;
            let task = tasks.lines().find(|line| line.split_whitespace().next() == Some(&self.name));
            if let Some(task) = task.filter(|task| task.contains("RUNNING")) {
                let pid = task.split_whitespace().nth(1).context("`ctr task ls` tells no process")?;
                self.pid = pid.parse()?;
                return Ok(());
            }
            if self.client.ended() {
                bail!("ctr run: {}; containerd: {}", self.client.stderr(), self.containerd.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the container {} does not run", self.name)
    }
}
