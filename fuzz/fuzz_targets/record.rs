//! One record of the log.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| seawall_wal::testing::fuzz::record(data));
