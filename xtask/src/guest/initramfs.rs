//! What the virtual machine boots into.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::cpio::Archive;
use super::debian::{self, Files, Kernel};
use super::machine::{CONSOLE, END};
use super::modules;
use super::programs::{Tests, libraries, stripped};
use crate::workspace::find_program;

/// Programs that the tests call and whose busybox namesakes cannot do it all.
const PROGRAMS: &[&str] = &["ip", "tc", "ss", "nsenter", "unshare"];

/// The tests of netfast's library are named like the package.
const LIBRARY: &str = "netfast";

/// Tests of the library that use the kernel.
const UNITS: &str = "kernel:: net:: doctor::";

/// The end-to-end tests that are about packets, or about the kernel. Without KVM all of them would take half an hour.
const DATAPATH: &[&str] = &[
    "clsact",
    "redirect",
    "crowd",
    "published",
    "masquerade",
    "isolation",
    "policy",
    "deny",
    "elsewhere",
    "reboot",
    "doctor",
];

/// How often longer than here the tests may wait for something.
const PATIENCE: u32 = 5;

/// Makes the image, and returns where it is.
pub(crate) fn make(
    kernel: Kernel,
    files: &Files,
    netfast: &Path,
    tests: &[Tests],
    only: Option<&str>,
) -> Result<PathBuf> {
    let mut archive = Archive::default();
    let busybox = find_program("busybox").context("find busybox")?;
    archive.file("/bin/busybox", &read(&busybox)?);
    for name in PROGRAMS {
        let path = find_program(name).with_context(|| format!("find {name}"))?;
        add(&mut archive, &format!("/usr/bin/{name}"), &path, &read(&path)?)?;
    }
    add(&mut archive, "/usr/bin/netfast", netfast, &stripped(netfast)?)?;
    for Tests { name, path } in tests {
        add(&mut archive, &format!("/tests/{name}"), path, &stripped(path)?)?;
    }
    let modules = modules::wanted(&files.modules)?;
    for (name, module) in &modules {
        archive.file(&format!("/modules/{name}"), module);
    }
    let modules: Vec<_> = modules.into_iter().map(|(name, _)| name).collect();
    archive.file("/init", script(&modules, tests, only).as_bytes());
    let image = debian::directory(kernel).join("initramfs");
    fs::write(&image, archive.finish()).with_context(|| format!("write {}", image.display()))?;
    Ok(image)
}

/// Adds a program under another name, and its libraries where they are.
fn add(archive: &mut Archive, to: &str, program: &Path, content: &[u8]) -> Result<()> {
    archive.file(to, content);
    for library in libraries(program)? {
        archive.file(&library.display().to_string(), &read(&library)?);
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

/// The first process of the machine.
fn script(modules: &[String], tests: &[Tests], only: Option<&str>) -> String {
    let mut script = format!(
        "#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /var/lib /etc
/bin/busybox --install -s /bin
export PATH=/usr/bin:/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
echo '127.0.0.1 localhost' >/etc/hosts
touch /etc/resolv.conf
exec </dev/null >{CONSOLE} 2>&1
"
    );
    for module in modules {
        _ = writeln!(script, "insmod /modules/{module}");
    }
    _ = write!(
        script,
        "ip link set lo up
export NETFAST_BIN=/usr/bin/netfast NETFAST_TEST_STRICT=1 NETFAST_TEST_PATIENCE={PATIENCE}
export NETFAST_TEST_NO_RUNTIMES='there are no container runtimes in the virtual machine'
export RUST_BACKTRACE=1
code=0
"
    );
    for Tests { name, .. } in tests {
        let filter = match only {
            Some(only) if name != LIBRARY => only,
            None if name == LIBRARY => UNITS,
            None if DATAPATH.contains(&name.as_str()) => "",
            _ => continue,
        };
        _ = writeln!(script, "echo '== {name}'; /tests/{name} --show-output {filter} || code=1");
    }
    _ = write!(script, "echo '{END}'$code\nsleep 1\npoweroff -f\n");
    script
}
