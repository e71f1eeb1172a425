//! Runs a program on a packet of one's own (`BPF_PROG_TEST_RUN`), without a device or a wire.
//!
//! It tells a verdict, the packet as it came out, and what the maps hold then. Redirects are only decided, not done.

use std::time::Duration;

use aya::programs::{SchedClassifier, TestRun, TestRunOptions, Xdp};

use super::attach::Hook;
use super::load::Datapath;
use super::object::XDP_PROGRAM;
use super::{KernelError, Result};

/// Bytes of `struct __sk_buff` and where its settable fields stand.
const SKB: usize = 192;
const SKB_MARK: usize = 8;
const SKB_INGRESS_IFINDEX: usize = 36;
const SKB_IFINDEX: usize = 40;

/// Room for the packet that comes out: more than may go in.
const OUT: usize = 4096;

/// A packet to run a program on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Packet<'a> {
    /// From the Ethernet header on; 14 to about 3700 bytes.
    pub bytes: &'a [u8],
    /// Index of a device of the current network namespace; 0: the loopback device.
    pub ifindex: u32,
    /// Index of the device by which it came in.
    pub ingress_ifindex: u32,
    /// Its mark.
    pub mark: u32,
    /// How often to run; 0 is once. Each run gets what the one before it left.
    pub repeat: u32,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestOutput {
    /// The program's return value.
    pub verdict: i32,
    /// The packet afterwards.
    pub bytes: Vec<u8>,
    /// Mean time of one run.
    pub duration: Duration,
}

impl Datapath {
    /// Runs a hook's program.
    ///
    /// # Errors
    /// When the kernel does not take the packet or the device.
    pub fn test_hook(&self, hook: Hook, packet: Packet<'_>) -> Result<TestOutput> {
        let name = hook.program();
        let failed = |e| KernelError::program("run", name, e);
        let program = SchedClassifier::from_pin(self.pins.program(name)).map_err(failed)?;
        // Any stray byte in a field that cannot be set is EINVAL: all zero but for these.
        let mut skb = [0; SKB];
        let fields = [
            (SKB_MARK, packet.mark),
            (SKB_INGRESS_IFINDEX, packet.ingress_ifindex),
            (SKB_IFINDEX, packet.ifindex),
        ];
        for (at, value) in fields {
            skb[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        run(&program, packet, Some(&skb)).map_err(failed)
    }

    /// Runs the deny list's XDP program, as if the packet came in by the loopback device.
    ///
    /// # Errors
    /// When the kernel does not take the packet.
    pub fn test_deny(&self, packet: Packet<'_>) -> Result<TestOutput> {
        let failed = |e| KernelError::program("run", XDP_PROGRAM, e);
        let path = self.pins.program(XDP_PROGRAM);
        let program = Xdp::from_pin(path, aya_obj::programs::XdpAttachType::Interface).map_err(failed)?;
        run(&program, packet, None).map_err(failed)
    }
}

fn run<P>(
    program: &P,
    packet: Packet<'_>,
    context: Option<&[u8]>,
) -> Result<TestOutput, aya::programs::ProgramError>
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = aya::programs::TestRunResult>,
{
    let mut bytes = vec![0; OUT];
    let result = program.test_run(TestRunOptions {
        data_in: Some(packet.bytes),
        data_out: Some(&mut bytes),
        ctx_in: context,
        repeat: packet.repeat.max(1),
        ..TestRunOptions::default()
    })?;
    bytes.truncate(usize::try_from(result.data_size_out).unwrap_or(OUT));
    Ok(TestOutput { verdict: result.return_value.cast_signed(), bytes, duration: result.duration })
}

#[cfg(test)]
mod tests {
    use super::super::testing::loaded;
    use super::*;

    #[test]
    fn programs_run_on_a_packet() {
        loaded(|_, datapath| {
            let frame = [0; 64];
            let packet = Packet { bytes: &frame, ifindex: 1, ..Packet::default() };
            for hook in Hook::ALL {
                assert_eq!(datapath.test_hook(hook, packet).unwrap().bytes.len(), frame.len());
            }
            datapath.test_deny(packet).unwrap();
        });
    }
}
