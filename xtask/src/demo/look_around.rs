//! How to look around while the demo waits: two small scripts that enter its namespaces.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use netfast_tests::{HOST_V4, Lab, Ns};

use crate::demo::endpoint::Endpoint;
use crate::output;

/// Writes the scripts and says what can be done with them.
pub(crate) fn explain(lab: &Lab, web: &Endpoint) -> Result<()> {
    let host = script(lab, &lab.host, true)?;
    let outside = script(lab, &lab.outside, false)?;
    let address = web.addresses.first().map(ToString::to_string).unwrap_or_default();
    output::heading("Look around from another terminal (as root), then press Ctrl-C here");
    for (command, about) in [
        (format!("{host} netfast status"), "netfast, on the private host"),
        (format!("{host} netfast exec stranger -- curl -m 1 http://{address}/"), "denied by policy"),
        (format!("{host} netfast endpoint inspect web"), "which web's account of drops shows"),
        (format!("{host} netfast exec client -- curl http://{address}/"), "let in by policy"),
        (format!("{host} curl http://127.0.0.1:8080/"), "the published port, from the host"),
        (format!("{outside} curl http://{HOST_V4}:8080/"), "and from outside"),
        (host.clone(), "a shell on the host"),
    ] {
        output::dim(&format!("  # {about}"));
        output::line(&format!("  {command}"));
    }
    Ok(())
}

/// Writes a script that runs its arguments, or a shell, inside `ns`.
fn script(lab: &Lab, ns: &Ns, is_host: bool) -> Result<String> {
    let mut lines = vec!["#!/bin/sh".to_owned(), "set -eu".to_owned()];
    if is_host {
        lines.push(format!("echo $$ > {}/cgroup.procs", lab.cgroup().display()));
        for (name, value) in lab.environment() {
            lines.push(format!("export {name}={}", value.display()));
        }
        let bin = lab.binary().parent().unwrap_or(Path::new("/"));
        lines.push(format!("export PATH={}:$PATH", bin.display()));
    }
    let mount = ns.mount_path().map_or(String::new(), |path| format!(" --mount={}", path.display()));
    lines.push("[ $# -gt 0 ] || set -- \"${SHELL:-sh}\"".to_owned());
    lines.push(format!("exec nsenter --net={}{mount} -- \"$@\"\n", ns.path().display()));
    let path = lab.dir().join(ns.name());
    fs::write(&path, lines.join("\n")).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok(path.display().to_string())
}
