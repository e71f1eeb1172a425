//! Which files are synced: seen by taking the system calls for it away from a thread.

use std::thread;

use nix::errno::Errno;
use nix::libc;

use super::*;

/// Has the kernel refuse the calling thread, and no other, to sync a file.
fn forbid_to_sync() {
    let step = |code: u32, jump: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt: jump,
        jf: 0,
        k,
    };
    let number = |call: libc::c_long| u32::try_from(call).unwrap();
    let refuse = libc::SECCOMP_RET_ERRNO | Errno::EPERM as u32;
    let mut program = [
        // The number of the call is the first word of `struct seccomp_data`.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 2, number(libc::SYS_fsync)),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, number(libc::SYS_fdatasync)),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
        step(libc::BPF_RET | libc::BPF_K, 0, refuse),
    ];
    let program = libc::sock_fprog { len: 5, filter: program.as_mut_ptr() };
    // SAFETY: the pointers are to live locals, and the length is that of the program.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

#[test]
fn only_what_outlives_a_boot_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let store = tests::store(dir.path());
    let locked = store.lock(LOCK_TIMEOUT).unwrap();
    let (void, lasting) = thread::spawn(move || {
        forbid_to_sync();
        let before = Definitions::default();
        let mut after = Definitions { manifest: Some("netfast.yaml".into()), ..Definitions::default() };
        let instance = Instance::new(NetnsId { cookie: 7, dev: 4, ino: 5 }).unwrap();
        let void = locked
            .save_endpoint(&tests::endpoint("default", "web"))
            .and(locked.save_instance(&instance))
            .and(locked.save_numbers(&7));
        let lasting = locked
            .prepare_definitions(&mut after, &before)
            .and_then(|prepared| locked.save_definitions(prepared, &after, &before));
        (void, lasting)
    })
    .join()
    .unwrap();
    void.unwrap();
    assert!(matches!(lasting, Err(StoreError::File { .. })), "{lasting:?}");
}
