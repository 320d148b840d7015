//! libFuzzer on the target `change`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::documents::change(data));
