//! libFuzzer on the target `pointer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::documents::pointer(data));
