//! `cargo xtask bench`: builds the release binary and measures it, against others and against its floors.

mod gate;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::workspace::{as_root, find_program, target};
use crate::{build, output, setup, stage};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Fail if netfast is slower, compared with others in the same run, than it must be; measures what that needs
    #[arg(long)]
    gate: bool,
    /// Options of `netfast bench`; `--help` tells them
    #[arg(last = true, value_name = "OPTIONS")]
    arguments: Vec<String>,
}

/// The tools of the peers, and Debian's packages of them.
const TOOLS: [(&str, &str); 2] = [("iptables-nft-restore", "iptables"), ("nft", "nftables")];

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    setup::run()?;
    let missing: Vec<_> =
        TOOLS.iter().filter(|(tool, _)| find_program(tool).is_none()).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        setup::install(&missing, "netfast is compared with them")?;
    }
    let binary = build::build("release")?;
    let json = target().join("bench.json");
    // Made by us, so that it does not come to belong to root.
    fs::write(&json, "").with_context(|| format!("create {}", json.display()))?;
    let mut command = as_root(&binary.display().to_string());
    command.arg("bench").args(&options.arguments).arg("--json").arg(&json);
    if options.gate {
        for test in tests() {
            command.args(["--only", test]);
        }
    }
    stage::status(&mut command)?;
    if !options.gate {
        return Ok(ExitCode::SUCCESS);
    }
    let text = fs::read_to_string(&json).with_context(|| format!("read {}", json.display()))?;
    let report = serde_json::from_str(&text).with_context(|| format!("the JSON in {}", json.display()))?;
    let verdicts = gate::judge(&report);
    output::heading("floors");
    for verdict in &verdicts {
        let word = if verdict.holds { output::good("holds") } else { output::bad("fails") };
        output::line(&format!("{word}  {}", verdict.text));
    }
    let all_hold = verdicts.iter().all(|verdict| verdict.holds);
    Ok(if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The tests that have a floor.
fn tests() -> Vec<&'static str> {
    let mut tests: Vec<_> = gate::FLOORS.iter().map(|floor| floor.test).collect();
    tests.sort_unstable();
    tests.dedup();
    tests
}
