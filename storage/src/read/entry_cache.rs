//! Caches the newest payloads of all groups, so that reading recent entries takes no system call.
//!
//! A record's payloads are added when the record is enqueued. The content at a position of the log never changes, and
//! no segment number is used twice, so a cached payload is never stale. The size in bytes is limited; the payloads of
//! the oldest records are dropped first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use seawall_wal::{Lsn, RecordBuilder};

/// Bytes that a record costs in addition to its payloads: the slot in the list and the allocation.
const RECORD_BYTES: usize = 80;

/// Statistics of the entry cache since the engine was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CacheStats {
    /// Bytes in use, including bookkeeping.
    pub bytes: u64,
    /// Number of entries that were read from the cache.
    pub hits: u64,
    /// Number of entries that were read from the log.
    pub misses: u64,
}

/// Payloads of the newest records, by the position of their first byte.
#[derive(Debug)]
pub(crate) struct EntryCache {
    max_bytes: usize,
    records: Mutex<Records>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug, Default)]
struct Records {
    /// Ascending by position.
    list: VecDeque<Kept>,
    bytes: usize,
}

/// Adjacent payloads in the log; or one payload that is compressed there, uncompressed.
#[derive(Debug)]
struct Kept {
    at: Lsn,
    bytes: Bytes,
    packed: bool,
}

impl EntryCache {
    /// An empty cache of at most `max_bytes` bytes; 0 caches nothing.
    pub(crate) fn new(max_bytes: usize) -> EntryCache {
        EntryCache {
            max_bytes,
            records: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// Adds the payloads of `record`, which is at `lsn` in the log.
    pub(crate) fn add(&self, lsn: Lsn, record: &RecordBuilder) {
        let cost = record.payload().len().saturating_add(RECORD_BYTES);
        if record.payload().is_empty() || cost > self.max_bytes {
            return;
        }
        let at = Lsn::from_u64(lsn.as_u64().saturating_add(u64::from(record.first_part_offset())));
        // Copied before the lock is taken, because other threads append meanwhile.
        self.put([Kept { at, bytes: Bytes::copy_from_slice(record.payload()), packed: false }]);
    }

    /// Adds the payloads of `record`, some of which are compressed, in the uncompressed form that they have in `raw`.
    /// `packed` is, for each part, whether it is compressed.
    pub(crate) fn add_raw(&self, lsn: Lsn, record: &RecordBuilder, raw: &RecordBuilder, packed: &[bool]) {
        if raw.payload().len() > self.max_bytes {
            return;
        }
        let all = Bytes::copy_from_slice(raw.payload());
        let mut from = 0;
        let parts = record.part_infos(lsn.offset()).zip(packed).zip(raw.part_infos(0));
        self.put(parts.map(|((stored, packed), raw)| {
            let to = from + usize::try_from(raw.length).unwrap_or(usize::MAX);
            let bytes = all.slice(from..to);
            from = to;
            Kept { at: Lsn::new(lsn.segment(), stored.offset), bytes, packed: *packed }
        }));
    }

    fn put(&self, new: impl IntoIterator<Item = Kept>) {
        let mut gone = Vec::new();
        let mut records = self.records.lock();
        for kept in new {
            // Threads come here nearly in the order of their records.
            let behind = records.list.iter().rev().take_while(|other| other.at > kept.at).count();
            let at = records.list.len() - behind;
            records.bytes += kept.bytes.len() + RECORD_BYTES;
            records.list.insert(at, kept);
        }
        while records.bytes > self.max_bytes {
            let Some(oldest) = records.list.pop_front() else { break };
            records.bytes -= oldest.bytes.len() + RECORD_BYTES;
            gone.push(oldest);
        }
        drop(records);
        // Freed outside of the lock.
        drop(gone);
    }

    /// Whether the cache may contain anything at or below `newest`.
    pub(crate) fn reaches(&self, newest: Lsn) -> bool {
        self.records.lock().list.front().is_some_and(|oldest| oldest.at <= newest)
    }

    /// Counts entries as misses that were not looked up, because they are older than everything in the cache.
    pub(crate) fn missed(&self, entries: usize) {
        self.misses.fetch_add(entries as u64, Ordering::Relaxed);
    }

    /// Looks up the payloads at `places`: position, length, and whether the payload is compressed in the log. The
    /// result has `None` for each that is not cached.
    pub(crate) fn get(&self, places: impl Iterator<Item = (Lsn, usize, bool)>) -> Vec<Option<Bytes>> {
        let records = self.records.lock();
        let found: Vec<_> = places.map(|(at, length, packed)| records.find(at, length, packed)).collect();
        drop(records);
        let hits = found.iter().flatten().count();
        self.hits.fetch_add(hits as u64, Ordering::Relaxed);
        self.misses.fetch_add((found.len() - hits) as u64, Ordering::Relaxed);
        found
    }

    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats {
            bytes: self.records.lock().bytes as u64,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }
}

impl Records {
    fn find(&self, at: Lsn, length: usize, packed: bool) -> Option<Bytes> {
        if self.list.front().is_none_or(|kept| kept.at > at) {
            return None;
        }
        let behind = self.list.partition_point(|kept| kept.at <= at);
        let kept = self.list.get(behind.checked_sub(1)?)?;
        if packed || kept.packed {
            // Its length here differs from its length in the log, so only its position identifies it.
            return (packed && kept.packed && kept.at == at).then(|| kept.bytes.clone());
        }
        let from = usize::try_from(at.as_u64() - kept.at.as_u64()).ok()?;
        let to = from.checked_add(length)?;
        (to <= kept.bytes.len()).then(|| kept.bytes.slice(from..to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(payloads: &[&[u8]]) -> RecordBuilder {
        let mut record = RecordBuilder::new();
        record.meta().extend_from_slice(b"meta");
        payloads.iter().for_each(|payload| record.push_part(payload));
        record
    }

    fn first(lsn: Lsn, record: &RecordBuilder) -> u64 {
        lsn.as_u64() + u64::from(record.first_part_offset())
    }

    fn get(cache: &EntryCache, at: u64, length: usize) -> Option<Bytes> {
        cache.get([(Lsn::from_u64(at), length, false)].into_iter()).pop().flatten()
    }

    #[test]
    fn payloads_are_found_by_their_place_and_by_nothing_else() {
        let (cache, record) = (EntryCache::new(1 << 20), record(&[b"first", b"", b"second"]));
        let lsn = Lsn::new(3, 8192);
        cache.add(lsn, &record);
        let at = first(lsn, &record);
        assert_eq!(get(&cache, at, 5).as_deref(), Some(&b"first"[..]));
        assert_eq!(get(&cache, at + 5, 6).as_deref(), Some(&b"second"[..]));
        assert_eq!(get(&cache, at, 11).as_deref(), Some(&b"firstsecond"[..]));
        for (at, length) in [(at, 12), (at + 6, 6), (at - 1, 1), (at + (1 << 32), 5)] {
            assert_eq!(get(&cache, at, length), None, "{at} {length}");
        }
        assert_eq!((cache.stats().hits, cache.stats().misses), (3, 4));
    }

    #[test]
    fn a_payload_that_is_compressed_in_the_log_is_found_as_it_was() {
        let cache = EntryCache::new(1 << 20);
        let (raw, stored) =
            (record(&[b"first", &[7; 1000], b"", b"last"]), record(&[b"first", b"7777", b"", b"last"]));
        let lsn = Lsn::new(3, 8192);
        cache.add_raw(lsn, &stored, &raw, &[false, true, false, false]);
        let at = first(lsn, &stored);
        let packed = |at| cache.get([(Lsn::from_u64(at), 4, true)].into_iter()).pop().flatten();
        assert_eq!(get(&cache, at, 5).as_deref(), Some(&b"first"[..]));
        assert_eq!(packed(at + 5).as_deref(), Some(&[7; 1000][..]));
        assert_eq!(get(&cache, at + 9, 4).as_deref(), Some(&b"last"[..]));
        // Positions that are neither kind of payload, or the other kind.
        assert_eq!([at, at + 4, at + 6, at + 9].map(packed), [None, None, None, None]);
        assert_eq!((get(&cache, at + 5, 4), get(&cache, at + 7, 2)), (None, None));
    }

    #[test]
    fn the_oldest_go_when_it_is_full() {
        let (cache, record) = (EntryCache::new(3 * (100 + RECORD_BYTES)), record(&[&[7; 100]]));
        // The third and the fourth come in the wrong order.
        for i in [0, 1, 3, 2] {
            cache.add(Lsn::new(1, 4096 * (i + 1)), &record);
        }
        let kept = |i: u32| {
            let at = first(Lsn::new(1, 4096 * (i + 1)), &record);
            get(&cache, at, 100).is_some()
        };
        assert_eq!([0, 1, 2, 3].map(kept), [false, true, true, true]);
        assert_eq!(cache.stats().bytes, 3 * (100 + RECORD_BYTES as u64));
    }

    #[test]
    fn what_is_larger_than_the_cache_pushes_nothing_out() {
        let (cache, small) = (EntryCache::new(1000), record(&[b"small"]));
        let lsn = Lsn::new(1, 4096);
        cache.add(lsn, &small);
        cache.add(Lsn::new(1, 8192), &record(&[&[7; 1000]]));
        assert!(get(&cache, first(lsn, &small), 5).is_some());
        let off = EntryCache::new(0);
        off.add(lsn, &small);
        assert_eq!(off.stats().bytes, 0);
    }
}
