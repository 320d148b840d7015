//! libFuzzer on the target `pairing_code`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::run("pairing_code", data));
