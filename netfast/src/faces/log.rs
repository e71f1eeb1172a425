//! Log lines, on standard error.

use std::env;
use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// Starts logging. `RUST_LOG` decides what is told; without it, warnings are, and more of netfast's own by verbosity.
pub(super) fn start(verbosity: u8) {
    let default = match verbosity {
        0 => "warn",
        1 => "warn,netfast=info",
        2 => "info,netfast=debug",
        _ => "debug,netfast=trace",
    };
    let filter = match env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => filter,
        _ => default.to_owned(),
    };
    let colours = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let started = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::builder().parse_lossy(filter))
        .with_writer(io::stderr)
        .with_ansi(colours)
        .with_target(verbosity > 1)
        .without_time()
        // A reader of standard error that has gone away must not end us.
        .log_internal_errors(false)
        .try_init();
    // A second logger is refused; the first goes on.
    drop(started);
}
