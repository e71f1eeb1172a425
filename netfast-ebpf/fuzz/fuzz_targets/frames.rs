//! Frames, as they come in at every place of a world where nothing is allowed, and of one where everything is.

#![no_main]

libfuzzer_sys::fuzz_target!(|frame: &[u8]| netfast_ebpf::testing::fuzz::frame(frame));
