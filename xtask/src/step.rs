//! A slow command that shows it is alive.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::output;

/// How often a run without a terminal says that it is still at it.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How much of a failed command's output is repeated.
const LAST_LINES: usize = 40;

/// Says `what` is done and `why`, then does it. On a terminal the command's output streams by; elsewhere a line
/// comes every ten seconds, and the output only if it fails.
pub(crate) fn run(what: &str, why: &str, command: &mut Command) -> Result<()> {
    output::heading(&format!("{what} ({why})"));
    output::dim(&format!("  $ {}", shown(command)));
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{what}: run {}", shown(command)))?;

    let (sender, lines) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        forward(stdout, sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        forward(stderr, sender);
    }
    let mut last = VecDeque::new();
    let mut beat = Instant::now();
    loop {
        match lines.recv_timeout(HEARTBEAT.saturating_sub(beat.elapsed())) {
            Ok(line) => {
                if output::is_terminal() {
                    output::dim(&format!("  {line}"));
                    beat = Instant::now();
                }
                last.push_back(line);
                if last.len() > LAST_LINES {
                    last.pop_front();
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                output::dim(&format!("  still at it after {}", seconds(start.elapsed())));
                beat = Instant::now();
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait().with_context(|| format!("wait for {}", shown(command)))?;
    if !status.success() {
        if !output::is_terminal() {
            for line in &last {
                output::line(&format!("  {line}"));
            }
        }
        bail!("{what}: `{}` failed: {status}", shown(command));
    }
    output::dim(&format!("  done in {}", seconds(start.elapsed())));
    Ok(())
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let variables = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.display(), value?.display())));
    let words =
        [command.get_program()].into_iter().chain(command.get_args()).map(|word| word.display().to_string());
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

/// A duration for people.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn forward(from: impl Read + Send + 'static, to: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                return;
            }
        }
    });
}
