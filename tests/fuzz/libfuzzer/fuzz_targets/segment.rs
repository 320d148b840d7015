//! libFuzzer on the target `segment`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::wire::segment(data));
