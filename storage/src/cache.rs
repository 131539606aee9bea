//! The newest payloads in memory, so that what was just appended is read back without a call.
//! Place on the data's way: filled once a record is enqueued, asked before the log is. Invariants: what a
//! place in the log holds never changes, and no segment number is used twice, so nothing here is ever stale;
//! bytes are bounded over all groups, the oldest records go first. Cannot fail: what is not here is read
//! from the log.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use seawall_wal::{Batch, Lsn};

/// What one record costs besides its payloads, in bytes: the list's slot and the allocation.
const RECORD_BYTES: usize = 80;

/// Figures of the tail cache since the engine was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CacheStats {
    /// Bytes in use, bookkeeping included.
    pub bytes: u64,
    /// Entries that were read from memory.
    pub hits: u64,
    /// Entries that were read from the log.
    pub misses: u64,
}

/// Payloads of the newest records, by the place of their first byte.
#[derive(Debug)]
pub(crate) struct Tail {
    max_bytes: usize,
    records: Mutex<Records>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug, Default)]
struct Records {
    /// Ascending.
    list: VecDeque<(Lsn, Bytes)>,
    bytes: usize,
}

impl Tail {
    /// An empty cache of at most `max_bytes`; 0 keeps nothing.
    pub(crate) fn new(max_bytes: usize) -> Tail {
        Tail { max_bytes, records: Mutex::default(), hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// Keeps the payloads of `record`, which the log has at `lsn`.
    pub(crate) fn add(&self, lsn: Lsn, record: &Batch) {
        let cost = record.payload().len().saturating_add(RECORD_BYTES);
        if record.payload().is_empty() || cost > self.max_bytes {
            return;
        }
        let first = Lsn::from_u64(lsn.as_u64().saturating_add(u64::from(record.first_part_offset())));
        // Copied before the lock is taken: others append meanwhile.
        let payload = Bytes::copy_from_slice(record.payload());
        let mut gone = Vec::new();
        let mut records = self.records.lock();
        // Threads come here nearly in the order of their records.
        let behind = records.list.iter().rev().take_while(|(at, _)| *at > first).count();
        let at = records.list.len() - behind;
        records.list.insert(at, (first, payload));
        records.bytes += cost;
        while records.bytes > self.max_bytes {
            let Some((_, oldest)) = records.list.pop_front() else { break };
            records.bytes -= oldest.len() + RECORD_BYTES;
            gone.push(oldest);
        }
        drop(records);
        // Freed outside of the lock.
        drop(gone);
    }

    /// The payloads at `places`, each a position and a length, as far as they are here.
    pub(crate) fn get(&self, places: impl Iterator<Item = (Lsn, usize)>) -> Vec<Option<Bytes>> {
        let records = self.records.lock();
        let found: Vec<_> = places.map(|(at, length)| records.find(at, length)).collect();
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
    fn find(&self, at: Lsn, length: usize) -> Option<Bytes> {
        if self.list.front().is_none_or(|(first, _)| *first > at) {
            return None;
        }
        let behind = self.list.partition_point(|(first, _)| *first <= at);
        let (first, payload) = self.list.get(behind.checked_sub(1)?)?;
        let from = usize::try_from(at.as_u64() - first.as_u64()).ok()?;
        let to = from.checked_add(length)?;
        (to <= payload.len()).then(|| payload.slice(from..to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(payloads: &[&[u8]]) -> Batch {
        let mut record = Batch::new();
        record.meta().extend_from_slice(b"meta");
        payloads.iter().for_each(|payload| record.push_part(payload));
        record
    }

    fn first(lsn: Lsn, record: &Batch) -> u64 {
        lsn.as_u64() + u64::from(record.first_part_offset())
    }

    fn get(tail: &Tail, at: u64, length: usize) -> Option<Bytes> {
        tail.get([(Lsn::from_u64(at), length)].into_iter()).pop().flatten()
    }

    #[test]
    fn payloads_are_found_by_their_place_and_by_nothing_else() {
        let (tail, record) = (Tail::new(1 << 20), record(&[b"first", b"", b"second"]));
        let lsn = Lsn::new(3, 8192);
        tail.add(lsn, &record);
        let at = first(lsn, &record);
        assert_eq!(get(&tail, at, 5).as_deref(), Some(&b"first"[..]));
        assert_eq!(get(&tail, at + 5, 6).as_deref(), Some(&b"second"[..]));
        assert_eq!(get(&tail, at, 11).as_deref(), Some(&b"firstsecond"[..]));
        for (at, length) in [(at, 12), (at + 6, 6), (at - 1, 1), (at + (1 << 32), 5)] {
            assert_eq!(get(&tail, at, length), None, "{at} {length}");
        }
        assert_eq!((tail.stats().hits, tail.stats().misses), (3, 4));
    }

    #[test]
    fn the_oldest_go_when_it_is_full() {
        let (tail, record) = (Tail::new(3 * (100 + RECORD_BYTES)), record(&[&[7; 100]]));
        // The third and the fourth come in the wrong order.
        for i in [0, 1, 3, 2] {
            tail.add(Lsn::new(1, 4096 * (i + 1)), &record);
        }
        let kept = |i: u32| {
            let at = first(Lsn::new(1, 4096 * (i + 1)), &record);
            get(&tail, at, 100).is_some()
        };
        assert_eq!([0, 1, 2, 3].map(kept), [false, true, true, true]);
        assert_eq!(tail.stats().bytes, 3 * (100 + RECORD_BYTES as u64));
    }

    #[test]
    fn what_is_larger_than_the_cache_pushes_nothing_out() {
        let (tail, small) = (Tail::new(1000), record(&[b"small"]));
        let lsn = Lsn::new(1, 4096);
        tail.add(lsn, &small);
        tail.add(Lsn::new(1, 8192), &record(&[&[7; 1000]]));
        assert!(get(&tail, first(lsn, &small), 5).is_some());
        let off = Tail::new(0);
        off.add(lsn, &small);
        assert_eq!(off.stats().bytes, 0);
    }
}
