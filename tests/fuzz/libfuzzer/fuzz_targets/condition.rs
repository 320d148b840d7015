//! libFuzzer on the target `condition`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::governance::condition(data));
