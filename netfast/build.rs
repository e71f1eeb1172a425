//! Builds the eBPF object that the binary carries and leaves it at `OUT_DIR/netfast-ebpf.o`.
//!
//! The programs need another compiler than the rest: one whose `core` source is at hand and whose LLVM fits
//! bpf-linker. `cargo xtask setup` provides it as the rustup toolchain `netfast-bpf`. Where it is missing, an
//! empty object is written, so that checking, linting and unit tests work on a bare machine; the binary then
//! refuses to start, with the same advice. aya-build is not used since it cannot set the target CPU.
//!
//! Environment: `NETFAST_BPF_TOOLCHAIN` names the rustup toolchain to use, `NETFAST_BPF_SKIP=1` leaves the
//! object empty.

mod static_link;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

const PACKAGE: &str = "netfast-ebpf";

/// Tried in this order unless `NETFAST_BPF_TOOLCHAIN` names one.
const TOOLCHAINS: &[&str] = &["netfast-bpf", "nightly"];

/// 32-bit arithmetic, jumps and the full set of atomics; every kernel since 5.12 takes it.
const TARGET_CPU: &str = "v3";

/// What cargo sets for this build and must not reach the one inside it: it would use the wrong compiler, wrap
/// it in clippy, or take over flags meant for the host.
const NOT_INHERITED: &[&str] = &[
    "CARGO_BUILD_TARGET",
    "CARGO_MAKEFLAGS",
    "CLIPPY_ARGS",
    "MAKEFLAGS",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

fn main() -> ExitCode {
    for name in ["NETFAST_BPF_TOOLCHAIN", "NETFAST_BPF_SKIP"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    for path in ["build.rs", "../netfast-ebpf/Cargo.toml", "../netfast-ebpf/src", "../netfast-common/src"] {
        println!("cargo::rerun-if-changed={path}");
    }
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    static_link::set_up(&out)?;
    let object = out.join("netfast-ebpf.o");
    if env::var_os("NETFAST_BPF_SKIP").is_some_and(|value| !value.is_empty() && value != "0") {
        return write(&object, &[]);
    }
    match find_tools() {
        Ok(tools) => {
            let built = compile(&tools, &out.join("bpf"))?;
            let bytes = fs::read(&built).map_err(|e| format!("read {}: {e}", built.display()))?;
            write(&object, &bytes)
        }
        Err(missing) => {
            println!(
                "cargo::warning=the eBPF programs are left out: {missing} (run `cargo xtask setup`, then build again)"
            );
            write(&object, &[])
        }
    }
}

/// Writes `path` only if its content differs, so that what embeds it is not rebuilt for nothing. Tells the digest of the
/// content, by which one object is told from another: FNV-1a, 16 hexadecimal digits. Each command asks for it, and reading
/// all of the object takes milliseconds.
fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    println!(
        "cargo::rustc-env=NETFAST_OBJECT_DIGEST={:016x}",
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
    );
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(path, bytes).map_err(|e| format!("write {}: {e}", path.display()))
}

struct Tools {
    toolchain: String,
    /// Directory of bpf-linker, which rustc looks for in `PATH`.
    linker_dir: PathBuf,
}

/// Finds the compiler and the linker, and tells cargo to look again when either may have changed.
fn find_tools() -> Result<Tools, String> {
    let linker = find_linker();
    if let Some(linker) = &linker {
        println!("cargo::rerun-if-changed={}", linker.display());
    } else if let Some(bin) = cargo_bin() {
        // Where it will appear: a directory changes when something is installed into it.
        println!("cargo::rerun-if-changed={}", bin.display());
    }
    let linker = linker.ok_or("bpf-linker is not installed")?;
    let linker_dir = linker.parent().map(Path::to_owned).unwrap_or_default();

    let named = env::var("NETFAST_BPF_TOOLCHAIN").ok().filter(|name| !name.is_empty());
    let candidates = match &named {
        Some(name) => vec![name.as_str()],
        None => TOOLCHAINS.to_vec(),
    };
    for toolchain in candidates {
        if let Some(sysroot) = sysroot(toolchain)
            && sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists()
        {
            println!("cargo::rerun-if-changed={}", sysroot.join("bin/rustc").display());
            return Ok(Tools { toolchain: toolchain.to_owned(), linker_dir });
        }
    }
    // A path that does not exist makes cargo look again at every build, which is what is wanted here: the
    // directory of all toolchains is too large to be watched.
    println!("cargo::rerun-if-changed=no-toolchain-yet");
    Err(match named {
        Some(name) => format!("the rustup toolchain `{name}` does not exist or lacks the source of `core`"),
        None => "no Rust toolchain with the source of `core` was found".to_owned(),
    })
}

fn sysroot(toolchain: &str) -> Option<PathBuf> {
    let mut command = rustup_run(toolchain);
    let output = command.args(["rustc", "--print", "sysroot"]).stderr(Stdio::null()).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim()))
}

fn find_linker() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(cargo_bin()).map(|dir| dir.join("bpf-linker")).find(|file| file.is_file())
}

/// Where `cargo install` puts programs.
fn cargo_bin() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))?;
    Some(home.join("bin"))
}

/// Runs a tool of `toolchain`, in an environment cleared of what this build set.
fn rustup_run(toolchain: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", toolchain]);
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    command
}

fn compile(tools: &Tools, target_dir: &Path) -> Result<PathBuf, String> {
    let target = match variable("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    };
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = manifest_dir.parent().ok_or("the package is not inside a workspace")?;
    let flags = [
        // The layout of the kernel's register set, which aya-ebpf needs to know.
        format!("--cfg=bpf_target_arch=\"{}\"", variable("CARGO_CFG_TARGET_ARCH")?),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // What bpf-linker does by default turns each `memset` and `memmove` into a call of a loop over bytes, even
        // of three bytes.
        "-Clink-arg=--disable-expand-memcpy-in-order".to_owned(),
        format!("-Ctarget-cpu={TARGET_CPU}"),
    ];

    let mut command = rustup_run(&tools.toolchain);
    command
        .args(["cargo", "build", "--package", PACKAGE, "--bins", "--release", "--target", target])
        .arg("-Zbuild-std=core")
        .arg("--target-dir")
        .arg(target_dir)
        // Lets a stable compiler build `core`; set for this child only, userspace stays stable.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("PATH", path_with(&tools.linker_dir)?)
        .current_dir(workspace)
        // Stdout is cargo's; what the inner build has to say is shown if it fails.
        .stdout(Stdio::null());
    if env::var_os("CARGO_FEATURE_LOG").is_some() {
        command.args(["--features", "log"]);
    }
    let status = command.status().map_err(|e| format!("run {command:?}: {e}"))?;
    if !status.success() {
        return Err(format!(
            "building the eBPF programs with the toolchain `{}` failed: {status}, see above",
            tools.toolchain
        ));
    }
    Ok(target_dir.join(target).join("release").join(PACKAGE))
}

/// `PATH` with `dir` in it.
fn path_with(dir: &Path) -> Result<OsString, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<_> = env::split_paths(&path).collect();
    if !dirs.iter().any(|existing| existing == dir) {
        dirs.push(dir.to_owned());
    }
    env::join_paths(dirs).map_err(|e| format!("PATH: {e}"))
}

fn variable(name: &str) -> Result<String, String> {
    env::var_os(name)
        .and_then(|value| value.into_string().ok())
        .ok_or_else(|| format!("cargo did not set {name}"))
}
