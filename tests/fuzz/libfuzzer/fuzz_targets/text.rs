//! libFuzzer on the target `text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::documents::text(data));
