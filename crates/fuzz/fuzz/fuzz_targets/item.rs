//! libFuzzer's way into `fuzz::item`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::item::run(bytes));
