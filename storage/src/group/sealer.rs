//! Collects the footer of the segment being written.
//! Place on the data's way: called by the log for each record as it is enqueued, and when a segment is
//! sealed. Invariants: writes at most the bytes that the records announced; no I/O, no locks.
//! Fails: never; a record it cannot decode is left out of the footer, replay reports it.

use std::collections::BTreeMap;

use seawall_wal::{Lsn, PartInfo, Sealer};
use zerocopy::IntoBytes;

use crate::record::{
    FOOTER_ENTRY_BYTES, FOOTER_HEADER_BYTES, FOOTER_STATE_BYTES, FooterEntry, FooterHeader, FooterState,
    GroupOp, Op, decode,
};
use crate::types::{GroupId, Location};

/// Bytes that a record with these operations adds to its segment's footer, at most.
///
/// Each record also pays for the footer's header, because each may be the first of its segment: 16 bytes
/// too many for all others, which is less than the padding of one group.
pub(crate) fn footer_bytes(ops: &[GroupOp]) -> usize {
    let of = |op: &GroupOp| match op.op {
        Op::Entries { count, .. } => FOOTER_ENTRY_BYTES * usize::try_from(count).unwrap_or(0),
        _ => FOOTER_STATE_BYTES,
    };
    FOOTER_HEADER_BYTES + ops.iter().map(of).sum::<usize>()
}

/// The footer so far.
#[derive(Default)]
pub(crate) struct FooterSealer {
    /// By group, in log order: nearly sorted by index, so that sealing under the log's lock stays linear.
    entries: BTreeMap<GroupId, Vec<FooterEntry>>,
    states: Vec<FooterState>,
    /// Parts of the record at hand; kept for its allocation.
    located: Vec<Location>,
    ops: Vec<GroupOp>,
}

impl FooterSealer {
    fn add(&mut self, lsn: Lsn, meta: &[u8], parts: usize, part: impl Iterator<Item = Location>) {
        if decode(meta, parts, &mut self.ops).is_err() {
            return;
        }
        let mut part = part;
        for op in &self.ops {
            if let Op::Entries { first, term, count, truncates } = op.op {
                let list = self.entries.entry(op.group).or_default();
                for i in 0..u64::from(count) {
                    let Some(at) = part.next() else { return };
                    list.push(FooterEntry::new(
                        op.group,
                        first.saturating_add(i),
                        term,
                        at,
                        truncates && i == 0,
                    ));
                }
            } else {
                let at = if op.op.parts() == 1 { part.next() } else { None };
                self.states.push(FooterState::new(lsn.as_u64(), op, at));
            }
        }
    }
}

impl Sealer for FooterSealer {
    fn record(&mut self, lsn: Lsn, meta: &[u8], parts: &mut dyn Iterator<Item = PartInfo>) {
        let segment = lsn.segment();
        let mut located = std::mem::take(&mut self.located);
        located.clear();
        located.extend(parts.map(|p| Location { segment, offset: p.offset, length: p.length, crc: p.crc }));
        self.add(lsn, meta, located.len(), located.iter().copied());
        self.located = located;
    }

    fn seal(&mut self, _segment: u32, out: &mut Vec<u8>) {
        let count = self.entries.values().map(Vec::len).sum();
        out.reserve(
            FOOTER_HEADER_BYTES + FOOTER_ENTRY_BYTES * count + FOOTER_STATE_BYTES * self.states.len(),
        );
        out.extend_from_slice(FooterHeader::new(count, self.states.len()).as_bytes());
        for list in self.entries.values_mut() {
            list.sort_by_key(FooterEntry::index);
            out.extend_from_slice(list.as_slice().as_bytes());
        }
        out.extend_from_slice(self.states.as_slice().as_bytes());
        self.entries.clear();
        self.states.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::encode;
    use crate::types::{HardState, Point};

    fn word(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
    }

    fn half(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
    }

    #[test]
    fn a_footer_is_sorted_and_no_longer_than_announced() {
        let mut sealer = FooterSealer::default();
        let entries = |group, first, count, truncates| GroupOp {
            group,
            op: Op::Entries { first, term: 7, count, truncates },
        };
        let hard = HardState { term: 7, vote: 1, commit: 4 };
        let records: [&[GroupOp]; 3] = [
            &[
                entries(9, 5, 2, false),
                entries(3, 1, 1, false),
                GroupOp { group: 3, op: Op::HardState(hard) },
            ],
            &[GroupOp { group: 3, op: Op::ConfState }, entries(9, 5, 1, true)],
            &[GroupOp { group: 3, op: Op::Compact(Point { index: 1, term: 7 }) }],
        ];
        let (mut meta, mut announced, mut offset) = (Vec::new(), 0, 0);
        for (record, ops) in (1..).zip(records) {
            encode(ops, &mut meta);
            announced += footer_bytes(ops);
            let count = ops.iter().map(|op| op.op.parts()).sum::<u32>();
            let parts: Vec<_> = (0..count)
                .map(|_| {
                    offset += 100;
                    Location { segment: 2, offset, length: 10, crc: offset + 1 }
                })
                .collect();
            sealer.add(Lsn::new(2, record), &meta, parts.len(), parts.into_iter());
        }
        sealer.add(Lsn::new(2, 4), b"not ours", 0, std::iter::empty());

        let mut out = Vec::new();
        sealer.seal(2, &mut out);
        assert!(out.len() <= announced);
        assert_eq!([half(&out, 0), half(&out, 4), half(&out, 8), half(&out, 12)], [1, 40, 4, 3]);
        let lines: Vec<_> = (0..4)
            .map(|i| 16 + 40 * i)
            .map(|at| (word(&out, at), word(&out, at + 8), half(&out, at + 24), half(&out, at + 36)))
            .collect();
        assert_eq!(lines, [(3, 1, 300, 1), (9, 5, 100, 1), (9, 5, 500, 0x101), (9, 6, 200, 1)]);
        let states = &out[16 + 160..];
        assert_eq!(states.len(), 3 * 48);
        assert_eq!(word(states, 0), Lsn::new(2, 1).as_u64());
        assert_eq!(states[8], 2, "the hard state first");
        assert_eq!((states[48 + 8], word(states, 48 + 24), word(states, 48 + 40)), (3, 400, 401));

        out.clear();
        sealer.seal(3, &mut out);
        assert_eq!(out.len(), 16, "nothing is left of the segment before");
    }
}
