//! The right to change a network.

use anyhow::{Result, ensure};
use nix::unistd::geteuid;

/// Refuses to go on without the rights of root.
pub(super) fn need() -> Result<()> {
    ensure!(geteuid().is_root(), "needs root (run it with sudo)");
    Ok(())
}
