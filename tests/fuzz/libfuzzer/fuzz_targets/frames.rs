//! libFuzzer on the target `frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::wire::frames(data));
