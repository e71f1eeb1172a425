//! Container runtimes, which the end-to-end tests have call netfast: for `cargo xtask test` only.

use std::path::Path;

use anyhow::anyhow;

use crate::output;
use crate::setup::apt;
use crate::workspace::find_program;

/// What must be there, the Debian package it comes in, and what it is for.
const NEEDED: [(&str, &str, &str); 7] = [
    ("podman", "podman", "tests have podman call netfast as a CNI plugin"),
    (
        "/usr/lib/cni/bridge",
        "containernetworking-plugins",
        "tests chain netfast with the CNI project's own plugins",
    ),
    ("runc", "runc", "it starts the containers of those tests"),
    ("containerd", "containerd", "tests have containerd call netfast as a CNI plugin"),
    ("/bin/busybox", "busybox-static", "the containers of those tests are made of it"),
    ("go", "golang-go", "a test calls netfast through libcni, which is written in Go"),
    (
        "/usr/share/gocode/src/github.com/containernetworking/cni/libcni",
        "golang-github-appc-cni-dev",
        "the source of libcni",
    ),
];

/// Installs what is missing. Where that cannot be done, returns why: the tests that need it are to be skipped then.
pub(crate) fn ensure() -> Option<String> {
    let missing: Vec<_> = NEEDED.iter().filter(|(what, ..)| !is_there(what)).collect();
    if missing.is_empty() {
        return None;
    }
    let packages: Vec<_> = missing.iter().map(|(_, package, _)| *package).collect();
    let why: Vec<_> = missing.iter().map(|(_, package, why)| format!("{package}: {why}")).collect();
    let installed = match apt::offers(&packages) {
        Ok(true) => apt::install_without_services(&packages, &why.join("; ")),
        Ok(false) => Err(anyhow!("apt does not know them")),
        Err(error) => Err(error),
    };
    let error = installed.err()?;
    let reason = format!("{} cannot be installed here: {error:#}", packages.join(", "));
    output::heading(&format!("tests with container runtimes are skipped: {reason}"));
    Some(reason)
}

/// Whether a program or a file is there.
fn is_there(what: &str) -> bool {
    if what.starts_with('/') { Path::new(what).exists() } else { find_program(what).is_some() }
}
