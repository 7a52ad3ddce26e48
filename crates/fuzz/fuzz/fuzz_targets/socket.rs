//! libFuzzer's way into `fuzz::socket`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::socket::run(bytes));
