//! Links the C library into the binary.
//!
//! A container runtime starts the binary twice for each container. Of the time of such a call the loader took a fifth: it maps
//! four files, looks up three hundred symbols and writes twelve thousand addresses. rustc's own way, `crt-static`, is for all
//! that is built or for nothing, and what runs inside the compiler (procedural macros) cannot be linked so. So rustc goes on asking the
//! linker for shared libraries, and what the linker finds under their names are linker scripts that lead to the archives.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What rustc links against on a host with glibc, and the archives that are in each one's stead.
const LIBRARIES: &[(&str, &[&str])] = &[
    // The archive of what unwinding needs does not say that it needs the others.
    ("gcc_s", &["libgcc_eh.a", "libgcc.a", "libc.a"]),
    ("c", &["libc.a"]),
    ("m", &["libm.a"]),
    ("dl", &["libdl.a"]),
    ("pthread", &["libpthread.a"]),
    ("rt", &["librt.a"]),
    ("util", &["libutil.a"]),
];

/// Tells cargo how the binary is linked. Where an archive is missing, it is linked as ever.
pub(crate) fn set_up(out: &Path) -> Result<(), String> {
    println!("cargo::rerun-if-changed=static_link.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let is_asked =
        env::var("CARGO_CFG_TARGET_FEATURE").is_ok_and(|all| all.split(',').any(|one| one == "crt-static"));
    // A cross compiler has its own ways.
    if !is("CARGO_CFG_TARGET_ENV", "gnu") || env::var("HOST") != env::var("TARGET") || is_asked {
        return Ok(());
    }
    let directory = out.join("archives");
    fs::create_dir_all(&directory).map_err(|e| format!("make {}: {e}", directory.display()))?;
    let linker = env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into());
    for (name, archives) in LIBRARIES {
        let mut found = Vec::new();
        for archive in *archives {
            let Some(path) = find(Command::new(&linker), archive) else {
                println!(
                    "cargo::warning={archive} is not installed: netfast is linked dynamically, and CNI calls take longer"
                );
                return Ok(());
            };
            found.push(format!("\"{}\"", path.display()));
        }
        let path = directory.join(format!("lib{name}.so"));
        let script = format!("GROUP( {} )\n", found.join(" "));
        fs::write(&path, script).map_err(|e| format!("write {}: {e}", path.display()))?;
    }
    println!("cargo::rustc-link-arg-bins=-L{}", directory.display());
    // Addresses that are known when it is linked need not be written when it starts.
    println!("cargo::rustc-link-arg-bins=-no-pie");
    println!("cargo::rustc-link-arg-bins=-static");
    Ok(())
}

/// Where the linker finds an archive.
fn find(mut linker: Command, archive: &str) -> Option<PathBuf> {
    let output = linker.arg(format!("-print-file-name={archive}")).output().ok()?;
    // One that it does not find is told as it was asked for.
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim())).filter(|path| path.is_absolute())
}
