//! libFuzzer's way into `fuzz::mmap`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::mmap::run(bytes));
