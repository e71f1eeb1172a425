//! What the tests of this module share: a thread with network and mount namespaces of its own, so that nothing
//! of the host is touched and everything is gone with the thread, however the test ends.

pub(super) mod long_program;

use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{panic, thread};

use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use nix::time::{ClockId, clock_gettime};

use super::{Bpffs, Datapath, KernelError, has_tcx};
use crate::model::Limits;

/// Runs `test` with an empty directory, or says why it cannot.
pub(crate) fn isolated(test: impl FnOnce(&Path) + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let run = move || {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        nix::mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let dir = tempfile::tempdir().unwrap();
        nix::mount::mount(Some("test"), dir.path(), Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let result = panic::catch_unwind(panic::AssertUnwindSafe(|| test(dir.path())));
        nix::mount::umount2(dir.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
        result
    };
    if let Err(e) = thread::spawn(run).join().unwrap() {
        panic::resume_unwind(e);
    }
}

/// Runs `test` with a loaded datapath, unless the object was not built.
pub(crate) fn loaded(test: impl FnOnce(&Bpffs, Datapath) + Send + 'static) {
    isolated(|dir| {
        let bpffs = Bpffs::ensure(dir.join("bpf")).unwrap();
        match Datapath::open_or_load(&bpffs, &Limits::default()) {
            Err(KernelError::NotBuilt | KernelError::BadObject { .. }) => {
                eprintln!("skipped: no eBPF object");
            }
            Err(e) => panic!("{e}: {e:?}"),
            Ok(datapath) => test(&bpffs, datapath),
        }
    });
}

/// As [`loaded`], on a kernel with tcx links.
pub(super) fn loaded_with_tcx(test: impl FnOnce(&Bpffs, Datapath) + Send + 'static) {
    loaded(|bpffs, datapath| {
        if has_tcx() {
            test(bpffs, datapath);
        } else {
            eprintln!("skipped: this kernel has no tcx (Linux 6.6)");
        }
    });
}

/// Runs `ip` in the thread's namespace.
pub(super) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// How long this thread has computed so far, in the kernel too: how long it waits for other tests is no part of it.
pub(crate) fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}
