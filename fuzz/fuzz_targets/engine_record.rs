//! The operations that the engine puts into a record, and its conf states.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| seawall::testing::fuzz::engine_record(data));
