//! Records that decode, in any order, replayed by an engine.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| seawall::testing::fuzz::engine_replay(data));
