//! What netfast's end-to-end tests (and `cargo xtask run`'s demo) stand on: a machine of their own.
//!
//! A [`Lab`] is a network namespace that plays the host, a second one that plays the world outside, and private
//! directories and a private cgroup for the netfast binary that runs in it. [`Ns`] gives real sockets inside any
//! namespace. Nothing here touches the real host's interfaces, routes, mounts or settings, and everything
//! disappears when its owner is dropped; namespaces and mounts even when the process is killed, since they have
//! no name anywhere but an open file of this process.
//!
//! Labs are independent of each other, so tests run in parallel.

mod bind;
mod bpf;
mod cgroup;
mod chain;
mod cni;
mod containerd;
mod counters;
mod cri;
mod disk;
mod frame;
mod lab;
mod leftovers;
mod libcni;
mod machine;
mod network;
mod ns;
mod patience;
mod payload;
mod pieces;
mod ping;
mod podman;
mod process;
mod program;
mod raw;
mod tcp;
mod tcx;
mod traffic;
mod udp;
mod up;
mod uplink;
mod ways;
mod xdp;

pub use bind::bind_when_free;
pub use chain::{Chain, Member, has_stock_plugins};
pub use cni::{Answer, Container, Plugin, address};
pub use containerd::{Containerd, CtrTask};
pub use counters::Counters;
pub use cri::{Cri, Pod, Sandbox as PodSandbox};
pub use disk::Disk;
pub use frame::{Crowd, FrameSocket, Frames, stranger};
pub use lab::{HOST_V4, HOST_V6, Lab, OUTSIDE_V4, OUTSIDE_V6};
pub use libcni::{Libcni, PluginError, RealLibcni, Sandbox};
pub use machine::{Machine, STOCK_PLUGINS, missing_runtime};
pub use ns::Ns;
pub use pieces::{Piece, TTL, udp_pieces};
pub use podman::Podman;
pub use process::{Finished, Running};
pub use program::place_program;
pub use raw::Raw;
pub use tcp::{Conversation, Reply, TcpServer};
pub use tcx::Counting;
pub use traffic::{Report, Traffic};
pub use udp::{UdpQuestion, UdpServer, udp_ask_on};
pub use uplink::{Addresses, FAR, FAR_ROUTER, SECOND, eventually};
pub use ways::{PROTOCOLS, Protocol, WAYS, Way, Ways, Who, asker};

/// Whether the caller may make namespaces.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Returns from the calling test, saying so, if it does not run as root. With `NETFAST_TEST_STRICT=1` (as in
/// `cargo xtask test`) the test fails instead: a skipped test proves nothing.
#[macro_export]
macro_rules! require_root {
    () => {
        if !$crate::is_root() {
            assert!(std::env::var_os("NETFAST_TEST_STRICT").is_none(), "this test needs root");
            eprintln!("skipped: needs root (run `cargo xtask test`)");
            return;
        }
    };
}

/// As [`require_root!`], and needs the container runtimes that `cargo xtask test` installs. Where it cannot install them,
/// it says so, and the test is skipped.
#[macro_export]
macro_rules! require_runtimes {
    () => {
        $crate::require_root!();
        if let Some(reason) = std::env::var_os("NETFAST_TEST_NO_RUNTIMES") {
            eprintln!("skipped: {}", reason.display());
            return;
        }
        if let Some(missing) = $crate::missing_runtime() {
            assert!(std::env::var_os("NETFAST_TEST_STRICT").is_none(), "this test needs {missing}");
            eprintln!("skipped: needs {missing} (run `cargo xtask test`)");
            return;
        }
    };
}
