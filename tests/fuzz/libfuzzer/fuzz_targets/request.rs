//! libFuzzer on the target `request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::local::request(data));
