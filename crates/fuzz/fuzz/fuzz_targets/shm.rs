//! libFuzzer's way into `fuzz::shm`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::shm::run(bytes));
