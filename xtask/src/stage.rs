//! One stage of a longer run: a command that speaks for itself, timed.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::output;
use crate::step::{seconds, shown};

/// Runs a command whose output is shown as it comes.
pub(crate) fn status(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("run {}", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(())
}

/// Stages run one after the other until one fails, and how many tests they ran.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    times: Vec<(String, Duration)>,
    tests: Tally,
    failed: Option<String>,
}

/// Results of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Stages {
    /// Runs a stage, unless one before it failed.
    pub(crate) fn run(&mut self, name: &str, stage: impl FnOnce() -> Result<()>) {
        self.timed(name, |_| stage());
    }

    /// Runs cargo tests, and counts them.
    pub(crate) fn tests(&mut self, name: &str, command: &mut Command) {
        self.lines(name, |line| spoken(command, line));
    }

    /// Runs a stage that hands over each line its tests print; shows them, and counts the tests.
    pub(crate) fn lines(&mut self, name: &str, stage: impl FnOnce(&mut dyn FnMut(&str)) -> Result<()>) {
        self.timed(name, |tally| {
            stage(&mut |line| {
                if let Some(result) = tally_of(line) {
                    tally.passed += result.passed;
                    tally.failed += result.failed;
                }
                output::line(line);
            })
        });
    }

    fn timed(&mut self, name: &str, stage: impl FnOnce(&mut Tally) -> Result<()>) {
        if self.failed.is_some() {
            return;
        }
        output::heading(&format!("--- {name}"));
        let start = Instant::now();
        let result = stage(&mut self.tests);
        self.times.push((name.to_owned(), start.elapsed()));
        if let Err(error) = result {
            output::error(&format!("{name}: {error:#}"));
            self.failed = Some(name.to_owned());
        }
    }

    /// Says how long each stage took and, on the last line, how the tests went.
    pub(crate) fn finish(self) -> ExitCode {
        let Self { times, mut tests, failed } = self;
        let width = times.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        output::line("");
        for (name, time) in &times {
            let verdict =
                if failed.as_ref() == Some(name) { output::bad("failed") } else { output::good("ok") };
            output::line(&format!("{name:width$}  {:>8}  {verdict}", seconds(*time)));
        }
        if failed.is_some() && tests.failed == 0 {
            // A stage that is no test failed, or one that did not come as far as counting.
            tests.failed = 1;
        }
        output::line(&format!("{} passed, {} failed", tests.passed, tests.failed));
        if failed.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// Runs `command` and hands over what it prints.
fn spoken(command: &mut Command, hear: &mut dyn FnMut(&str)) -> Result<()> {
    let (reader, writer) = std::io::pipe().context("make a pipe")?;
    if !output::is_terminal() {
        // One pipe for both keeps what cargo says and what the tests say in order. A terminal is left to cargo,
        // for its colours.
        command.stderr(writer.try_clone().context("share a pipe")?);
    }
    let mut child = command.stdout(writer).spawn().with_context(|| format!("run {}", shown(command)))?;
    // The command holds the writing ends, and the reader would wait for them.
    command.stdout(Stdio::inherit()).stderr(Stdio::inherit());
    for line in BufReader::new(reader).lines() {
        hear(&line.context("read the tests' output")?);
    }
    let status = child.wait().with_context(|| format!("wait for {}", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(())
}

/// Reads `test result: ok. 3 passed; 0 failed; ...`.
fn tally_of(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        counts.split(';').find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<u64>().ok())
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_results_are_read() {
        let line = "test result: FAILED. 9 passed; 1 failed; 0 ignored; 0 measured; 2 filtered out; finished in 0.58s";
        assert_eq!(tally_of(line), Some(Tally { passed: 9, failed: 1 }));
        assert_eq!(tally_of("test counters ... ok"), None);
    }
}
