//! libFuzzer's way into `fuzz::mq`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::mq::run(bytes));
