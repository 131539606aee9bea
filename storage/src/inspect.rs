//! Decodes the operations of a record, read-only, for tools that look at logs.
//!
//! A tool finds a record with `seawall_wal::inspect` and passes its `meta` bytes to [`decode_record`]. The decoder is
//! the one that replay uses, so a tool shows what an open reads. It accepts any bytes without a panic (INV-9).

use std::ops::Range;

use crate::format::{DecodeError, GroupOp, Op, decode};
use crate::owner::OWNER_GROUP;
use crate::types::{GroupId, HardState, Owner, SnapshotMarker};
pub use crate::types::{MetaKey, OPENRAFT_STATE_GROUPS};

/// One operation of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecodedOp {
    /// The group of the operation.
    pub group: GroupId,
    /// The change to the group.
    pub what: OpKind,
    /// Numbers of the record's parts that belong to the operation: one for each entry; one for a conf state or a
    /// metadata value.
    pub parts: Range<usize>,
}

/// A change to a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum OpKind {
    /// Appends entries of one term.
    Entries {
        /// Index of the first entry.
        first: u64,
        /// Index of the last entry.
        last: u64,
        /// Term of the entries.
        term: u64,
        /// Whether the append replaced entries at or after `first`.
        truncates: bool,
        /// Whether the payloads are compressed: a `u32` of the original length, the CRC-32C of the original bytes, and
        /// a zstd frame.
        compressed: bool,
    },
    /// Copies live entries, so that the segment that held them can be released.
    Moved {
        /// Index of the first entry.
        first: u64,
        /// Index of the last entry.
        last: u64,
        /// Term of the entries.
        term: u64,
        /// Whether the payloads are compressed.
        compressed: bool,
    },
    /// As `Moved`, for copies that were got from another node because the originals are damaged.
    Repaired {
        /// Index of the first entry.
        first: u64,
        /// Index of the last entry.
        last: u64,
        /// Term of the entries.
        term: u64,
        /// Whether the payloads are compressed.
        compressed: bool,
    },
    /// Sets the hard state.
    HardState(HardState),
    /// Sets the conf state to the value in the operation's part.
    ConfState,
    /// Drops the entries up to and including `index`.
    Compact {
        /// Index of the compaction point.
        index: u64,
        /// Term of the entry at `index`.
        term: u64,
    },
    /// Discards the whole log; it starts again after `index`.
    Start {
        /// Index of the entry after which the log starts.
        index: u64,
        /// Term of that entry.
        term: u64,
    },
    /// Removes the group.
    Remove,
    /// Records that a snapshot covers the log up to an entry.
    Snapshot(SnapshotMarker),
    /// Sets a metadata value of the user to the bytes in the operation's part.
    PutMeta(MetaKey),
    /// Removes a metadata value of the user.
    RemoveMeta(MetaKey),
}

impl OpKind {
    /// Name of the operation, as tools show it: `entries`, `moved`, `hard_state`, `conf_state`, `compact`, `start`,
    /// `remove`, `snapshot`, `put_meta`, `remove_meta`, `repaired`.
    pub fn name(&self) -> &'static str {
        match self {
            OpKind::Entries { .. } => "entries",
            OpKind::Moved { .. } => "moved",
            OpKind::Repaired { .. } => "repaired",
            OpKind::HardState(_) => "hard_state",
            OpKind::ConfState => "conf_state",
            OpKind::Compact { .. } => "compact",
            OpKind::Start { .. } => "start",
            OpKind::Remove => "remove",
            OpKind::Snapshot(_) => "snapshot",
            OpKind::PutMeta(_) => "put_meta",
            OpKind::RemoveMeta(_) => "remove_meta",
        }
    }
}

/// Whether `group` is the engine's own group, whose metadata holds the owner of the log ([`decode_owner`]).
pub fn is_owner_group(group: GroupId) -> bool {
    group == OWNER_GROUP
}

/// Decodes the owner of a log from the bytes of its metadata value; `None` if a later version wrote them.
pub fn decode_owner(value: &[u8]) -> Option<Owner> {
    Owner::decode(value)
}

/// Decodes the operations of a record from its `meta` bytes; `parts` is the number of parts of the record.
///
/// # Errors
/// If the bytes are not those of a record of this engine, or if its operations do not cover `parts` parts.
pub fn decode_record(meta: &[u8], parts: usize) -> Result<Vec<DecodedOp>, DecodeError> {
    let mut ops = Vec::new();
    decode(meta, parts, &mut ops)?;
    let mut next = 0;
    Ok(ops.iter().map(|op| line(op, &mut next)).collect())
}

fn line(of: &GroupOp, next_part: &mut usize) -> DecodedOp {
    let what = match of.op {
        Op::Entries { first, term, count, truncates, packed } => {
            let last = first.saturating_add(u64::from(count).saturating_sub(1));
            OpKind::Entries { first, last, term, truncates, compressed: packed }
        }
        Op::Moved { first, term, count, packed } => {
            let last = first.saturating_add(u64::from(count).saturating_sub(1));
            OpKind::Moved { first, last, term, compressed: packed }
        }
        Op::Repaired { first, term, count, packed } => {
            let last = first.saturating_add(u64::from(count).saturating_sub(1));
            OpKind::Repaired { first, last, term, compressed: packed }
        }
        Op::HardState(hard) => OpKind::HardState(hard),
        Op::ConfState => OpKind::ConfState,
        Op::Compact(point) => OpKind::Compact { index: point.index, term: point.term },
        Op::Start(point) => OpKind::Start { index: point.index, term: point.term },
        Op::Remove => OpKind::Remove,
        Op::Snapshot(marker) => OpKind::Snapshot(marker),
        Op::Meta { key, removes: false } => OpKind::PutMeta(key),
        Op::Meta { key, removes: true } => OpKind::RemoveMeta(key),
    };
    let from = *next_part;
    // The decoder has checked that the operations together cover the parts exactly.
    *next_part = from.saturating_add(usize::try_from(of.op.parts()).unwrap_or(usize::MAX));
    DecodedOp { group: of.group, what, parts: from..*next_part }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::encode;
    use crate::types::CompactionPoint;

    #[test]
    fn operations_and_their_parts_are_shown() {
        let hard = HardState { term: 4, vote: 1, commit: 8 };
        let ops = [
            GroupOp {
                group: 7,
                op: Op::Entries { first: 9, term: 4, count: 3, truncates: true, packed: false },
            },
            GroupOp { group: 8, op: Op::ConfState },
            GroupOp { group: 7, op: Op::HardState(hard) },
            GroupOp { group: 9, op: Op::Compact(CompactionPoint { index: 5, term: 2 }) },
            GroupOp {
                group: 9,
                op: Op::Entries { first: 6, term: 4, count: 1, truncates: false, packed: false },
            },
        ];
        let mut meta = Vec::new();
        encode(&ops, &mut meta);
        let shown = decode_record(&meta, 5).expect("decoded");
        let parts: Vec<_> = shown.iter().map(|op| op.parts.clone()).collect();
        assert_eq!(parts, [0..3, 3..4, 4..4, 4..4, 4..5]);
        assert_eq!(
            shown[0].what,
            OpKind::Entries { first: 9, last: 11, term: 4, truncates: true, compressed: false }
        );
        assert_eq!((shown[2].group, shown[2].what), (7, OpKind::HardState(hard)));
        assert_eq!((shown[3].what.name(), shown[3].what), ("compact", OpKind::Compact { index: 5, term: 2 }));
        assert!(decode_record(&meta, 4).is_err(), "the parts must be covered");
        assert!(decode_record(b"other", 0).is_err());
    }
}
