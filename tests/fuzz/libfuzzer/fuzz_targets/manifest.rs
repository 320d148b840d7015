//! libFuzzer on the target `manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::governance::manifest(data));
