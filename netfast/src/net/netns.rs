//! Network namespaces, by file descriptor.

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process;
use std::thread;

use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::fstat;

use super::Error;

/// `ioctl` on a namespace file: its `CLONE_NEW*` type (Linux 4.11).
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// `getsockopt` at `SOL_SOCKET`: the cookie of the socket's namespace (Linux 5.14). libc lacks it.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// A network namespace, kept alive by this handle.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
}

impl Netns {
    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, Error> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The namespace of a process.
    pub fn of_pid(pid: u32) -> Result<Self, Error> {
        Self::open(Path::new(&format!("/proc/{pid}/ns/net")))
    }

    /// The namespace mounted on (or linked by) a file. A file without one, as a killed [`Netns::create`] leaves, is
    /// refused with `EINVAL`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::system("open network namespace", path.display(), source);
        let fd = OwnedFd::from(File::open(path).map_err(failed)?);
        // SAFETY: the request takes no argument and `fd` is open for the whole call.
        let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) };
        // An ordinary file answers ENOTTY, another kind of namespace its own type.
        if kind != libc::CLONE_NEWNET {
            return Err(failed(io::Error::from_raw_os_error(libc::EINVAL)));
        }
        Ok(Self { fd })
    }

    /// A second handle on the same namespace.
    pub fn try_clone(&self) -> Result<Self, Error> {
        let fd =
            self.fd.try_clone().map_err(|e| Error::system("duplicate", "network namespace handle", e))?;
        Ok(Self { fd })
    }

    /// Device and inode number of its nsfs file: equal exactly for handles on the same namespace, while one of them is
    /// open. The kernel reuses the numbers of dead namespaces; [`Netns::cookie`] is never reused until a reboot.
    pub fn inode(&self) -> Result<(u64, u64), Error> {
        let stat = fstat(&self.fd).map_err(|e| Error::system("stat", "network namespace", e))?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// The cookie, a number no other namespace has had since boot; what `bpf_get_netns_cookie` returns (Linux 5.14).
    pub fn cookie(&self) -> Result<u64, Error> {
        self.visit(|| {
            // Any family serves; AF_UNIX exists in every kernel and makes no protocol state.
            let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
                .map_err(|e| Error::system("open socket in", "network namespace", e))?;
            netns_cookie(socket.as_fd()).map_err(|e| Error::system("read", "network namespace cookie", e))
        })?
    }

    /// Runs `work` inside the namespace and returns its result: on the calling thread where that is in the namespace, else
    /// on a fresh one.
    ///
    /// # Errors
    /// When a thread cannot be started or cannot enter, or when `work` panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        if Self::current()?.inode()? == self.inode()? {
            // As if on a thread: what was half done in there is given up with the panic.
            let done = panic::catch_unwind(AssertUnwindSafe(work));
            return done.map_err(|panic| Error::Panicked(panic_text(&*panic)));
        }
        on_fresh_thread(|| {
            self.enter()?;
            Ok(work())
        })?
    }

    /// As [`Self::run`], for what takes a moment: the calling thread enters and comes back. Starting a thread takes longer than
    /// all that is done in this way.
    ///
    /// # Errors
    /// When the thread cannot enter, or when `work` panics.
    pub(super) fn visit<T>(&self, work: impl FnOnce() -> T) -> Result<T, Error> {
        let home = Self::current()?;
        let is_elsewhere = home.inode()? != self.inode()?;
        if is_elsewhere {
            self.enter()?;
        }
        let done = panic::catch_unwind(AssertUnwindSafe(work));
        if is_elsewhere && let Err(error) = home.enter() {
            // Whatever came next would be done to the wrong namespace. What a killed process leaves, the next one puts right.
            tracing::error!(%error, "cannot go back to the network namespace this was started in");
            process::abort();
        }
        done.map_err(|panic| Error::Panicked(panic_text(&*panic)))
    }

    /// Moves the calling thread.
    fn enter(&self) -> Result<(), Error> {
        setns(&self.fd, CloneFlags::CLONE_NEWNET).map_err(|e| Error::system("enter", "network namespace", e))
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Runs `work` on a thread that ends with it, so that a namespace it enters is left by nobody else.
pub(super) fn on_fresh_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netfast-netns".to_owned())
            .spawn_scoped(scope, work)
            .map_err(|e| Error::system("start", "thread", e))?;
        thread.join().map_err(|panic| Error::Panicked(panic_text(&*panic)))
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}

fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    // The size of a u64 fits any integer type.
    #[expect(clippy::cast_possible_truncation, reason = "8")]
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: both pointers are to live locals, and `length` is the size of the buffer.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inode() {
            Ok((_, inode)) => write!(f, "net:[{inode}]"),
            Err(_) => f.write_str("net:[?]"),
        }
    }
}
