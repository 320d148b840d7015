//! libFuzzer on the target `payload`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::logs::payload(data));
