//! libFuzzer on the target `policy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::governance::policy(data));
