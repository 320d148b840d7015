//! libFuzzer on the target `welcome`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::wire::welcome(data));
