//! libFuzzer on the target `session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::sessions::session(data));
