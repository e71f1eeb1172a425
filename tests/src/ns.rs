//! A network namespace and everything that is done inside it.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use socket2::{Domain, Protocol, Socket, Type};

use crate::bind::bind_when_free;
use crate::cgroup;
use crate::patience::patient;
use crate::process::{Finished, run};

/// A network namespace, kept alive by an open file. Clones share it.
///
/// A namespace that plays a host also has a mount namespace (so that what is mounted there vanishes with it) and
/// a cgroup, which processes and sockets made through this handle belong to.
#[derive(Clone, Debug)]
pub struct Ns {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    net: OwnedFd,
    mount: Option<OwnedFd>,
    cgroup: Option<PathBuf>,
}

impl Ns {
    /// Makes an empty namespace; its loopback interface is up. `name` is what servers inside answer with.
    pub fn new(name: &str) -> Result<Self> {
        let net = on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("unshare the network namespace")?;
            Ok(File::open("/proc/thread-self/ns/net")?.into())
        })?;
        Self::with(Inner { name: name.to_owned(), net, mount: None, cgroup: None })
    }

    /// Makes a namespace that plays a host: with a mount namespace of its own, and `cgroup` for all that runs in
    /// it.
    pub(crate) fn new_host(name: &str, cgroup: &Path) -> Result<Self> {
        let (net, mount_ns) = on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
                .context("unshare the network and mount namespaces")?;
            // Else what is mounted inside would appear outside too.
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
                .context("make the mounts private")?;
            let net: OwnedFd = File::open("/proc/thread-self/ns/net")?.into();
            let mount: OwnedFd = File::open("/proc/thread-self/ns/mnt")?.into();
            Ok((net, mount))
        })?;
        Self::with(Inner {
            name: name.to_owned(),
            net,
            mount: Some(mount_ns),
            cgroup: Some(cgroup.to_owned()),
        })
    }

    fn with(inner: Inner) -> Result<Self> {
        let_children_end_in_silence()?;
        let ns = Self { inner: Arc::new(inner) };
        ns.ip("link set lo up")?;
        Ok(ns)
    }

    /// Opens the namespace at `path` as seen from inside this one (whose mounts nobody else may see).
    pub fn open(&self, name: &str, path: &Path) -> Result<Self> {
        let net = self.run(|| File::open(path).with_context(|| format!("open {}", path.display())))?.into();
        Ok(Self { inner: Arc::new(Inner { name: name.to_owned(), net, mount: None, cgroup: None }) })
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// A path by which other processes can find it while this process lives.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.inner.net.as_raw_fd()))
    }

    /// A path of its mount namespace, if it has one.
    pub fn mount_path(&self) -> Option<PathBuf> {
        let fd = self.inner.mount.as_ref()?.as_raw_fd();
        Some(PathBuf::from(format!("/proc/{}/fd/{fd}", std::process::id())))
    }

    /// Runs `f` inside, on a thread of its own. Sockets made there stay in the namespace and may be used
    /// anywhere.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_thread(|| {
            self.enter().with_context(|| format!("enter the namespace {}", self.inner.name))?;
            f()
        })
    }

    /// Moves the calling thread inside. Makes system calls only, so that it is safe between fork and exec.
    fn enter(&self) -> io::Result<()> {
        if let Some(mount) = &self.inner.mount {
            // A thread that shares its working directory with others may not change its mounts.
            unshare(CloneFlags::CLONE_FS)?;
            setns(mount.as_fd(), CloneFlags::CLONE_NEWNS)?;
        }
        setns(self.inner.net.as_fd(), CloneFlags::CLONE_NEWNET)?;
        Ok(())
    }

    /// A command that will run inside, in the cgroup too, and in a process group of its own, so that Ctrl-C on a
    /// terminal reaches only its parent.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let cgroup = self.inner.cgroup.as_deref().map(cgroup::procs_file);
        let mut command = Command::new(program);
        let ns = self.clone();
        command.process_group(0);
        // SAFETY: the closure makes system calls only and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                if let Some(file) = &cgroup {
                    cgroup::join(file)?;
                }
                // Nothing outlives a parent that was killed.
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                // A demo blocks the signals it waits for, and all block `SIGCHLD`; children are not to inherit that.
                SigSet::empty().thread_set_mask()?;
                // What a script starts in the background ignores Ctrl-C, and so do its children.
                signal(Signal::SIGINT, SigHandler::SigDfl)?;
                ns.enter()
            });
        }
        command
    }

    /// Runs a program inside and waits for it, at most `timeout`.
    pub fn finish(&self, program: &str, args: &[&str], timeout: Duration) -> Result<Finished> {
        run(self.command(program).args(args), timeout)
    }

    /// Runs `ip` with the words of `args`; fails if it does.
    pub fn ip(&self, args: &str) -> Result<String> {
        let words: Vec<_> = args.split_whitespace().collect();
        let done = self.finish("ip", &words, Duration::from_secs(10))?;
        if !done.success() {
            bail!("ip {args} (in {}): {}", self.inner.name, done.stderr.trim());
        }
        Ok(done.stdout)
    }

    /// Joins this namespace and `other` by a veth pair. Both ends are up and pass packets on return.
    pub fn join(&self, device: &str, other: &Self, other_device: &str) -> Result<()> {
        let path = other.path();
        self.ip(&format!("link add {device} type veth peer name {other_device} netns {}", path.display()))?;
        // The link-local addresses are usable at once. While duplicate detection goes on, which takes a second or two,
        // the kernel does not ask for neighbours on behalf of a packet that it forwards.
        for (ns, device) in [(self, device), (other, other_device)] {
            let path = format!("/proc/sys/net/ipv6/conf/{device}/accept_dad");
            ns.run(|| fs::write(&path, "0").with_context(|| format!("write {path}")))?;
        }
        self.ip(&format!("link set {device} up"))?;
        other.ip(&format!("link set {other_device} up"))?;
        // The kernel gives a device its queue some time after its carrier came, and drops all until then.
        for (ns, device) in [(self, device), (other, other_device)] {
            wait_until(&format!("{device} in {} is running", ns.name()), || {
                Ok(ns.ip(&format!("-brief link show dev {device}"))?.contains(" UP "))
            })?;
        }
        Ok(())
    }

    /// Makes it a router: what comes in for others goes on to them.
    pub fn forward(&self) -> Result<()> {
        self.run(|| {
            for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                let path = format!("/proc/sys/net/{setting}");
                fs::write(&path, "1").with_context(|| format!("write {path}"))?;
            }
            Ok(())
        })
    }

    /// Adds an address (`192.0.2.1/24`) to a device that is up. It is usable on return, an IPv6 address too:
    /// without duplicate detection.
    pub fn address(&self, device: &str, address: &str) -> Result<()> {
        let (plain, _) = address.split_once('/').unwrap_or((address, ""));
        let IpAddr::V6(plain) = plain.parse().with_context(|| format!("the address {address}"))? else {
            return self.ip(&format!("addr add {address} dev {device}")).map(drop);
        };
        self.ip(&format!("addr add {address} dev {device} nodad"))?;
        // A worker of the kernel joins the group in which others ask for the address; who asked before that is
        // not heard, and asks again only after a second.
        let [.., a, b, c] = plain.octets();
        let group = format!("ff0200000000000000000001ff{a:02x}{b:02x}{c:02x}");
        wait_until(&format!("{address} on {device} in {} is usable", self.name()), || {
            let groups = self.run(|| Ok(fs::read_to_string("/proc/thread-self/net/igmp6")?))?;
            Ok(groups.lines().any(|line| line.contains(device) && line.contains(&group)))
        })
    }

    /// Makes a socket inside. Where the namespace has a cgroup the socket belongs to that, so that its programs
    /// see what is done with it although the caller lives elsewhere.
    pub fn socket(&self, domain: Domain, kind: Type, protocol: Option<Protocol>) -> Result<Socket> {
        self.run(|| match &self.inner.cgroup {
            None => Ok(Socket::new(domain, kind, protocol)?),
            Some(cgroup) => cgroup::socket(cgroup, domain, kind, protocol),
        })
    }

    /// As [`Self::socket`], bound to `address` where one is given.
    pub(crate) fn socket_for(
        &self,
        remote: SocketAddr,
        kind: Type,
        from: Option<SocketAddr>,
    ) -> io::Result<Socket> {
        let socket = self.socket(Domain::for_address(remote), kind, None).map_err(io::Error::other)?;
        if let Some(from) = from {
            bind_when_free(&socket, from)?;
        }
        Ok(socket)
    }
}

/// Waits for what the kernel does in its own time.
fn wait_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + patient(Duration::from_secs(5));
    while Instant::now() < deadline {
        if done()? {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(5));
    }
    bail!("waited in vain until {what}")
}

/// Keeps `SIGCHLD` from the calling thread and those it will start. The kernel throws such a signal away, but not when the thread
/// that started the child blocks it, as it does while it starts another one (Linux 6.18, `sig_ignored`): then any other thread
/// is woken for it, and a read with a timeout there fails with `EINTR`.
fn let_children_end_in_silence() -> Result<()> {
    let signals: SigSet = [Signal::SIGCHLD].into_iter().collect();
    signals.thread_block().context("block SIGCHLD")
}

/// Runs `f` on a thread of its own, since a namespace is entered for good.
fn on_thread<T: Send>(f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        scope.spawn(f).join().unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().copied().unwrap_or("no message");
            Err(anyhow!("a thread in a namespace panicked: {text}"))
        })
    })
}
