//! The floor: one thread, one durable write of whole blocks at a time, nothing else.
//!
//! It writes as many blocks as the log writes for a lone append, payload and framing included, into blocks that are
//! already written. No log on this device can make a lone append durable faster.

use crate::load::Target;
use crate::medium::Medium;
use anyhow::{Context, Result};
use parking_lot::Mutex;
use seawall_wal::disk::AlignedBuf;
use std::sync::Arc;

/// Bytes that the log adds to a payload: one group header, one record header and one part entry. The floor writes as
/// many, so that ratios compare equal numbers of blocks.
const GROUP_HEADER_BYTES: usize = 64;
const RECORD_HEADER_BYTES: usize = 24;
const PART_BYTES: usize = 8;

/// Bytes that one lone append of `payload` bytes takes in the log, before rounding up to the block size.
pub const fn framed_bytes(payload: usize) -> usize {
    GROUP_HEADER_BYTES + RECORD_HEADER_BYTES + PART_BYTES + payload
}

/// Raw durable writes; an append is durable when it returns.
#[derive(Debug)]
pub struct Floor(Arc<Mutex<Medium>>);

impl Floor {
    /// Creates a floor that writes to `medium`.
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
