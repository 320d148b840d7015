//! libFuzzer on the target `names`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::local::names(data));
