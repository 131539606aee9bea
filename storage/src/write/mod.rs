//! Writes a batch: validates it against its groups, encodes it as one record, appends the record to the log and
//! publishes it.
//!
//! The groups stay locked from validation to publication, so what was validated is what is applied. A batch that is
//! refused leaves no trace.

mod batch;
mod packed;
mod parts;
mod validate;

pub use batch::WriteBatch;

use parts::state_value_larger;
use seawall_wal::{Durability, Ticket, Wal};

use crate::error::{Error, Result};
use crate::format::encode;
use crate::group::{Append, Released, ValidRecord, footer_bytes, publish};
use crate::read::Store;

/// Whether a write may wait for other batches and for room in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    Yes,
    No,
}

/// Validates and enqueues `batch`. Its entries are readable when this returns and durable when the ticket completes
/// (INV-1). Also returns what can be released of the log.
///
/// On success the batch is empty and keeps its buffers. On an error the batch and everything else are unchanged.
pub(crate) fn write(
    Store { wal, groups, usage, cache, compressor, .. }: Store<'_>,
    meta_bytes_max: usize,
    batch: &mut WriteBatch,
    wait: Wait,
) -> Result<(Ticket, Released)> {
    batch.check()?;
    // Before the groups are locked, because compression takes long.
    let packed = batch.pack(compressor);
    let ids = batch.groups();
    let (locked, append): (_, Append) = match wait {
        Wait::Yes => (groups.lock(&ids), Wal::append_admitted),
        Wait::No => (groups.try_lock_all(&ids).ok_or(seawall_wal::Error::WouldWait)?, Wal::try_append),
    };
    let ops = packed.as_ref().map_or(batch.ops(), |packed| &packed.ops);
    let (ops, urgent) = validate::validate(&locked, ops, batch.state_values(), meta_bytes_max)?;
    let class = if urgent || batch.is_sync() { Durability::Sync } else { Durability::Lazy };
    let record = batch.record_mut();
    encode(&ops, record.meta());
    let footer = footer_bytes(&ops);
    record.set_footer_bytes(u32::try_from(footer).unwrap_or(u32::MAX));
    let (bytes, max) = (record.encoded_len().saturating_add(footer), wal.record_bytes_max());
    // Uses the uncompressed size, so that a refusal does not depend on the content of the payloads.
    if bytes > max {
        return Err(batch.entry_beyond(max).unwrap_or(Error::BatchTooLarge { bytes, max }));
    }
    if let Some(error) = state_value_larger(&ops, record, max / 4) {
        return Err(error);
    }
    let Some(mut packed) = packed else {
        let valid = ValidRecord { ops: &ops, values: batch.state_values(), record: batch.record(), class };
        let written = publish(wal, usage, locked, valid, append)?;
        cache.add(written.0.lsn(), batch.record());
        batch.clear();
        return Ok(written);
    };
    packed.record.meta().extend_from_slice(batch.record().meta_bytes());
    packed.record.set_footer_bytes(batch.record().footer_bytes());
    let valid = ValidRecord { ops: &ops, values: batch.state_values(), record: &packed.record, class };
    let written = publish(wal, usage, locked, valid, append)?;
    cache.add_raw(written.0.lsn(), &packed.record, batch.record(), &packed.parts);
    batch.clear();
    Ok(written)
}
