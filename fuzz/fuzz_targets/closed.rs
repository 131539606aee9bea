//! The file of a clean close.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| seawall_wal::testing::fuzz::closed(data));
