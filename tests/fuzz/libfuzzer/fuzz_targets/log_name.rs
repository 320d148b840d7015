//! libFuzzer on the target `log_name`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::wire::log_name(data));
