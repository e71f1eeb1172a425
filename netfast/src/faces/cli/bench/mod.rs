//! `netfast bench`.

mod stop;
mod text;

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum, builder::PossibleValue};

use self::stop::Stop;
use super::options::FormatArgs;
use super::{output, root};
use crate::bench::peers::Peer;
use crate::bench::plan::{Depth, Settings};
use crate::bench::report::html;
use crate::bench::{Progress, Watcher, run};
use crate::reconcile::instance::Options;

/// The exit code of what a signal has ended.
const STOPPED: u8 = 130;

const EXAMPLES: &str = "\
Examples:
  sudo netfast bench --quick                      the most important figures, in a minute
  sudo netfast bench --html report.html           all of them, with plots
  sudo netfast bench --only published --rounds 30 some of them, more thoroughly
  sudo netfast bench --quick -o json              for programs

Every figure is the middle of several rounds. The range behind it holds the middle half of them; if that is wide, the machine was
busy with something else. A ratio above 1 is better, whether more or less of something is.";

/// Measure netfast and others side by side, on this machine.
///
/// Bridges, iptables rules as Docker writes them, nftables maps and netfast are built in network namespaces that nobody else
/// sees, and do the same work one after the other, round by round. Nothing of this host is changed, and nothing is left; Ctrl-C
/// ends it, with a report of what has been measured so far. Anything else that runs meanwhile disturbs it.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Bench {
    /// Measure only what matters most, in about a minute.
    #[arg(long)]
    quick: bool,
    /// Measure containers of dockerd and Podman, too, started by themselves with files of their own.
    #[arg(long)]
    runtimes: bool,
    /// Only tests whose name holds this text, such as `published` or `tcp-rr`. May be repeated.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Only these peers. May be repeated.
    #[arg(long, value_name = "PEER", value_enum, hide_possible_values = true)]
    peer: Vec<Peer>,
    /// How often everything is measured [default: 15, or 5 with --quick].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,
    /// Milliseconds of each measurement [default: 300, or 100 with --quick].
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=60_000))]
    slice: Option<u64>,
    /// List the tests and peers, and measure nothing.
    #[arg(long)]
    list: bool,
    /// Write a page with plots, too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the JSON into a file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

impl ValueEnum for Peer {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.id()).help(self.about()))
    }
}

impl Bench {
    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        let settings = self.settings()?;
        if self.list {
            output::text(&text::plan(&settings))?;
            return Ok(ExitCode::SUCCESS);
        }
        root::need()?;
        // Before anything is measured: what cannot be written should not take its time first.
        let files = [&self.html, &self.json].map(|path| path.as_ref().map(Output::create).transpose());
        let [html_file, json_file] = files;
        let (html_file, json_file) = (html_file?, json_file?);
        let mut watcher =
            Shown { stop: Stop::hold()?, is_terminal: io::stderr().is_terminal(), said: String::new() };
        let report = run(&settings, options.paths.cgroup.clone(), &mut watcher)?;
        watcher.clear();
        if let Some(file) = html_file {
            file.write(&html(&report))?;
        }
        if let Some(file) = json_file {
            file.write(&output::json(&report)?)?;
        }
        output::show(self.format.format, &report, || text::text(&report))?;
        Ok(if report.is_complete { ExitCode::SUCCESS } else { ExitCode::from(STOPPED) })
    }

    fn settings(&self) -> Result<Settings> {
        let mut settings = Settings::new(if self.quick { Depth::Quick } else { Depth::Full });
        if self.runtimes {
            settings.add_runtimes();
        }
        settings.narrow(&self.only, &self.peer);
        ensure!(!settings.tests.is_empty(), "there is no such test (see netfast bench --list)");
        settings.rounds = self.rounds.map_or(settings.rounds, usize::from);
        settings.slice = self.slice.map_or(settings.slice, Duration::from_millis);
        Ok(settings)
    }
}

/// A file that is written at the end, and can be from the start.
struct Output {
    path: PathBuf,
    file: fs::File,
}

impl Output {
    fn create(path: &PathBuf) -> Result<Self> {
        let file = fs::File::create(path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { path: path.clone(), file })
    }

    fn write(mut self, text: &str) -> Result<()> {
        self.file.write_all(text.as_bytes()).with_context(|| format!("write {}", self.path.display()))
    }
}

/// Says on standard error how far the run has come: in one line that changes, or a line for each test where nobody looks.
struct Shown {
    stop: Stop,
    is_terminal: bool,
    said: String,
}

impl Watcher for Shown {
    fn tell(&mut self, progress: &Progress) {
        if self.is_terminal {
            output::replace_line(&text::progress(progress));
            return;
        }
        let test = progress.doing.rsplit_once(": ").map_or(progress.doing.as_str(), |(test, _)| test);
        if test != self.said {
            test.clone_into(&mut self.said);
            output::complain(&text::progress(&Progress { doing: self.said.clone(), ..progress.clone() }));
        }
    }

    fn stops(&self) -> bool {
        self.stop.is_wanted()
    }
}

impl Shown {
    fn clear(&self) {
        if self.is_terminal {
            output::replace_line("");
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        bench: Bench,
    }

    fn settings(args: &[&str]) -> Result<Settings> {
        Cli::try_parse_from([&["bench"], args].concat()).unwrap().bench.settings()
    }

    #[test]
    fn options_narrow_the_run() {
        let args = [
            "--quick",
            "--only",
            "between/tcp-rr",
            "--peer",
            "netfast",
            "--peer",
            "bridge",
            "--rounds",
            "2",
            "--slice",
            "20",
        ];
        let narrowed = settings(&args).unwrap();
        assert_eq!((narrowed.slices(), narrowed.slice), (4, Duration::from_millis(20)));
        assert_eq!(settings(&[]).unwrap().rounds, 15);
    }

    #[test]
    fn a_test_that_does_not_exist_is_told() {
        assert_eq!(
            settings(&["--only", "nonsense"]).unwrap_err().to_string(),
            "there is no such test (see netfast bench --list)"
        );
    }
}
