//! Sums over groups: their number and size, and the contents of the engine's records in them.
//!
//! The scan fills a tally while a group's bytes are in memory, so that a log is read once. Several segments are scanned
//! at a time, so each segment has its own tally; they are added up in order afterwards. Memory depends on the number of
//! Raft groups and of their runs of entries, not on the length of the log.

use crate::ops::vote_of;
use seawall::inspect::{OpKind, decode_owner, decode_record, is_owner_group};
use seawall_wal::Lsn;
use seawall_wal::inspect::{GroupKind, RecordRef, ScannedGroup};
use serde::Serialize;
use std::collections::BTreeMap;

/// Most jumps that are remembered. A damaged range in a log of many groups may cause one in each group.
const JUMPS_MAX: usize = 10_000;

/// Sums over the log.
#[derive(Clone, Default, Debug, Serialize)]
pub(crate) struct Counts {
    /// Groups: durable write units, marks and footers included.
    pub(crate) groups: u64,
    /// Groups that only carry a watermark.
    pub(crate) marks: u64,
    /// Groups that hold a segment's index.
    pub(crate) footers: u64,
    /// Records, without those of footers.
    pub(crate) records: u64,
    /// Bytes of the records' parts.
    pub(crate) payload_bytes: u64,
    /// Bytes of the groups, padding included.
    pub(crate) disk_bytes: u64,
    /// Bytes of padding.
    pub(crate) padding_bytes: u64,
    /// Raft entries in the records, including those that later records replaced or compacted.
    pub(crate) entries_written: u64,
    /// Records that the engine did not write.
    pub(crate) other_records: u64,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.groups += other.groups;
        self.marks += other.marks;
        self.footers += other.footers;
        self.records += other.records;
        self.payload_bytes += other.payload_bytes;
        self.disk_bytes += other.disk_bytes;
        self.padding_bytes += other.padding_bytes;
        self.entries_written += other.entries_written;
        self.other_records += other.other_records;
    }

    /// Share of padding in the bytes on disk, 0 to 1.
    pub(crate) fn padding_ratio(&self) -> f64 {
        // The ratio is for people: the rounding above 2^53 bytes does not matter.
        if self.disk_bytes == 0 { 0.0 } else { self.padding_bytes as f64 / self.disk_bytes as f64 }
    }
}

/// The end of the log of one Raft group.
#[derive(Clone, Copy, Default, Debug, Serialize)]
pub(crate) struct RaftGroup {
    /// Number of the group.
    pub(crate) group: u64,
    /// The group whose vote it holds, if the openraft adapter wrote it. The number alone decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vote_of: Option<u64>,
    /// Index of its last entry, or of its compaction point if it has none after that.
    pub(crate) last_index: u64,
    /// Term at `last_index`.
    pub(crate) last_term: u64,
    /// Number of its entries in the records.
    pub(crate) entries_written: u64,
    /// The record that set `last_index`.
    #[serde(skip)]
    at: Lsn,
}

/// A position in the log where a group's entries do not follow each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jump {
    pub(crate) group: u64,
    /// First and last missing index.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Position of the record before the gap and of the one after it.
    pub(crate) after: Lsn,
    pub(crate) before: Lsn,
}

/// Sums over the log.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    pub(crate) raft: BTreeMap<u64, RaftGroup>,
    pub(crate) jumps: Vec<Jump>,
    /// Owner of the log.
    pub(crate) owner: Option<String>,
}

/// Sums over one segment, in the making.
#[derive(Default, Debug)]
pub(crate) struct SegmentTally {
    counts: Counts,
    /// Operations on each Raft group, in order; consecutive entries are one event.
    events: BTreeMap<u64, Vec<Event>>,
    owner: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    what: OpKind,
    entries: u64,
    /// Position of the first and of the last record of the event.
    from: Lsn,
    to: Lsn,
}

impl SegmentTally {
    /// Counts a valid group. Groups must come in the order of the log.
    pub(crate) fn add(&mut self, group: &ScannedGroup<'_>) {
        let (head, counts) = (group.head(), &mut self.counts);
        counts.groups += 1;
        counts.disk_bytes += u64::from(head.end - head.offset);
        counts.padding_bytes += u64::from(group.padding_bytes());
        match head.kind {
            GroupKind::Mark | GroupKind::Announcement => counts.marks += 1,
            GroupKind::Footer => counts.footers += 1,
            GroupKind::Data => group.records().for_each(|record| self.add_record(&record)),
        }
    }

    fn add_record(&mut self, record: &RecordRef<'_>) {
        self.counts.records += 1;
        self.counts.payload_bytes += record.part_infos().map(|p| u64::from(p.length)).sum::<u64>();
        let Ok(ops) = decode_record(record.meta(), record.part_count()) else {
            self.counts.other_records += 1;
            return;
        };
        for op in ops {
            if is_owner_group(op.group) {
                let value = record.parts().nth(op.parts.start).map(|(_, bytes)| bytes);
                let owner = value.and_then(decode_owner).map(|owner| owner.to_string());
                self.owner = Some(owner.unwrap_or_else(|| "not readable: of a later version".into()));
                continue;
            }
            let (entries, at) = (op.parts.len() as u64, record.lsn());
            let events = self.events.entry(op.group).or_default();
            if let OpKind::Entries { first, last, term, .. } = op.what {
                self.counts.entries_written += entries;
                if let Some(before) = events.last_mut()
                    && let OpKind::Entries { last: end, term: of, .. } = &mut before.what
                    && end.checked_add(1) == Some(first)
                {
                    (*end, *of, before.to) = (last, term, at);
                    before.entries += entries;
                    continue;
                }
            }
            if !matches!(op.what, OpKind::HardState(_) | OpKind::ConfState) {
                events.push(Event { what: op.what, entries, from: at, to: at });
            } else if events.last().is_none_or(|last| last.what == OpKind::Remove) {
                // The group exists, whatever else is known of its log.
                events.push(Event { what: op.what, entries: 0, from: at, to: at });
            }
        }
    }
}

impl Tally {
    /// Number of groups counted.
    pub(crate) fn visited(&self) -> u64 {
        self.counts.groups
    }

    /// Adds the next segment.
    pub(crate) fn add(&mut self, segment: SegmentTally) {
        self.counts.add(&segment.counts);
        self.owner = segment.owner.or(self.owner.take());
        for (group, events) in segment.events {
            events.iter().for_each(|event| self.add_event(group, event));
        }
    }

    fn add_event(&mut self, group: u64, event: &Event) {
        if event.what == OpKind::Remove {
            self.raft.remove(&group);
            return;
        }
        let of = self.raft.entry(group).or_insert_with(|| RaftGroup {
            group,
            vote_of: vote_of(group),
            ..RaftGroup::default()
        });
        match event.what {
            OpKind::Entries { first, last, term, .. } => {
                let next = of.last_index.saturating_add(1);
                if first > next && !of.at.is_zero() && self.jumps.len() < JUMPS_MAX {
                    let (after, before) = (of.at, event.from);
                    self.jumps.push(Jump { group, first: next, last: first - 1, after, before });
                }
                of.entries_written += event.entries;
                (of.last_index, of.last_term, of.at) = (last, term, event.to);
            }
            OpKind::Start { index, term } => (of.last_index, of.last_term, of.at) = (index, term, event.to),
            // A moved copy may be all that is left of the entries. A gap is no jump here, because others may be copied
            // later.
            OpKind::Moved { last, term, .. } | OpKind::Repaired { last, term, .. }
                if of.last_index < last =>
            {
                (of.last_index, of.last_term) = (last, term)
            }
            OpKind::Compact { index, term } if of.last_index < index => {
                (of.last_index, of.last_term, of.at) = (index, term, event.to);
            }
            _ => {}
        }
    }
}
