//! The atomic operations the programs need, in the only forms that compile to right code.
//!
//! The BPF back end of LLVM 22 turns a relaxed `fetch_add` whose result is used into wrong code, and has no atomic
//! loads and stores below cpu v4. Counters therefore ignore the result, and all else is a bit-wise OR.

/// Adds `value`, ignoring the result.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) fn add(at: *mut u64, value: u64) {
    // SAFETY: callers give the address of a live, aligned word.
    let _ = unsafe {
        core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::Relaxed }>(at, value)
    };
}

/// Sets the bits of `value`.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) fn or(at: *mut u64, value: u64) {
    // SAFETY: callers give the address of a live, aligned word.
    let _ = unsafe {
        core::intrinsics::atomic_or::<u64, u64, { core::intrinsics::AtomicOrdering::AcqRel }>(at, value)
    };
}

/// Adds `value`, ignoring the result.
#[cfg(not(target_arch = "bpf"))]
pub(crate) fn add(at: *mut u64, value: u64) {
    use core::sync::atomic::{AtomicU64, Ordering};
    // SAFETY: callers give the address of a live, aligned word.
    unsafe { AtomicU64::from_ptr(at) }.fetch_add(value, Ordering::Relaxed);
}

/// Sets the bits of `value`.
#[cfg(not(target_arch = "bpf"))]
pub(crate) fn or(at: *mut u64, value: u64) {
    use core::sync::atomic::{AtomicU64, Ordering};
    // SAFETY: callers give the address of a live, aligned word.
    unsafe { AtomicU64::from_ptr(at) }.fetch_or(value, Ordering::AcqRel);
}

/// Counts one more.
///
/// # Safety
/// `at` is the address of a live, aligned word.
#[inline(always)]
pub unsafe fn increment(at: *mut u64) {
    add(at, 1);
}
