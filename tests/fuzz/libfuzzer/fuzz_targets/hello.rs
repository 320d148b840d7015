//! libFuzzer on the target `hello`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::wire::hello(data));
