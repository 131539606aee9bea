//! Operations, crashes and failures against the reference model.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| seawall_wal::testing::fuzz::operations(data));
