//! Collects the index of the segment being written.
//! Place on the data's way: called by the log for each record as it is enqueued, and when a segment is
//! sealed; in between writers sort what has come by group, outside of the log's lock. Invariants: writes at
//! most the bytes that the records announced; what it writes leads each group to where the records lead it; no
//! I/O. Locks: the index's, then the list's; the log's comes before both.
//! Fails: never; a segment with a record that it cannot decode gets no index, replay reports the record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use seawall_wal::{Lsn, PartInfo, SegmentIndexBuilder};
use zerocopy::IntoBytes;

use crate::format::{
    FOOTER_HEADER_BYTES, FOOTER_OP_BYTES, FOOTER_PLACE_BYTES, FooterHeader, FooterOp, FooterPlace, GroupOp,
    Op, decode,
};
use crate::group::group_meta::keep;
use crate::types::{GroupId, GroupMap, HardState, Location, MetaKey, SnapshotMarker};

/// Bytes that a record with these operations adds to its segment's index, at most.
///
/// Each record also pays for the index's header, because each may be the first of its segment: 16 bytes
/// too many for all others, which is less than the padding of one group.
pub(crate) fn footer_bytes(ops: &[GroupOp]) -> usize {
    let of = |op: &GroupOp| FOOTER_PLACE_BYTES * usize::try_from(op.op.places()).unwrap_or(0);
    FOOTER_HEADER_BYTES + ops.iter().map(|op| FOOTER_OP_BYTES + of(op)).sum::<usize>()
}

/// Records of which the list is sorted into the index by whoever wrote the last of them: many at a time wait for
/// memory together.
const GATHERED: usize = 64;

/// The index so far, and the records that are not in it yet. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct FooterIndexBuilder(Arc<Shared>);

#[derive(Default)]
struct Shared {
    index: Mutex<Index>,
    list: Mutex<List>,
    /// How many records the list has, for who asks without its lock.
    waiting: AtomicUsize,
}

/// Records in log order, as they came: under the log's lock nothing is looked up.
#[derive(Default)]
struct List {
    /// Bytes of `meta` and number of `parts`, of each.
    records: Vec<(usize, usize)>,
    meta: Vec<u8>,
    parts: Vec<Location>,
}

/// The index by group.
#[derive(Default)]
struct Index {
    groups: GroupMap<Lines>,
    records: u32,
    /// A record was none of the engine's, as far as it knows.
    unknown: bool,
    /// Of the record at hand, and an empty list; kept for their allocations.
    ops: Vec<GroupOp>,
    spare: List,
}

/// What the segment says of one group.
///
/// Operations on the log depend on each other and keep their order. A hard state, a conf state, a snapshot
/// marker or a metadata value depends on nothing but a removal, so the last one is enough, and stands behind
/// the others. That a value is gone is said too: an earlier segment may have it.
#[derive(Default)]
struct Lines {
    log: Vec<Op>,
    places: Vec<FooterPlace>,
    hard: Option<HardState>,
    conf: Option<Location>,
    snapshots: Vec<(SnapshotMarker, ())>,
    metas: BTreeMap<MetaKey, Option<FooterPlace>>,
}

impl Lines {
    /// Adds one operation and its parts.
    fn add(&mut self, op: &Op, parts: &[Location]) {
        match *op {
            Op::Entries { first, term, count, truncates, packed } => {
                self.places.extend(parts.iter().map(|part| FooterPlace::from(*part)));
                if let Some(Op::Entries { first: from, term: of, count: so_far, packed: so, .. }) =
                    self.log.last_mut()
                    && (*of, *so) == (term, packed)
                    && !truncates
                    && from.checked_add(u64::from(*so_far)) == Some(first)
                    && let Some(sum) = so_far.checked_add(count)
                {
                    *so_far = sum;
                    return;
                }
                self.log.push(*op);
            }
            Op::Moved { .. } => {
                self.places.extend(parts.iter().map(|part| FooterPlace::from(*part)));
                self.log.push(*op);
            }
            Op::HardState(hard) => self.hard = Some(hard),
            Op::ConfState => self.conf = parts.first().copied(),
            Op::Compact(_) | Op::Start(_) => self.log.push(*op),
            Op::Snapshot(marker) => _ = keep(&mut self.snapshots, marker, ()),
            Op::Meta { key, .. } => {
                self.metas.insert(key, parts.first().map(|part| FooterPlace::from(*part)));
            }
            // Nothing of the group is left of what was before.
            Op::Remove => *self = Lines { log: vec![Op::Remove], ..Lines::default() },
        }
    }

    fn ops(&self, group: GroupId) -> impl Iterator<Item = FooterOp> {
        let line = move |op, conf| FooterOp { op: GroupOp { group, op }, conf };
        let hard = self.hard.map(|hard| line(Op::HardState(hard), None));
        let conf = self.conf.map(|at| line(Op::ConfState, Some(at)));
        let snapshots = self.snapshots.iter().map(move |(marker, ())| line(Op::Snapshot(*marker), None));
        let meta = move |(key, place): (&MetaKey, &Option<FooterPlace>)| {
            line(Op::Meta { key: *key, removes: place.is_none() }, None)
        };
        let log = self.log.iter().map(move |op| line(*op, None));
        log.chain(hard).chain(conf).chain(snapshots).chain(self.metas.iter().map(meta))
    }

    /// The places that go with the operations, in their order.
    fn places(&self) -> impl Iterator<Item = &FooterPlace> {
        self.places.iter().chain(self.metas.values().flatten())
    }
}

impl FooterIndexBuilder {
    /// Sorts what has come into the index, if it is enough and nobody else is at it.
    pub(crate) fn gather(&self) {
        if self.0.waiting.load(Ordering::Relaxed) >= GATHERED
            && let Some(mut index) = self.0.index.try_lock()
        {
            index.take(&self.0);
        }
    }

    /// The index of what it was shown of the segment in use; empty if there is something that it cannot decode.
    pub(crate) fn written(&self) -> Vec<u8> {
        let (mut index, mut out) = (self.0.index.lock(), Vec::new());
        index.take(&self.0);
        index.write(&mut out);
        out
    }
}

impl Index {
    /// Adds what the list has, and leaves it empty.
    fn take(&mut self, shared: &Shared) {
        // With the index held: two that take one after the other add in the order of the log.
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
    /// Writes the index into `out` and forgets it.
    fn seal(&mut self, out: &mut Vec<u8>) {
        self.write(out);
        self.groups.clear();
        (self.records, self.unknown) = (0, false);
    }

    fn write(&self, out: &mut Vec<u8>) {
        if self.unknown {
            return;
        }
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_unstable_by_key(|(group, _)| **group);
        let ops = || groups.iter().flat_map(|(group, lines)| lines.ops(**group));
        let (count, places) = (ops().count(), groups.iter().map(|(_, lines)| lines.places().count()).sum());
        out.reserve(FOOTER_HEADER_BYTES + FOOTER_OP_BYTES * count + FOOTER_PLACE_BYTES * places);
        out.extend_from_slice(FooterHeader::new(self.records, count, places).as_bytes());
        ops().for_each(|op| out.extend_from_slice(op.encode().as_bytes()));
        let places = groups.iter().flat_map(|(_, lines)| lines.places());
        places.for_each(|place| out.extend_from_slice(place.as_bytes()));
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

    /// Shows the sealer `records`, with parts of 10 bytes at 100, 200, ..; returns what they announced.
    fn show(sealer: &mut Index, records: &[&[GroupOp]]) -> usize {
        let (mut meta, mut announced, mut offset) = (Vec::new(), 0, 0);
        for ops in records {
            encode(ops, &mut meta);
            announced += footer_bytes(ops);
            let count = ops.iter().map(|op| op.op.parts()).sum::<u32>();
            let parts = (0..count).map(|_| {
                offset += 100;
                Location::plain(2, offset, 10, offset + 1)
            });
            sealer.add(&meta, &parts.collect::<Vec<_>>());
        }
        announced
    }

    #[test]
    fn an_index_is_by_group_in_log_order_and_no_longer_than_announced() {
        let mut sealer = Index::default();
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
        let announced = show(&mut sealer, &records);
        let mut out = Vec::new();
        sealer.seal(&mut out);
        assert!(out.len() <= announced, "{} of {announced}", out.len());
        let footer = Footer::decode(&out, 2).expect("an index");
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
        assert_eq!(footer.ops().collect::<Vec<_>>(), expected);
        let offsets: Vec<_> = footer.locations().map(|at| at.offset).collect();
        assert_eq!(offsets, [300, 700, 1000, 1100, 100, 200, 500, 600, 800]);
        assert_eq!(footer.records, 5);

        out.clear();
        sealer.seal(&mut out);
        assert_eq!(out.len(), 16, "nothing is left of the segment before");
    }

    #[test]
    fn a_record_that_does_not_decode_costs_the_index() {
        let mut sealer = Index::default();
        show(&mut sealer, &[&[entries(9, 5, 2, false)]]);
        sealer.add(b"not ours", &[]);
        let mut out = Vec::new();
        sealer.seal(&mut out);
        assert!(out.is_empty());
        show(&mut sealer, &[&[entries(9, 7, 2, false)]]);
        sealer.seal(&mut out);
        assert_eq!(Footer::decode(&out, 3).expect("an index").ops().count(), 1);
    }
}
