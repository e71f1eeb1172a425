//! The `netfast` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    if netfast::faces::cni::is_meant() { netfast::faces::cni::main() } else { netfast::faces::cli::main() }
}
