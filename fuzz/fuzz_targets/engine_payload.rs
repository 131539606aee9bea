//! A compressed payload of an entry.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| seawall::fuzz::engine_payload(data));
