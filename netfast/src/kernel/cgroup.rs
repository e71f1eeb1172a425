//! Attaches the programs of the host's sockets to a cgroup.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aya::programs::links::FdLink;
use aya::programs::{
    CgroupAttachMode, CgroupSock, CgroupSockAddr, CgroupSockAddrAttachType, CgroupSockAttachType,
    ProgramError, ProgramInfo,
};
use nix::libc;

use super::error::errno;
use super::load::Datapath;
use super::object::SOCKET_PROGRAMS;
use super::{KernelError, Result, link, mounts};
use crate::store::fault;

/// The cgroup that holds every process: the first cgroup2 mount.
///
/// # Errors
/// When none is mounted.
pub fn default_cgroup() -> Result<PathBuf> {
    let mut mounts = mounts::mounts()?.into_iter();
    mounts.find(|mount| mount.is("cgroup2")).map(|mount| mount.target).ok_or(KernelError::NoCgroup2)
}

/// The cgroup2 directory of this process.
///
/// # Errors
/// When cgroup2 is not mounted, or it cannot be told.
pub fn own_cgroup() -> Result<PathBuf> {
    const TABLE: &str = "/proc/self/cgroup";
    let table = fs::read_to_string(TABLE).map_err(|e| KernelError::file("read", Path::new(TABLE), e))?;
    let own = table.lines().find_map(|line| line.strip_prefix("0::/")).ok_or(KernelError::NoCgroup2)?;
    Ok(default_cgroup()?.join(own))
}

impl Datapath {
    /// Attaches the programs of the sockets to a cgroup2 directory. Those that are attached to it already stay;
    /// those of another cgroup, or of an older program, are replaced after the new one is in force (for a moment
    /// both run, which changes nothing: the second finds no published port to translate).
    ///
    /// # Errors
    /// When the directory is not a cgroup2 one or the kernel refuses.
    pub fn attach_sockets(&self, cgroup: &Path) -> Result<()> {
        let directory = File::open(cgroup).map_err(|e| KernelError::file("open the cgroup", cgroup, e))?;
        let number = fs::metadata(cgroup).map_err(|e| KernelError::file("look at", cgroup, e))?.ino();
        for name in SOCKET_PROGRAMS {
            let pin = self.pins.links().join(pin_name(name));
            let program = self.pins.program(name);
            let id = ProgramInfo::from_pin(&program).map_err(|e| KernelError::program("open", name, e))?.id();
            // A cgroup's number is its inode's on 64-bit kernels since 5.5.
            let old = link::pinned(&pin)?;
            if old.is_some_and(|state| state.cgroup() == number && state.program_id == id) {
                continue;
            }
            let made = attach(name, &program, &directory).map_err(|e| match errno(&e) {
                Some(libc::E2BIG) => KernelError::CgroupFull { cgroup: cgroup.to_owned(), program: name },
                _ => KernelError::attach("attach", name, cgroup.display().to_string(), e),
            })?;
            fault::point("replace a socket program");
            replace_pin(made, &pin)?;
        }
        Ok(())
    }

    /// Detaches the programs of the sockets. Says whether any was attached.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn detach_sockets(&self) -> Result<bool> {
        let mut found = false;
        for name in SOCKET_PROGRAMS {
            let pin = self.pins.links().join(pin_name(name));
            found |= pin.exists();
            link::remove(&pin)?;
        }
        Ok(found)
    }

    /// Number of the cgroup to which all programs of the sockets are attached; `None` unless all are.
    ///
    /// # Errors
    /// When a pin cannot be read.
    pub fn sockets_attached(&self) -> Result<Option<u64>> {
        let mut cgroup = None;
        for name in SOCKET_PROGRAMS {
            let Some(state) = link::pinned(&self.pins.links().join(pin_name(name)))? else { return Ok(None) };
            if state.cgroup() == 0 || cgroup.is_some_and(|c| c != state.cgroup()) {
                return Ok(None);
            }
            cgroup = Some(state.cgroup());
        }
        Ok(cgroup)
    }
}

fn attach(name: &str, program: &Path, cgroup: &File) -> Result<FdLink, ProgramError> {
    // A link lets others in whatever is said here; "multiple" is EINVAL (6.18).
    let mode = CgroupAttachMode::Single;
    let link = match attach_type(name) {
        AttachType::Bind(kind) => {
            let mut program = CgroupSock::from_pin(program, kind)?;
            let id = program.attach(cgroup, mode)?;
            FdLink::try_from(program.take_link(id)?)
        }
        AttachType::Address(kind) => {
            let mut program = CgroupSockAddr::from_pin(program, kind)?;
            let id = program.attach(cgroup, mode)?;
            FdLink::try_from(program.take_link(id)?)
        }
    };
    link.map_err(link::program_error)
}

/// Pins a link in the place of another one, which is detached by that.
fn replace_pin(new: FdLink, pin: &Path) -> Result<()> {
    let mut temporary = pin.as_os_str().to_owned();
    temporary.push("-new");
    let temporary = PathBuf::from(temporary);
    // What a crash left.
    link::remove(&temporary)?;
    link::pin(new, &temporary)?;
    fault::point("rename a link");
    fs::rename(&temporary, pin).map_err(|e| KernelError::file("rename to", pin, e))
}

fn pin_name(program: &str) -> String {
    format!("cgroup-{program}")
}

/// Where in a socket's life a program runs.
enum AttachType {
    /// After the kernel has bound it.
    Bind(CgroupSockAttachType),
    /// Where an address comes from or goes to the process.
    Address(CgroupSockAddrAttachType),
}

fn attach_type(program: &str) -> AttachType {
    AttachType::Address(match program {
        "post_bind4" => return AttachType::Bind(CgroupSockAttachType::PostBind4),
        "post_bind6" => return AttachType::Bind(CgroupSockAttachType::PostBind6),
        "connect4" => CgroupSockAddrAttachType::Connect4,
        "connect6" => CgroupSockAddrAttachType::Connect6,
        "sendmsg4" => CgroupSockAddrAttachType::UDPSendMsg4,
        "sendmsg6" => CgroupSockAddrAttachType::UDPSendMsg6,
        "recvmsg4" => CgroupSockAddrAttachType::UDPRecvMsg4,
        "recvmsg6" => CgroupSockAddrAttachType::UDPRecvMsg6,
        "getpeername4" => CgroupSockAddrAttachType::GetPeerName4,
        _ => CgroupSockAddrAttachType::GetPeerName6,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::loaded;
    use super::*;

    /// A cgroup without processes, removed when dropped.
    struct Cgroup(PathBuf);

    impl Cgroup {
        fn new(name: &str) -> Self {
            let name = format!("netfast-test-{}-{name}", std::process::id());
            let path = default_cgroup().unwrap().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn number(&self) -> u64 {
            fs::metadata(&self.0).unwrap().ino()
        }
    }

    impl Drop for Cgroup {
        fn drop(&mut self) {
            drop(fs::remove_dir(&self.0));
        }
    }

    #[test]
    fn sockets_are_attached_moved_and_detached() {
        if default_cgroup().is_err() {
            eprintln!("skipped: no cgroup2 mount");
            return;
        }
        loaded(|bpffs, datapath| {
            let (first, second) = (Cgroup::new("a"), Cgroup::new("b"));
            assert_eq!(datapath.sockets_attached().unwrap(), None);
            for _ in 0..2 {
                datapath.attach_sockets(&first.0).unwrap();
                assert_eq!(datapath.sockets_attached().unwrap(), Some(first.number()));
            }
            datapath.attach_sockets(&second.0).unwrap();
            drop(datapath);
            let datapath = Datapath::open(bpffs).unwrap().unwrap();
            assert_eq!(datapath.sockets_attached().unwrap(), Some(second.number()));
            assert!(datapath.attached().unwrap().is_empty());
            assert!(datapath.detach_sockets().unwrap());
            assert!(!datapath.detach_sockets().unwrap());
            assert_eq!(datapath.sockets_attached().unwrap(), None);
        });
    }

    #[test]
    fn a_cgroup_that_is_gone_is_noticed() {
        if default_cgroup().is_err() {
            return;
        }
        loaded(|_, datapath| {
            let cgroup = Cgroup::new("c");
            datapath.attach_sockets(&cgroup.0).unwrap();
            drop(cgroup);
            // The kernel detaches when the last reference to the cgroup goes, which may take a moment.
            let gone = (0..100).any(|_| {
                std::thread::sleep(std::time::Duration::from_millis(20));
                datapath.sockets_attached().unwrap().is_none()
            });
            assert!(gone);
        });
    }
}
