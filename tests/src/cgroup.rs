//! A private cgroup, and sockets that belong to it.
//!
//! The cgroup programs that translate a host process's connections are found through the socket, which belongs
//! to the cgroup of the process that made it. A thread cannot be in another cgroup than its process (unless both
//! are made for that), so sockets are made by a short-lived child in the cgroup and handed over.

use std::ffi::CString;
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::cmsg_space;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork, write};
use socket2::{Domain, Protocol, Socket, Type};

/// A cgroup of its own below the root of the cgroup2 hierarchy; removed when dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    pub(crate) fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = mount_point()?.join(format!("netfast-lab-{}-{number}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("create the cgroup {}", path.display()))?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Ends whatever is in there: it was started by this lab, or by what it started.
    pub(crate) fn kill(&self) {
        drop(fs::write(self.path.join("cgroup.kill"), "1"));
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.kill();
        for _ in 0..100 {
            match fs::remove_dir(&self.path) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    thread::sleep(Duration::from_millis(10));
                }
                _ => return,
            }
        }
    }
}

/// Where the cgroup2 hierarchy is mounted; beside a version 1 hierarchy that is not `/sys/fs/cgroup`.
fn mount_point() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        if let (Some(path), Some("cgroup2")) = (fields.next(), fields.next()) {
            return Ok(PathBuf::from(path));
        }
    }
    bail!("no cgroup2 file system is mounted (try `mount -t cgroup2 none /sys/fs/cgroup`)")
}

/// The file that a process joins `cgroup` by.
pub(crate) fn procs_file(cgroup: &Path) -> CString {
    CString::new(cgroup.join("cgroup.procs").as_os_str().as_bytes()).unwrap_or_default()
}

/// Moves the calling process. Makes system calls only.
pub(crate) fn join(procs: &CString) -> io::Result<()> {
    let file = open(procs.as_c_str(), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write(&file, b"0")?;
    Ok(())
}

/// Makes a socket that belongs to `cgroup`, in the calling thread's network namespace.
pub(crate) fn socket(
    cgroup: &Path,
    domain: Domain,
    kind: Type,
    protocol: Option<Protocol>,
) -> Result<Socket> {
    let procs = procs_file(cgroup);
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: the child makes system calls only, then leaves without unwinding or exit handlers.
    let child = match unsafe { fork() }.context("fork")? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let errno = make_and_send(&procs, domain, kind, protocol, theirs.as_raw_fd());
            // SAFETY: it only ends the process.
            unsafe { libc::_exit(errno) }
        }
    };
    drop(theirs);
    let received = receive(&ours);
    let status = waitpid(child, None).context("wait for the child that makes a socket")?;
    if let nix::sys::wait::WaitStatus::Exited(_, errno) = status
        && errno != 0
    {
        return Err(io::Error::from_raw_os_error(errno)).context("make a socket in the cgroup");
    }
    Ok(Socket::from(received?))
}

/// The child's part. Returns an errno, 0 if all went well.
fn make_and_send(procs: &CString, domain: Domain, kind: Type, protocol: Option<Protocol>, to: RawFd) -> i32 {
    let attempt = || -> io::Result<()> {
        join(procs)?;
        let socket = Socket::new(domain, kind, protocol)?;
        let descriptors = [socket.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        sendmsg::<()>(to, &[IoSlice::new(b"s")], &rights, MsgFlags::empty(), None)?;
        Ok(())
    };
    attempt().map_or_else(|error| error.raw_os_error().unwrap_or(libc::EIO), |()| 0)
}

fn receive(from: &OwnedFd) -> Result<OwnedFd> {
    let mut byte = [0; 1];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = cmsg_space!([RawFd; 1]);
    let message = recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)
        .context("receive a socket")?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control
            && let Some(&descriptor) = descriptors.first()
        {
            // SAFETY: the kernel has just put this descriptor into our table, and nobody else knows it.
            return Ok(unsafe { OwnedFd::from_raw_fd(descriptor) });
        }
    }
    bail!("the message carried no socket")
}
