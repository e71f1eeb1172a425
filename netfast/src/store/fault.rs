//! Points at which a process can be made to die, to test that a crash there harms nothing.
//!
//! With `NETFAST_FAULT=N` in the environment the process kills itself at the N-th point it reaches, counted from 1;
//! with `NETFAST_FAULT=count` it tells on stderr how many it reached when it exits. Without, a point costs one load.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The environment variable.
pub const VARIABLE: &str = "NETFAST_FAULT";

/// What was asked for.
enum Mode {
    Off,
    Count,
    KillAt(u64),
}

static MODE: OnceLock<Mode> = OnceLock::new();
static REACHED: AtomicU64 = AtomicU64::new(0);

/// A point between two steps that must not be torn apart unnoticed. `name` is shown where the process dies.
pub fn point(name: &str) {
    let mode = MODE.get_or_init(mode);
    if matches!(mode, Mode::Off) {
        return;
    }
    let number = REACHED.fetch_add(1, Ordering::Relaxed) + 1;
    if matches!(mode, Mode::KillAt(at) if *at == number) {
        say(&format!("fault: killed at point {number}, {name}"));
        if let Err(e) = kill(Pid::this(), Signal::SIGKILL) {
            say(&format!("fault: still alive: {e}"));
        }
    }
}

fn mode() -> Mode {
    let Some(value) = std::env::var_os(VARIABLE) else { return Mode::Off };
    if value == "count" {
        // SAFETY: the function has the right type and is there until the process ends.
        let registered = unsafe { libc::atexit(report) };
        if registered != 0 {
            say("fault: no room for an exit handler");
        }
        return Mode::Count;
    }
    match value.to_str().and_then(|v| v.parse().ok()) {
        Some(at) => Mode::KillAt(at),
        None => Mode::Off,
    }
}

extern "C" fn report() {
    say(&format!("fault: {} points", REACHED.load(Ordering::Relaxed)));
}

fn say(line: &str) {
    // Nobody is left to tell when stderr is closed.
    drop(writeln!(std::io::stderr(), "{line}"));
}
