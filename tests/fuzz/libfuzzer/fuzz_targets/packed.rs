//! libFuzzer on the target `packed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::logs::packed(data));
