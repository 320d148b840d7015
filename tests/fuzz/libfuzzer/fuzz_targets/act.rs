//! libFuzzer on the target `act`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncd_fuzz::governance::act(data));
