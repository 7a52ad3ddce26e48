//! libFuzzer's way into `fuzz::pipe`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::pipe::run(bytes));
