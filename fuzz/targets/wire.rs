//! The fuzz target `wire`: src/ has what it does with bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| node_fuzz::wire::run(data));
