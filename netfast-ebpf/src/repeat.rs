//! Trying something a number of times: in BPF the kernel's own loop, whose body the verifier looks at once instead of
//! once for each round.

/// What is tried.
pub(crate) trait Attempt {
    /// One round; `true` ends the loop.
    fn attempt(&mut self) -> bool;
}

/// Up to `times` rounds. Whether one succeeded is for `what` to remember.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) fn repeat<A: Attempt>(times: u32, what: &mut A) {
    use core::ffi::c_void;

    unsafe extern "C" fn round<A: Attempt>(_: u64, what: *mut c_void) -> i64 {
        // SAFETY: the kernel hands on the pointer it was given below.
        i64::from(unsafe { &mut *what.cast::<A>() }.attempt())
    }

    // SAFETY: `round` is a function as `bpf_loop` wants it (linux/bpf.h), and `what` outlives the call.
    unsafe {
        aya_ebpf::helpers::generated::bpf_loop(
            times,
            round::<A> as *mut c_void,
            core::ptr::from_mut(what).cast::<c_void>(),
            0,
        );
    }
}

/// Up to `times` rounds. Whether one succeeded is for `what` to remember.
#[cfg(not(target_arch = "bpf"))]
pub(crate) fn repeat<A: Attempt>(times: u32, what: &mut A) {
    for _ in 0..times {
        if what.attempt() {
            return;
        }
    }
}
