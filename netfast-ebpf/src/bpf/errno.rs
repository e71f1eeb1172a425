//! What programs of sockets answer.

use aya_ebpf::Global;
use aya_ebpf::helpers::generated::bpf_set_retval;

/// Let the call go on.
pub(super) const ALLOW: i32 = 1;
const REFUSE: i32 = 0;

/// Whether the kernel lets these programs choose the errno (Linux 6.1). Set by the loader; where it is 0 the verifier
/// does not even look at the call, and the process is told `EPERM`.
#[unsafe(no_mangle)]
static NF_ERRNO: Global<u8> = Global::new(0);

/// Answers that the call is refused, with this errno if possible.
#[inline(always)]
pub(super) fn refuse(errno: i32) -> i32 {
    if NF_ERRNO.load() != 0 {
        // SAFETY: a helper without pointers.
        unsafe { bpf_set_retval(-errno) };
    }
    REFUSE
}
