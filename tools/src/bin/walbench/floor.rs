//! The floor: one thread, one durable write of whole blocks at a time, nothing else.
//!
//! The same blocks that the log would write for a lone append, payload and framing, into blocks that
//! are already written. No log on this device can be faster for a lone append.

use crate::args::framed_bytes;
use crate::load::Target;
use crate::medium::Medium;
use anyhow::{Context, Result};
use parking_lot::Mutex;
use seawall_wal::disk::AlignedBuf;
use std::sync::Arc;

/// Raw durable writes; an append is durable when it returns.
#[derive(Debug)]
pub(crate) struct Floor(Arc<Mutex<Medium>>);

impl Floor {
    pub(crate) fn new(medium: Arc<Mutex<Medium>>) -> Floor {
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
