//! A compressed payload of an entry.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| seawall::testing::fuzz::engine_payload(data));
