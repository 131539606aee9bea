//! Reads entries of one group, as they are now or as they were when a reader was pinned.
//!
//! Locations are copied from the index under the group's lock. The payloads are then read without it: from the entry
//! cache, which has its own copy of the caller's bytes, or from the log, where each is checked against its checksum. A
//! guard keeps their segments from being released meanwhile, so an entry that is overwritten or compacted during the
//! read is still read whole. `Group::entries` lists the errors.

pub(crate) mod entry_cache;
pub(crate) mod readers;

mod buffers;
mod locate;
mod maps;
mod payloads;
mod pinned;
mod store;

pub(crate) use buffers::Buffers;
use entry_cache::EntryCache;
pub(crate) use locate::ReadRequest;
use locate::select;
pub(crate) use maps::Maps;
use payloads::read;
pub(crate) use pinned::Pinned;
pub(crate) use store::Store;

use crate::error::Result;
use crate::group::{Groups, SegmentUsage};
use crate::types::Entry;

/// Reads entries in order until `more` returns `false`. The entry for which it does is left out, unless it is the
/// first.
pub(crate) fn entries(
    store: Store<'_>,
    maps: Option<Maps<'_>>,
    wanted: ReadRequest,
    mut more: impl FnMut(&Entry) -> bool,
) -> Result<Vec<Entry>> {
    let (places, _hold) = select(store.groups, store.usage, wanted)?;
    let mut entries: Vec<Entry> = Vec::with_capacity(places.len());
    let mut bytes: u64 = 0;
    let mut each = |entry: Entry| {
        // Compressed payloads were selected by their stored size, which is smaller.
        bytes = bytes.saturating_add(entry.payload.len() as u64);
        if bytes > wanted.max_bytes && !entries.is_empty() {
            return false;
        }
        // Called for the first entry too, so that a caller who adds up sizes sees all entries.
        let wants_more = more(&entry) || entries.is_empty();
        if wants_more {
            entries.push(entry);
        }
        wants_more
    };
    read(store, maps, wanted.group, &places, &mut each)?;
    Ok(entries)
}

/// As [`entries`], if all payloads are in memory.
pub(crate) fn entries_in_memory(
    groups: &Groups,
    usage: &SegmentUsage,
    cache: &EntryCache,
    wanted: ReadRequest,
) -> Result<Option<Vec<Entry>>> {
    let (places, _hold) = select(groups, usage, wanted)?;
    let kept = cache.get(places.iter().map(|place| (place.lsn(), place.length(), place.at.packed)));
    let (mut entries, mut bytes) = (Vec::with_capacity(places.len()), 0u64);
    for (place, payload) in places.iter().zip(kept) {
        let Some(payload) = payload else { return Ok(None) };
        bytes = bytes.saturating_add(payload.len() as u64);
        if bytes > wanted.max_bytes && !entries.is_empty() {
            break;
        }
        entries.push(Entry { index: place.index, term: place.term, payload });
    }
    Ok(Some(entries))
}
