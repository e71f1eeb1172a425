//! Child processes that cannot hang a test or outlive it.

use std::io::{Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::patience::patient;

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
    stdout: Heard,
    stderr: Heard,
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
        let stdout = Heard::from(child.stdout.take());
        let stderr = Heard::from(child.stderr.take());
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

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        self.stdout.so_far()
    }

    /// What it has complained about so far.
    pub fn stderr(&self) -> String {
        self.stderr.so_far()
    }

    /// Waits until it has printed `text` on either stream; it is an error if it ends or takes too long instead.
    pub fn wait_for(&mut self, text: &str, timeout: Duration) -> Result<()> {
        let (start, timeout) = (Instant::now(), patient(timeout));
        loop {
            // Looked at first: what it said last is heard only after its end.
            let over = self.ended() && self.stdout.is_complete() && self.stderr.is_complete();
            let (stdout, stderr) = (self.stdout(), self.stderr());
            if stdout.contains(text) || stderr.contains(text) {
                return Ok(());
            }
            if over || start.elapsed() > timeout {
                bail!("{} did not say {text:?} within {timeout:?}, but: {stdout}{stderr}", self.what);
            }
            thread::sleep(Duration::from_millis(2));
        }
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
        let (start, timeout) = (Instant::now(), patient(timeout));
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if start.elapsed() > timeout {
                self.kill();
                let (stdout, stderr) = (self.stdout(), self.stderr());
                bail!("{} did not end within {timeout:?}; it said: {stdout}{stderr}", self.what);
            }
            // Short at first: most commands end within milliseconds, and some are timed.
            thread::sleep(
                (start.elapsed() / 32).clamp(Duration::from_micros(200), Duration::from_millis(20)),
            );
        };
        Ok(Finished { status, stdout: self.stdout.all(), stderr: self.stderr.all() })
    }

    /// As [`Self::finish`]. It is an error if something that it started keeps its output open after its end.
    pub(crate) fn finish_alone(mut self, timeout: Duration) -> Result<Finished> {
        drop(self.child.stdin.take());
        let what = self.what.clone();
        let (stdout, stderr) = (self.stdout.bytes.clone(), self.stderr.bytes.clone());
        let finished = self.finish(timeout)?;
        // The threads that read have a handle each as long as they do. What another test forks has copies of our pipes
        // until it executes something.
        let deadline = Instant::now() + patient(Duration::from_secs(10));
        while Arc::strong_count(&stdout) + Arc::strong_count(&stderr) > 2 {
            if Instant::now() > deadline {
                bail!("{what} has ended, but something keeps its output open");
            }
            // Some calls are timed.
            thread::sleep(Duration::from_micros(100));
        }
        Ok(finished)
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

/// What comes out of a pipe, read on a thread: a child whose pipe is full would wait for us, and we for it.
#[derive(Debug)]
struct Heard {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Heard {
    fn from(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let heard = bytes.clone();
        let thread = pipe.map(|mut pipe| {
            thread::spawn(move || {
                let mut part = [0; 4096];
                while let Ok(length @ 1..) = pipe.read(&mut part) {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&part[..length]);
                }
            })
        });
        Self { bytes, thread }
    }

    fn is_complete(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Everything, once the child has ended. A grandchild that keeps the pipe open must not hang us.
    fn all(&self) -> String {
        let deadline = Instant::now() + patient(Duration::from_secs(2));
        while !self.is_complete() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        self.so_far()
    }
}
