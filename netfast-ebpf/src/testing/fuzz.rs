//! What a fuzzer is given to run: `netfast-ebpf/fuzz`.

use super::bytes::Bytes;
use super::invariants::{closed_lab, denied, open_lab, places, try_one};

/// Sends a frame in at every place, in a world where nothing is allowed and in one where everything is.
///
/// # Panics
/// When it does harm.
pub fn frame(bytes: &[u8]) {
    for place in places() {
        let packet = || Bytes::new(bytes.to_vec(), place.1);
        try_one(&mut closed_lab(), place, packet(), denied);
        try_one(&mut open_lab(), place, packet(), |_, _| {});
    }
}
