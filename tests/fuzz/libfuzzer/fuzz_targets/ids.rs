//! libFuzzer on the target `ids`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::logs::ids(data));
