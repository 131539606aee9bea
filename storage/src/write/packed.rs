//! A batch whose payloads are compressed where that is worthwhile.
//!
//! It is made before the groups are locked, and its record is written in place of the original one. It has the same
//! meaning as the batch and is never larger, so if the batch fits into a record, it does too.

use seawall_wal::RecordBuilder;

use super::parts::parts_before;
use crate::compression::Compressor;
use crate::format::{GroupOp, Op};

/// The operations and parts of a batch. Runs of entries are split where compressed payloads begin and end.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) ops: Vec<GroupOp>,
    pub(super) record: RecordBuilder,
    /// For each part, whether it is compressed.
    pub(super) parts: Vec<bool>,
}

impl Packed {
    /// Compresses the entries of a batch with `ops` and `record`; `None` if compression is not worthwhile for any of
    /// them.
    pub(super) fn new(ops: &[GroupOp], record: &RecordBuilder, compressor: &Compressor) -> Option<Packed> {
        let raw: Vec<&[u8]> = parts(record).collect();
        if !raw.iter().any(|part| compressor.wants(part.len())) {
            return None;
        }
        let mut stored: Vec<Option<Vec<u8>>> = vec![None; raw.len()];
        for (part, op) in parts_before(ops).filter(|(_, op)| matches!(op.op, Op::Entries { .. })) {
            let count = usize::try_from(op.op.parts()).unwrap_or(usize::MAX);
            let own = stored.iter_mut().zip(&raw).skip(part).take(count);
            own.for_each(|(stored, raw)| *stored = compressor.pack(raw));
        }
        if stored.iter().all(Option::is_none) {
            return None;
        }
        let mut packed =
            Packed { ops: Vec::with_capacity(ops.len()), record: RecordBuilder::new(), parts: Vec::new() };
        for (part, op) in parts_before(ops) {
            match op.op {
                Op::Entries { first, term, count, .. } => {
                    let own = stored.iter().skip(part).take(usize::try_from(count).unwrap_or(usize::MAX));
                    packed.entries(op.group, (first, term), own.map(Option::is_some));
                }
                _ => packed.ops.push(*op),
            }
        }
        for (raw, stored) in raw.iter().zip(&stored) {
            packed.record.push_part(stored.as_deref().unwrap_or(raw));
            packed.parts.push(stored.is_some());
        }
        Some(packed)
    }

    /// Adds entries of one term as runs; `packed` is, for each entry, whether it is compressed.
    fn entries(&mut self, group: u64, (first, term): (u64, u64), packed: impl Iterator<Item = bool>) {
        let mut before = None;
        for (packed, first) in packed.zip(first..) {
            match self.ops.last_mut() {
                Some(GroupOp { op: Op::Entries { count, .. }, .. }) if before == Some(packed) => *count += 1,
                _ => {
                    let op = Op::Entries { first, term, count: 1, truncates: false, packed };
                    self.ops.push(GroupOp { group, op });
                }
            }
            before = Some(packed);
        }
    }
}

/// The parts of `record`, in order.
fn parts(record: &RecordBuilder) -> impl Iterator<Item = &[u8]> {
    let mut rest = record.payload();
    record.part_infos(0).map(move |part| {
        let length = usize::try_from(part.length).unwrap_or(usize::MAX);
        let (own, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        rest = behind;
        own
    })
}

#[cfg(all(test, feature = "zstd"))]
mod tests {
    use super::*;
    use crate::types::{Compression, HardState};

    #[test]
    fn runs_are_split_where_compression_begins_and_ends() {
        let compressor = Compressor::new(Some(Compression { from_bytes: 1000, level: 1 }));
        let entries = |group, first, count, packed| GroupOp {
            group,
            op: Op::Entries { first, term: 3, count, truncates: false, packed },
        };
        let hard = GroupOp { group: 1, op: Op::HardState(HardState::default()) };
        let conf = GroupOp { group: 1, op: Op::ConfState };
        let ops = [entries(1, 4, 5, false), hard, conf, entries(2, 1, 1, false), entries(2, 2, 1, false)];
        let lengths = [10, 5000, 6000, 0, 7000, 4000, 8000, 20];
        let mut record = RecordBuilder::new();
        lengths.iter().for_each(|length| record.push_part(&vec![7; *length]));
        let packed = Packed::new(&ops, &record, &compressor).expect("it pays");
        assert_eq!(packed.parts, [false, true, true, false, true, false, true, false]);
        let expected = [
            entries(1, 4, 1, false),
            entries(1, 5, 2, true),
            entries(1, 7, 1, false),
            entries(1, 8, 1, true),
            hard,
            conf,
            entries(2, 1, 1, true),
            entries(2, 2, 1, false),
        ];
        assert_eq!(packed.ops, expected);
        for ((stored, packed), length) in parts(&packed.record).zip(&packed.parts).zip(lengths) {
            let raw =
                if *packed { compressor.unpack(stored).expect("ours").to_vec() } else { stored.to_vec() };
            assert_eq!(raw, vec![7; length]);
        }
        assert!(Packed::new(&ops[3..], &RecordBuilder::new(), &compressor).is_none());
    }
}
