//! Changes of a directory of snapshots; the bytes of a transfer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| seawall_snap::testing::fuzz::catalog(data));
