//! The `netfast` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    netfast::faces::cli::main()
}
