//! libFuzzer on the target `run`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::logs::run(data));
