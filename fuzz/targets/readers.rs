//! The fuzz target `readers`: src/ has what it does with bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| node_fuzz::readers::run(data));
