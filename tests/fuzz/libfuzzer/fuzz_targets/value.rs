//! libFuzzer on the target `value`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::documents::value(data));
