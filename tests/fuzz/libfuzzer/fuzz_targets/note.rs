//! libFuzzer on the target `note`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::logs::note(data));
