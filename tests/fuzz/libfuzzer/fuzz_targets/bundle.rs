//! libFuzzer on the target `bundle`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::governance::bundle(data));
