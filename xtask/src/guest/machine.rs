//! The virtual machine.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::output;
use crate::step::shown;

/// The guest's device for what the tests print. The kernel's own messages go to another one.
pub(crate) const CONSOLE: &str = "/dev/ttyS1";

/// Begins the guest's last line; its exit code follows.
pub(crate) const END: &str = "netfast-guest: exit ";

/// For all of it. Software emulation takes a quarter of an hour, and more beside other work.
const LIMIT: Duration = Duration::from_hours(1);

/// Ended when dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Boots `kernel` with `initramfs`, hands over each line that comes out of it, and fails unless its last line
/// says that all went well. What the kernel says is in the file `console` beside the image.
pub(crate) fn run(kernel: &Path, initramfs: &Path, line: &mut dyn FnMut(&str)) -> Result<()> {
    let log = initramfs.with_file_name("console");
    drop(File::create(&log).with_context(|| format!("create {}", log.display()))?);
    let accelerator = if has_kvm() { "kvm" } else { "tcg" };
    output::dim(&format!("booting {} ({accelerator})", kernel.display()));
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-accel", accelerator, "-cpu", "max", "-smp", "2", "-m", "2048", "-no-reboot", "-nic", "none"])
        .args(["-display", "none", "-monitor", "none"])
        .arg("-serial")
        .arg(format!("file:{}", log.display()))
        .args(["-serial", "stdio"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", "console=ttyS0 loglevel=4 panic=-1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut machine = Machine(command.spawn().with_context(|| format!("run {}", shown(&command)))?);
    let stdout = machine.0.stdout.take().context("the machine's output")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        // What a test prints need not be text.
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let start = Instant::now();
    loop {
        match lines.recv_timeout(LIMIT.saturating_sub(start.elapsed())) {
            Ok(text) => match text.strip_prefix(END) {
                Some("0") => return Ok(()),
                Some(code) => {
                    bail!("tests failed (exit code {code}; the kernel's messages: {})", log.display())
                }
                None => line(&text),
            },
            Err(RecvTimeoutError::Timeout) => bail!("not done after {} s, so ended", LIMIT.as_secs()),
            Err(RecvTimeoutError::Disconnected) => bail!(
                "the machine stopped before its tests did; the kernel's last words ({}): {}",
                log.display(),
                last_words(&log)
            ),
        }
    }
}

/// Whether the processor helps. A `/dev/kvm` without the flag is one that will not do: guests hang there.
fn has_kvm() -> bool {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm")
        && File::options().read(true).write(true).open("/dev/kvm").is_ok()
}

fn last_words(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
