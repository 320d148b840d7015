//! libFuzzer on the target `entry`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::logs::entry(data));
