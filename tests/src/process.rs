//! Child processes that cannot hang a test or outlive it.

use std::io::{Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How a child ended and what it said.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Finished {
    /// Whether it ended with exit code 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }
}

/// Runs `command` to its end. One that takes longer than `timeout` is killed, and that is an error.
pub(crate) fn run(command: &mut Command, timeout: Duration) -> Result<Finished> {
    Running::start(command)?.finish(timeout)
}

/// A child that is still running, and the process group it leads; killed when dropped.
#[derive(Debug)]
pub struct Running {
    what: String,
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

impl Running {
    /// Starts `command`, which must come from [`crate::Ns::command`] (it leads a process group). Its standard
    /// input is a pipe that stays open while it runs.
    pub fn start(command: &mut Command) -> Result<Self> {
        let what = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("run {what}"))?;
        let stdout = child.stdout.take().map(gather);
        let stderr = child.stderr.take().map(gather);
        Ok(Self { what, child, stdout, stderr })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Writes to its standard input.
    pub fn write(&mut self, text: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().context("its standard input is closed")?;
        input.write_all(text.as_bytes()).with_context(|| format!("write to {}", self.what))
    }

    /// Sends it (not its group) a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        nix::sys::signal::kill(self.group(), signal).with_context(|| format!("signal {}", self.what))
    }

    /// Closes its input and waits for its end.
    pub fn finish(mut self, timeout: Duration) -> Result<Finished> {
        drop(self.child.stdin.take());
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if start.elapsed() > timeout {
                self.kill();
                bail!("{} did not end within {timeout:?}; it said: {}", self.what, text(self.stderr.take()));
            }
            // Short at first, since most commands end within milliseconds.
            thread::sleep((start.elapsed() / 8).clamp(Duration::from_millis(1), Duration::from_millis(20)));
        };
        Ok(Finished { status, stdout: text(self.stdout.take()), stderr: text(self.stderr.take()) })
    }

    fn group(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn kill(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // The group is ours: `Ns::command` made the child its leader.
            let _ = killpg(self.group(), Signal::SIGKILL);
            drop(self.child.wait());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads on a thread: a child whose pipe is full would wait for us, and we for it.
fn gather(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(from.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// What a thread has gathered. A grandchild that keeps the pipe open must not hang us.
fn text(thread: Option<JoinHandle<String>>) -> String {
    let Some(thread) = thread else { return String::new() };
    let deadline = Instant::now() + Duration::from_secs(2);
    while !thread.is_finished() {
        if Instant::now() > deadline {
            return "(its output is still held open by a process it started)".to_owned();
        }
        thread::sleep(Duration::from_millis(1));
    }
    thread.join().unwrap_or_default()
}
