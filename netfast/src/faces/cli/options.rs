//! Options that many commands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::kernel::Mode;
use crate::reconcile::instance::Options;
use crate::store::PathsOptions;

/// Which instance is meant.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Instance")]
pub(super) struct InstanceArgs {
    /// Directory of the definitions [default: /var/lib/netfast].
    #[arg(long, global = true, value_name = "DIR", env = "NETFAST_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,
    /// Directory of what is attached; it must not survive a reboot [default: made from the state directory].
    #[arg(long, global = true, value_name = "DIR", env = "NETFAST_RUN_DIR", hide_env_values = true)]
    run_dir: Option<PathBuf>,
    /// Directory on a BPF file system for programs and maps [default: /sys/fs/bpf/netfast].
    #[arg(long, global = true, value_name = "DIR", env = "NETFAST_BPFFS", hide_env_values = true)]
    bpffs: Option<PathBuf>,
    /// Control group whose processes reach published ports on this host [default: the root of all].
    #[arg(long, global = true, value_name = "DIR", env = "NETFAST_CGROUP", hide_env_values = true)]
    cgroup: Option<PathBuf>,
    /// How programs are attached to devices.
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        value_enum,
        default_value = "auto",
        env = "NETFAST_ATTACH",
        hide = true
    )]
    attach: Attach,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Attach {
    Auto,
    Clsact,
}

impl InstanceArgs {
    /// As the core takes them.
    pub(super) fn options(&self) -> Options {
        let Self { state_dir, run_dir, bpffs, cgroup, attach } = self.clone();
        let attach = match attach {
            Attach::Auto => Mode::Auto,
            Attach::Clsact => Mode::Clsact,
        };
        Options { paths: PathsOptions { state_dir, run_dir, bpffs, cgroup }, attach }
    }
}

/// In which form something is printed.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct FormatArgs {
    /// Print a table for people or JSON for programs.
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum, default_value = "table")]
    pub(super) format: Format,
}

/// A form of printing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}
