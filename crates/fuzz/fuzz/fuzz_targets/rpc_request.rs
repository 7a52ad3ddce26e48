//! libFuzzer's way into `fuzz::rpc_request`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::rpc_request::run(bytes));
