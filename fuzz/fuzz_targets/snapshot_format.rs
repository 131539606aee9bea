//! The bytes of a snapshot.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| seawall_snap::testing::fuzz::snapshot_format(data));
