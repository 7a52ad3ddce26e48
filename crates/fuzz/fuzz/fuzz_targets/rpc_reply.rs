//! libFuzzer's way into `fuzz::rpc_reply`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::rpc_reply::run(bytes));
