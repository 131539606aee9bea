//! Builds the index of the segment being written, for its footer.
//!
//! The log calls it for each record that is enqueued, and when a segment is sealed. In between, writers sort the
//! collected records by group, outside the log's lock. The index has at most as many bytes as its records announced,
//! and replaying it leaves each group in the state that its records lead to. Does no I/O. Order of locks: the log's,
//! the index's, the list's. A segment with a record that cannot be decoded gets no index; replay reports the record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use seawall_wal::{Lsn, PartInfo, segments::SegmentIndexBuilder};
use zerocopy::IntoBytes;

use crate::format::{
    FOOTER_HEADER_BYTES, FOOTER_OP_BYTES, FRAME, FooterHeader, FooterOp, GroupOp, Op, PLACE_BYTES, Place,
    decode, encode_frame,
};
use crate::group::group_meta::keep;
use crate::types::{GroupId, GroupMap, HardState, Location, MetaKey, SnapshotMarker};

/// Largest number of bytes that a record with these operations adds to the index of its segment.
///
/// Each record also counts the header of the index, because it may be the first of its segment. For all others that
/// is 16 bytes too many, less than the padding of one write group.
///
/// An operation of the index that stands for *m* operations of records with *n* parts has at most 40 + 12 *n* +
/// 5 (*m* - 1) bytes, and 40 *m* + 12 *n* were announced. The parts of one operation follow each other without gaps,
/// so there are at most *m* - 1 gaps, which take at most 5 bytes each: the bytes of an exception. All else of a frame
/// of *k* places takes at most 16 + 8 *k* bytes, which is no more than 12 *k* from 4 places on, and shorter frames are
/// lists.
pub(crate) fn footer_bytes(ops: &[GroupOp]) -> usize {
    let of = |op: &GroupOp| PLACE_BYTES * usize::try_from(op.op.places()).unwrap_or(0);
    FOOTER_HEADER_BYTES + ops.iter().map(|op| FOOTER_OP_BYTES + of(op)).sum::<usize>()
}

/// A writer sorts the collected records into the index once there are this many. Sorting many at once overlaps their
/// cache misses.
const GATHERED: usize = 64;

/// The index so far, and the records that are not in it yet. Clones share both.
#[derive(Clone, Default)]
pub(crate) struct FooterIndexBuilder(Arc<Shared>);

#[derive(Default)]
struct Shared {
    index: Mutex<Index>,
    list: Mutex<List>,
    /// Number of records in the list, readable without its lock.
    waiting: AtomicUsize,
}

/// Collected records in log order. Nothing is looked up here, because the log's lock is held.
#[derive(Default)]
struct List {
    /// For each record: bytes of its `meta`, and number of its parts.
    records: Vec<(usize, usize)>,
    meta: Vec<u8>,
    parts: Vec<Location>,
}

/// The index, by group.
#[derive(Default)]
struct Index {
    groups: GroupMap<Lines>,
    records: u32,
    /// Whether a record could not be decoded.
    unknown: bool,
    /// Operations of the current record, and an empty list; kept for their allocations.
    ops: Vec<GroupOp>,
    spare: List,
}

/// The content of the segment for one group.
///
/// Operations on the log depend on each other and keep their order. A hard state, a conf state, a snapshot marker and
/// a metadata value depend on nothing but a removal of the group, so the last one is enough, and is written after the
/// operations on the log. The removal of a metadata value is stored too, because an earlier segment may hold the
/// value.
#[derive(Default)]
struct Lines {
    log: Vec<Op>,
    places: RunEncoder,
    hard: Option<HardState>,
    conf: Option<Location>,
    snapshots: Vec<(SnapshotMarker, ())>,
    metas: BTreeMap<MetaKey, Option<Place>>,
}

/// The places of entries, encoded as soon as a frame is complete.
#[derive(Default)]
struct RunEncoder {
    /// Complete frames.
    frames: Vec<u8>,
    /// The places of the last frame, and the index after the last of them.
    open: Vec<Place>,
    next: u64,
    /// Number of all places.
    count: usize,
    /// Whether some places cannot be encoded, because they do not follow each other in the segment.
    failed: bool,
}

impl RunEncoder {
    /// Adds the places of entries from index `first` on. They are in the run of those before if they `continue` them.
    fn add(&mut self, first: u64, continues: bool, parts: &[Location]) {
        if !continues {
            self.close();
        }
        self.next = first;
        self.count += parts.len();
        for part in parts {
            self.open.push(Place::from(part));
            self.next = self.next.wrapping_add(1);
            if self.next.is_multiple_of(FRAME as u64) {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        self.failed |= encode_frame(&self.open, &mut self.frames).is_none();
        self.open.clear();
    }

    /// Appends all frames to `out`; `None` if they cannot be encoded.
    fn write(&self, out: &mut Vec<u8>) -> Option<()> {
        out.extend_from_slice(&self.frames);
        encode_frame(&self.open, out).filter(|()| !self.failed)
    }
}

impl Lines {
    /// Adds one operation and its parts.
    fn add(&mut self, op: &Op, parts: &[Location]) {
        match *op {
            Op::Entries { first, term, count, truncates, packed } => {
                if let Some(Op::Entries { first: from, term: of, count: so_far, packed: so, .. }) =
                    self.log.last_mut()
                    && (*of, *so) == (term, packed)
                    && !truncates
                    && from.checked_add(u64::from(*so_far)) == Some(first)
                    && let Some(sum) = so_far.checked_add(count)
                {
                    *so_far = sum;
                    self.places.add(first, true, parts);
                    return;
                }
                self.log.push(*op);
                self.places.add(first, false, parts);
            }
            Op::Moved { first, .. } | Op::Repaired { first, .. } => {
                self.log.push(*op);
                self.places.add(first, false, parts);
            }
            Op::HardState(hard) => self.hard = Some(hard),
            Op::ConfState => self.conf = parts.first().copied(),
            Op::Compact(_) | Op::Start(_) => self.log.push(*op),
            Op::Snapshot(marker) => _ = keep(&mut self.snapshots, marker, ()),
            Op::Meta { key, .. } => {
                self.metas.insert(key, parts.first().map(Place::from));
            }
            // A removal drops everything that the group had before.
            Op::Remove => *self = Lines { log: vec![Op::Remove], ..Lines::default() },
        }
    }

    fn ops(&self, group: GroupId) -> impl Iterator<Item = FooterOp> {
        let line = move |op, conf| FooterOp { op: GroupOp { group, op }, conf };
        let hard = self.hard.map(|hard| line(Op::HardState(hard), None));
        let conf = self.conf.map(|at| line(Op::ConfState, Some(at)));
        let snapshots = self.snapshots.iter().map(move |(marker, ())| line(Op::Snapshot(*marker), None));
        let meta = move |(key, place): (&MetaKey, &Option<Place>)| {
            line(Op::Meta { key: *key, removes: place.is_none() }, None)
        };
        let log = self.log.iter().map(move |op| line(*op, None));
        log.chain(hard).chain(conf).chain(snapshots).chain(self.metas.iter().map(meta))
    }

    /// Number of places that belong to the operations.
    fn place_count(&self) -> usize {
        self.places.count + self.metas.values().flatten().count()
    }

    /// Appends the places that belong to the operations to `out`, in their order; `None` if they cannot be encoded.
    fn write_places(&self, out: &mut Vec<u8>) -> Option<()> {
        self.places.write(out)?;
        self.metas.values().flatten().for_each(|place| out.extend_from_slice(place.as_bytes()));
        Some(())
    }
}

impl FooterIndexBuilder {
    /// Sorts the collected records into the index, if there are enough of them and no other thread is doing so.
    pub(crate) fn gather(&self) {
        if self.0.waiting.load(Ordering::Relaxed) >= GATHERED
            && let Some(mut index) = self.0.index.try_lock()
        {
            index.take(&self.0);
        }
    }

    /// The index of the records of the current segment so far; empty if one of them cannot be decoded.
    pub(crate) fn written(&self) -> Vec<u8> {
        let (mut index, mut out) = (self.0.index.lock(), Vec::new());
        index.take(&self.0);
        index.write(&mut out);
        out
    }
}

impl Index {
    /// Adds the collected records to the index and empties the list.
    fn take(&mut self, shared: &Shared) {
        // The index is locked meanwhile, so two calls one after the other add records in log order.
        let mut list = shared.list.lock();
        let mut taken = std::mem::replace(&mut *list, std::mem::take(&mut self.spare));
        shared.waiting.store(0, Ordering::Relaxed);
        drop(list);
        let (mut meta, mut parts) = (&taken.meta[..], &taken.parts[..]);
        for &(meta_bytes, part_count) in &taken.records {
            let (own_meta, own_parts);
            (own_meta, meta) = meta.split_at(meta_bytes.min(meta.len()));
            (own_parts, parts) = parts.split_at(part_count.min(parts.len()));
            self.add(own_meta, own_parts);
        }
        taken.records.clear();
        taken.meta.clear();
        taken.parts.clear();
        self.spare = taken;
    }

    fn add(&mut self, meta: &[u8], parts: &[Location]) {
        self.records = self.records.saturating_add(1);
        if decode(meta, parts.len(), &mut self.ops).is_err() {
            self.unknown = true;
            return;
        }
        let mut parts = parts;
        for GroupOp { group, op } in &self.ops {
            // The decoder has checked that the operations cover the parts exactly.
            let count = usize::try_from(op.parts()).unwrap_or(usize::MAX).min(parts.len());
            let (own, rest) = parts.split_at(count);
            parts = rest;
            self.groups.entry(*group).or_default().add(op, own);
        }
    }
}

impl SegmentIndexBuilder for FooterIndexBuilder {
    fn record(&mut self, lsn: Lsn, meta: &[u8], parts: &mut dyn Iterator<Item = PartInfo>) {
        let segment = lsn.segment();
        let mut list = self.0.list.lock();
        let before = list.parts.len();
        list.parts.extend(parts.map(|p| Location::plain(segment, p.offset, p.length, p.crc)));
        list.meta.extend_from_slice(meta);
        let part_count = list.parts.len() - before;
        list.records.push((meta.len(), part_count));
        self.0.waiting.store(list.records.len(), Ordering::Relaxed);
    }

    fn seal(&mut self, _segment: u32, out: &mut Vec<u8>) {
        let mut index = self.0.index.lock();
        index.take(&self.0);
        index.seal(out);
    }
}

impl Index {
    /// Appends the index to `out` and clears it.
    fn seal(&mut self, out: &mut Vec<u8>) {
        self.write(out);
        self.groups.clear();
        (self.records, self.unknown) = (0, false);
    }

    /// Appends the index to `out`; nothing if a record could not be decoded.
    fn write(&self, out: &mut Vec<u8>) {
        if self.unknown {
            return;
        }
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_unstable_by_key(|(group, _)| **group);
        let ops = || groups.iter().flat_map(|(group, lines)| lines.ops(**group));
        let (count, places) = (ops().count(), groups.iter().map(|(_, lines)| lines.place_count()).sum());
        out.reserve(FOOTER_HEADER_BYTES + FOOTER_OP_BYTES * count);
        let begin = out.len();
        out.extend_from_slice(FooterHeader::new(self.records, count, places).as_bytes());
        ops().for_each(|op| out.extend_from_slice(op.encode().as_bytes()));
        if groups.iter().try_for_each(|(_, lines)| lines.write_places(out)).is_none() {
            out.truncate(begin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Footer, encode};
    use crate::types::CompactionPoint;

    fn entries(group: u64, first: u64, count: u32, truncates: bool) -> GroupOp {
        GroupOp { group, op: Op::Entries { first, term: 7, count, truncates, packed: false } }
    }

    /// Adds `records` to `index`, with parts of 10 bytes at 100, 200, and so on; returns the bytes that they
    /// announced.
    fn show(index: &mut Index, records: &[&[GroupOp]]) -> usize {
        let (mut meta, mut announced, mut offset) = (Vec::new(), 0, 0);
        for ops in records {
            encode(ops, &mut meta);
            announced += footer_bytes(ops);
            let count = ops.iter().map(|op| op.op.parts()).sum::<u32>();
            let parts = (0..count).map(|_| {
                offset += 100;
                Location::plain(2, offset, 10, offset + 1)
            });
            index.add(&meta, &parts.collect::<Vec<_>>());
        }
        announced
    }

    #[test]
    fn an_index_is_by_group_in_log_order_and_no_longer_than_announced() {
        let mut index = Index::default();
        let op = |group, op| GroupOp { group, op };
        let hard = |commit| Op::HardState(HardState { term: 7, vote: 1, commit });
        let point = Op::Compact(CompactionPoint { index: 1, term: 7 });
        let marker = |group, index| op(group, Op::Snapshot(SnapshotMarker { index, term: 7, digest: 5 }));
        let key = |key: &[u8]| MetaKey::new(key).expect("a key");
        let put = |group, name| op(group, Op::Meta { key: key(name), removes: false });
        let gone = |group, name| op(group, Op::Meta { key: key(name), removes: true });
        let records: [&[GroupOp]; 5] = [
            &[entries(9, 5, 2, false), entries(3, 1, 1, false), op(3, hard(1))],
            &[op(3, Op::ConfState), entries(9, 7, 1, false), op(3, hard(2)), entries(9, 5, 1, true)],
            &[op(3, point), entries(3, 2, 1, false), op(4, point), op(4, hard(9))],
            &[op(4, Op::Remove), entries(9, 6, 1, false), marker(5, 1), marker(5, 2), put(5, b"b")],
            &[put(4, b"new"), put(5, b"b"), marker(5, 3), put(5, b"a"), gone(5, b"a"), gone(5, b"c")],
        ];
        let announced = show(&mut index, &records);
        let mut out = Vec::new();
        index.seal(&mut out);
        assert!(out.len() <= announced, "{} of {announced}", out.len());
        let footer = Footer::decode(&out, 2, 2000).expect("an index");
        let conf = Location::plain(2, 400, 10, 401);
        let plain = |op| FooterOp { op, conf: None };
        let expected = [
            plain(entries(3, 1, 1, false)),
            plain(op(3, point)),
            plain(entries(3, 2, 1, false)),
            plain(op(3, hard(2))),
            FooterOp { op: op(3, Op::ConfState), conf: Some(conf) },
            plain(op(4, Op::Remove)),
            plain(put(4, b"new")),
            plain(marker(5, 3)),
            plain(marker(5, 2)),
            plain(gone(5, b"a")),
            plain(put(5, b"b")),
            plain(gone(5, b"c")),
            plain(entries(9, 5, 3, false)),
            plain(entries(9, 5, 2, true)),
        ];
        assert_eq!(footer.ops().map(|(op, _)| op).collect::<Vec<_>>(), expected);
        let places = footer.ops().flat_map(|(_, run)| run.frames()).flat_map(|frame| frame.places(0));
        let offsets: Vec<_> = places.map(|at| at.offset.get()).collect();
        assert_eq!(offsets, [300, 700, 1000, 1100, 100, 200, 500, 600, 800]);
        assert_eq!(footer.records, 5);

        out.clear();
        index.seal(&mut out);
        assert_eq!(out.len(), 16, "nothing is left of the segment before");
    }

    #[test]
    fn a_record_that_does_not_decode_costs_the_index() {
        let mut index = Index::default();
        show(&mut index, &[&[entries(9, 5, 2, false)]]);
        index.add(b"not ours", &[]);
        let mut out = Vec::new();
        index.seal(&mut out);
        assert!(out.is_empty());
        show(&mut index, &[&[entries(9, 7, 2, false)]]);
        index.seal(&mut out);
        assert_eq!(Footer::decode(&out, 3, 2000).expect("an index").ops().count(), 1);
    }
}
