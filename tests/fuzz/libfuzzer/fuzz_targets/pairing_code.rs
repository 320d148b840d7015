//! libFuzzer on the target `pairing_code`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::wire::pairing_code(data));
