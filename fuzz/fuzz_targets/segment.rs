//! A segment file, scanned, looked at and opened.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| seawall_wal::testing::fuzz::segment(data));
