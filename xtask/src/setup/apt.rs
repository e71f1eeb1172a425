//! Debian packages.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::step;
use crate::workspace::{as_root, find_program};

/// Debian asks this program before it starts a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs `packages`, for the reason given.
pub(crate) fn install(packages: &[&str], why: &str) -> Result<()> {
    if !usable() {
        bail!(
            "{} missing ({why}): this machine has no apt-get that we may use (install {} by hand, or run as root)",
            packages.join(", "),
            packages.join(" ")
        );
    }
    let mut is_fresh = false;
    if !known(packages) {
        update("apt does not know the packages yet")?;
        is_fresh = true;
    }
    let install = || {
        let mut command = apt_get();
        command.args(["install", "--yes", "--no-install-recommends"]).args(packages);
        step::run(&format!("install {}", packages.join(" ")), why, &mut command)
    };
    match install() {
        // Old lists name versions that the archive no longer has.
        Err(_) if !is_fresh => {
            update("the lists may be too old")?;
            install()
        }
        result => result,
    }
}

/// As [`install`], but the packages start no services: what is needed is their programs.
pub(crate) fn install_without_services(packages: &[&str], why: &str) -> Result<()> {
    if Path::new(POLICY).exists() {
        // Somebody has decided that already.
        return install(packages, why);
    }
    let forbid = format!("printf '#!/bin/sh\nexit 101\n' > {POLICY} && chmod 755 {POLICY}");
    let what = "keep the packages from starting services";
    step::run(what, "only their programs are needed", as_root("sh").args(["-c", &forbid]))?;
    let result = install(packages, why);
    step::run("allow that again", "they are installed", as_root("rm").arg(POLICY)).and(result)
}

/// Whether `packages` can be had, after fetching the package lists if need be.
pub(crate) fn offers(packages: &[&str]) -> Result<bool> {
    if !usable() {
        return Ok(false);
    }
    if !known(packages) {
        update("apt does not know the packages yet")?;
    }
    Ok(known(packages))
}

fn usable() -> bool {
    find_program("apt-get").is_some() && (netfast_tests::is_root() || find_program("sudo").is_some())
}

/// Whether the package lists that are here already have all of `packages`.
fn known(packages: &[&str]) -> bool {
    packages.iter().all(|package| {
        let show = Command::new("apt-cache")
            .args(["show", "--no-all-versions", package])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        show.is_ok_and(|status| status.success())
    })
}

fn update(why: &str) -> Result<()> {
    step::run("fetch the package lists", why, apt_get().arg("update"))
}

/// `apt-get` that asks nothing; sudo clears the environment, hence `env`.
fn apt_get() -> Command {
    let mut command = as_root("env");
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"]);
    command
}
