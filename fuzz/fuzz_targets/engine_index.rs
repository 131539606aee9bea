//! The index of a segment: operations, and the places of their parts as columns.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| seawall::testing::fuzz::engine_index(data));
