//! libFuzzer on the target `settlement`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::documents::settlement(data));
