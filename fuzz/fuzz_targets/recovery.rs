//! A damaged log, opened: what was written is known.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| seawall_wal::testing::fuzz::recovery(data));
