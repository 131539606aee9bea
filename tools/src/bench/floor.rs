//! The floor: one thread, one durable write of whole blocks at a time, nothing else.
//!
//! The same blocks that the log would write for a lone append, payload and framing, into blocks that
//! are already written. No log on this device can be faster for a lone append.

use super::load::Target;
use super::medium::Medium;
use anyhow::{Context, Result};
use parking_lot::Mutex;
use seawall_wal::disk::AlignedBuf;
use std::sync::Arc;

/// What the log adds to a payload, in bytes: one group header, one record header and one part entry. The
/// floor writes as much, so that ratios compare equal blocks.
const GROUP_HEADER_BYTES: usize = 64;
const RECORD_HEADER_BYTES: usize = 24;
const PART_BYTES: usize = 8;

/// Bytes of one lone append of `payload` bytes in the log, before rounding up to the block size.
pub const fn framed_bytes(payload: usize) -> usize {
    GROUP_HEADER_BYTES + RECORD_HEADER_BYTES + PART_BYTES + payload
}

/// Raw durable writes; an append is durable when it returns.
#[derive(Debug)]
pub struct Floor(Arc<Mutex<Medium>>);

impl Floor {
    /// Writes into `medium`.
    pub fn new(medium: Arc<Mutex<Medium>>) -> Floor {
        Floor(medium)
    }
}

impl Target for Floor {
    type Producer = AlignedBuf;
    type Ticket = ();

    fn producer(&self, _key: u64) -> AlignedBuf {
        AlignedBuf::new()
    }

    fn append(&self, buf: &mut AlignedBuf, payload: &[u8]) -> Result<()> {
        buf.clear();
        buf.extend(payload);
        buf.resize(framed_bytes(payload.len()));
        self.0.lock().write(buf).context("raw durable write")
    }

    fn wait(&self, (): ()) -> Result<()> {
        Ok(())
    }
}
