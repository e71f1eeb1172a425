//! Programs that the tests and the demo call.

use anyhow::Result;

use crate::setup::apt;
use crate::workspace::find_program;

/// Program, the Debian package it comes in, and what it is for.
const PROGRAMS: [(&str, &str, &str); 2] = [
    ("ip", "iproute2", "`ip` builds the networks that the tests and the demo run in"),
    ("nft", "nftables", "tests set up other people's firewalls with `nft`, in namespaces of their own"),
];

pub(crate) fn ensure() -> Result<bool> {
    let mut changed = false;
    for (program, package, why) in PROGRAMS {
        if find_program(program).is_none() {
            apt::install(&[package], why)?;
            changed = true;
        }
    }
    Ok(changed)
}
