//! The fuzz target `config`: src/ has what it does with bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| node_fuzz::config::run(data));
