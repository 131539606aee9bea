//! Encodes and decodes the operations of one record: its `meta` is a header of 8 bytes and 40 bytes per operation.
//!
//! An operation records the decisions of its validation: an append whether it truncated the log, a start that it
//! discarded the log. So replay repeats operations and decides nothing.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::DecodeError;
use super::kind::{
    COMPACT, CONF_STATE, ENTRIES, HARD_STATE, METADATA, MOVED, REMOVE, REPAIRED, SNAPSHOT_MARKER, START,
};
use crate::types::{CompactionPoint, GroupId, HardState, META_KEY_BYTES_MAX, MetaKey, SnapshotMarker};

pub(super) const VERSION: u16 = 1;

/// Flag of entries: the append replaced entries at or after its first index.
const TRUNCATES: u8 = 1;
/// Flag of entries, moved and repaired entries: each payload is compressed.
const PACKED: u8 = 2;
/// Flag of entries, moved and repaired entries: each payload is sealed. Reserved; such an operation is refused.
const SEALED: u8 = 4;

/// The change that one operation makes to its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    /// Appends `count` entries of one term from `first` on, whose payloads are the next `count` parts. The log ends
    /// after them. `truncates` is whether it reached `first` before; `packed` is whether the payloads are compressed.
    Entries { first: u64, term: u64, count: u32, truncates: bool, packed: bool },
    /// Copies of `count` live entries of one term from `first` on, in the next `count` parts, made so that their
    /// original segment can be released. Changes only the locations of the entries.
    Moved { first: u64, term: u64, count: u32, packed: bool },
    /// As `Moved`, for copies that were got from another node because the originals are damaged. Nothing writes it
    /// yet.
    Repaired { first: u64, term: u64, count: u32, packed: bool },
    /// Sets the whole hard state.
    HardState(HardState),
    /// Sets the whole conf state, which is in the next part.
    ConfState,
    /// Drops the entries up to and including the point; later entries stay. Also written to repeat the current point,
    /// so that the record that wrote it first can be released.
    Compact(CompactionPoint),
    /// Discards the whole log; it starts again after the point.
    Start(CompactionPoint),
    /// Removes the group with all of its state.
    Remove,
    /// Records that a snapshot covers the log up to an entry. A group keeps the two markers with the highest indexes,
    /// so the order in which they are written again does not matter.
    Snapshot(SnapshotMarker),
    /// Sets a metadata value of the user to the next part; or removes it, without a part.
    Meta { key: MetaKey, removes: bool },
}

impl Op {
    /// Number of parts of the record that belong to this operation.
    pub(crate) fn parts(&self) -> u32 {
        match self {
            Op::Entries { count, .. } | Op::Moved { count, .. } | Op::Repaired { count, .. } => *count,
            Op::ConfState => 1,
            Op::Meta { removes, .. } => u32::from(!removes),
            Op::HardState(_) | Op::Compact(_) | Op::Start(_) | Op::Remove | Op::Snapshot(_) => 0,
        }
    }

    /// Index of the first entry whose payload is a part of the operation; 0 if it has no entries.
    pub(crate) fn first_entry(&self) -> u64 {
        match self {
            Op::Entries { first, .. } | Op::Moved { first, .. } | Op::Repaired { first, .. } => *first,
            _ => 0,
        }
    }

    /// Number of parts whose places are in an index: all but that of a conf state, whose place is in its operation.
    pub(crate) fn places(&self) -> u32 {
        if *self == Op::ConfState { 0 } else { self.parts() }
    }

    /// Whether the operation has a part with small state, which the groups keep in memory.
    pub(crate) fn has_state_value(&self) -> bool {
        matches!(self, Op::ConfState | Op::Meta { removes: false, .. })
    }
}

/// An operation and its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct GroupOp {
    pub(crate) group: GroupId,
    pub(crate) op: Op,
}

/// The first 8 bytes of `meta`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct MetaHeader {
    pub(super) version: U16,
    pub(super) reserved: U16,
    pub(super) ops: U32,
}

/// An operation on disk. `a`, `b` and `c` depend on the kind: entries, moved and repaired entries (first index, term, 0), hard
/// state (term, vote, commit), compact and start (index, term, 0), snapshot marker (index, term, digest), metadata
/// (the key; its length is in `flags`), others 0.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(crate) struct RawOp {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) reserved: U16,
    pub(super) count: U32,
    pub(super) group: U64,
    pub(super) a: U64,
    pub(super) b: U64,
    pub(super) c: U64,
}

const HEADER_BYTES: usize = size_of::<MetaHeader>();
pub(super) const OP_BYTES: usize = size_of::<RawOp>();
const _: () = assert!(HEADER_BYTES == 8 && OP_BYTES == 40);

/// Replaces `meta` with the encoding of `ops`.
pub(crate) fn encode(ops: &[GroupOp], meta: &mut Vec<u8>) {
    meta.clear();
    meta.reserve(HEADER_BYTES + OP_BYTES * ops.len());
    // Every reader refuses a count that does not fit. The record would be too large long before.
    let count = u32::try_from(ops.len()).unwrap_or(u32::MAX);
    let header = MetaHeader { version: VERSION.into(), reserved: 0.into(), ops: count.into() };
    meta.extend_from_slice(header.as_bytes());
    for op in ops {
        meta.extend_from_slice(RawOp::from(op).as_bytes());
    }
}

/// Replaces `ops` with the operations in `meta`, for a record that has `parts` parts.
///
/// Any bytes result in operations that cover the parts exactly, or in an error (INV-9).
pub(crate) fn decode(meta: &[u8], parts: usize, ops: &mut Vec<GroupOp>) -> Result<(), DecodeError> {
    ops.clear();
    let (header, body) = MetaHeader::read_from_prefix(meta)
        .map_err(|_| DecodeError::TooShort { needed: HEADER_BYTES, found: meta.len() })?;
    if header.version.get() != VERSION {
        return Err(DecodeError::Version { version: header.version.get() });
    }
    if header.reserved.get() != 0 {
        return Err(DecodeError::Reserved { at: 0 });
    }
    let expected = u64::from(header.ops.get()) * OP_BYTES as u64 + HEADER_BYTES as u64;
    if expected != meta.len() as u64 {
        return Err(DecodeError::Length { expected, found: meta.len() });
    }
    ops.reserve(body.len() / OP_BYTES);
    let mut covered: u64 = 0;
    for (at, bytes) in body.chunks_exact(OP_BYTES).enumerate() {
        let raw = RawOp::read_from_bytes(bytes)
            .map_err(|_| DecodeError::TooShort { needed: OP_BYTES, found: bytes.len() })?;
        let op = raw.decode(at)?;
        covered += u64::from(op.parts());
        ops.push(GroupOp { group: raw.group.get(), op });
    }
    if covered != parts as u64 {
        return Err(DecodeError::Parts { covered, found: parts });
    }
    Ok(())
}

impl From<&GroupOp> for RawOp {
    fn from(of: &GroupOp) -> RawOp {
        let (kind, flags, a, b, c) = match of.op {
            Op::Entries { first, term, truncates, packed, .. } => {
                let flags = if truncates { TRUNCATES } else { 0 } | if packed { PACKED } else { 0 };
                (ENTRIES, flags, first, term, 0)
            }
            Op::Moved { first, term, packed, .. } => (MOVED, if packed { PACKED } else { 0 }, first, term, 0),
            Op::Repaired { first, term, packed, .. } => {
                (REPAIRED, if packed { PACKED } else { 0 }, first, term, 0)
            }
            Op::HardState(hard) => (HARD_STATE, 0, hard.term, hard.vote, hard.commit),
            Op::ConfState => (CONF_STATE, 0, 0, 0, 0),
            Op::Compact(point) => (COMPACT, 0, point.index, point.term, 0),
            Op::Start(point) => (START, 0, point.index, point.term, 0),
            Op::Remove => (REMOVE, 0, 0, 0, 0),
            Op::Snapshot(SnapshotMarker { index, term, digest }) => (SNAPSHOT_MARKER, 0, index, term, digest),
            Op::Meta { key, .. } => {
                let (length, [a, b, c]) = key_words(&key);
                (METADATA, length, a, b, c)
            }
        };
        RawOp {
            kind,
            flags,
            reserved: 0.into(),
            count: of.op.parts().into(),
            group: of.group.into(),
            a: a.into(),
            b: b.into(),
            c: c.into(),
        }
    }
}

impl RawOp {
    /// Whether its kind is that of a conf state.
    pub(super) fn is_conf_state(&self) -> bool {
        self.kind == CONF_STATE
    }

    pub(super) fn decode(&self, at: usize) -> Result<Op, DecodeError> {
        let (a, b, c, count) = (self.a.get(), self.b.get(), self.c.get(), self.count.get());
        let packed = self.flags & PACKED != 0;
        let has_entries = matches!(self.kind, ENTRIES | MOVED | REPAIRED);
        if has_entries && self.flags & SEALED != 0 {
            return Err(DecodeError::Sealed { at });
        }
        let (op, flags, unused) = match self.kind {
            ENTRIES => {
                let truncates = self.flags & TRUNCATES != 0;
                (Op::Entries { first: a, term: b, count, truncates, packed }, TRUNCATES | PACKED, c)
            }
            MOVED => (Op::Moved { first: a, term: b, count, packed }, PACKED, c),
            REPAIRED => (Op::Repaired { first: a, term: b, count, packed }, PACKED, c),
            HARD_STATE => (Op::HardState(HardState { term: a, vote: b, commit: c }), 0, 0),
            CONF_STATE => (Op::ConfState, 0, a | b | c),
            COMPACT => (Op::Compact(CompactionPoint { index: a, term: b }), 0, c),
            START => (Op::Start(CompactionPoint { index: a, term: b }), 0, c),
            REMOVE => (Op::Remove, 0, a | b | c),
            SNAPSHOT_MARKER => (Op::Snapshot(SnapshotMarker { index: a, term: b, digest: c }), 0, 0),
            METADATA => {
                let key = key_of(self.flags, [a, b, c]).ok_or(DecodeError::Reserved { at })?;
                (Op::Meta { key, removes: count == 0 }, u8::MAX, 0)
            }
            kind => return Err(DecodeError::Kind { at, kind }),
        };
        if self.flags & !flags != 0 || self.reserved.get() != 0 || unused != 0 {
            return Err(DecodeError::Reserved { at });
        }
        if count != op.parts() || (has_entries && count == 0) {
            return Err(DecodeError::Count { at, count });
        }
        Ok(op)
    }
}

/// The length of a key, and its bytes as the three words of an operation.
fn key_words(key: &MetaKey) -> (u8, [u64; 3]) {
    let mut bytes = [0; META_KEY_BYTES_MAX];
    let own = key.as_bytes();
    bytes[..own.len()].copy_from_slice(own);
    let mut words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    // At most 24 bytes, so three words.
    let length = u8::try_from(own.len()).unwrap_or(u8::MAX);
    (length, std::array::from_fn(|_| words.next().unwrap_or(0)))
}

/// The key in the words of an operation; `None` if the length is out of range or the bytes after the key are not
/// zero.
fn key_of(length: u8, words: [u64; 3]) -> Option<MetaKey> {
    let bytes = words.map(u64::to_le_bytes);
    let (key, rest) = bytes.as_flattened().split_at_checked(usize::from(length))?;
    MetaKey::new(key).filter(|_| rest.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number of parts that the samples cover.
    const PARTS: usize = 11;

    fn samples() -> Vec<GroupOp> {
        let point = CompactionPoint { index: 8, term: 3 };
        [
            Op::Entries { first: 9, term: 4, count: 3, truncates: true, packed: false },
            Op::Entries { first: 12, term: 5, count: 1, truncates: false, packed: false },
            Op::Moved { first: 2, term: 3, count: 1, packed: false },
            Op::Moved { first: 3, term: 3, count: 1, packed: true },
            Op::Entries { first: 13, term: 5, count: 1, truncates: true, packed: true },
            Op::Repaired { first: 3, term: 3, count: 2, packed: true },
            Op::HardState(HardState { term: 5, vote: 2, commit: 10 }),
            Op::ConfState,
            Op::Compact(point),
            Op::Start(point),
            Op::Remove,
            Op::Snapshot(SnapshotMarker { index: 8, term: 3, digest: u64::MAX }),
            Op::Meta { key: MetaKey::new(b"applied").expect("a key"), removes: false },
            Op::Meta { key: MetaKey::new(&[7; 24]).expect("a key"), removes: true },
        ]
        .into_iter()
        .zip(u64::MAX - 15..)
        .map(|(op, group)| GroupOp { group, op })
        .collect()
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let (mut meta, mut ops) = (vec![0xff], Vec::new());
        encode(&samples(), &mut meta);
        assert_eq!(meta.len(), 8 + 14 * 40);
        assert_eq!(decode(&meta, PARTS, &mut ops), Ok(()));
        assert_eq!(ops, samples());
        encode(&[], &mut meta);
        assert_eq!(decode(&meta, 0, &mut ops), Ok(()));
        assert!(ops.is_empty());
    }

    #[test]
    fn the_bytes_are_as_documented() {
        let mut meta = Vec::new();
        let op = Op::Entries { first: 0x0102, term: 3, count: 4, truncates: true, packed: false };
        encode(&[GroupOp { group: 7, op }], &mut meta);
        let mut expected = vec![1, 0, 0, 0, 1, 0, 0, 0, ENTRIES, TRUNCATES, 0, 0, 4, 0, 0, 0];
        for word in [7u64, 0x0102, 3, 0] {
            expected.extend_from_slice(&word.to_le_bytes());
        }
        assert_eq!(meta, expected);
    }

    #[test]
    fn every_flipped_bit_gives_an_error_or_other_operations() {
        let (mut meta, mut ops) = (Vec::new(), Vec::new());
        encode(&samples(), &mut meta);
        for bit in 0..meta.len() * 8 {
            meta[bit / 8] ^= 1 << (bit % 8);
            if decode(&meta, PARTS, &mut ops).is_ok() {
                assert_ne!(ops, samples(), "bit {bit}");
                let mut again = Vec::new();
                encode(&ops, &mut again);
                assert_eq!(again, meta, "bit {bit}: one encoding per value");
            }
            meta[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn every_truncation_and_extension_is_an_error() {
        let (mut meta, mut ops) = (Vec::new(), Vec::new());
        encode(&samples(), &mut meta);
        for len in 0..meta.len() {
            assert!(decode(&meta[..len], PARTS, &mut ops).is_err(), "{len} bytes");
        }
        for parts in [0, 10, 12, usize::MAX] {
            assert_eq!(decode(&meta, parts, &mut ops), Err(DecodeError::Parts { covered: 11, found: parts }));
        }
        meta.push(0);
        assert!(decode(&meta, PARTS, &mut ops).is_err());
    }

    #[test]
    fn an_unknown_kind_is_named() {
        let (mut meta, mut ops) = (Vec::new(), Vec::new());
        encode(&samples(), &mut meta);
        meta[8 + 40] = REPAIRED + 1;
        let error = decode(&meta, PARTS, &mut ops).expect_err("no such kind");
        assert_eq!(error, DecodeError::Kind { at: 1, kind: 11 });
        assert_eq!(error.to_string(), "operation 1 has kind 11 (unassigned), which is not known");
    }

    #[test]
    fn sealed_payloads_are_refused_by_name() {
        let (mut meta, mut ops) = (Vec::new(), Vec::new());
        for (at, op) in samples().iter().enumerate() {
            encode(&samples(), &mut meta);
            meta[8 + 40 * at + 1] |= SEALED;
            let error = decode(&meta, PARTS, &mut ops).err();
            match op.op {
                Op::Entries { .. } | Op::Moved { .. } | Op::Repaired { .. } => {
                    assert_eq!(error, Some(DecodeError::Sealed { at }));
                    let text = format!("operation {at} has sealed payloads, which this build cannot open");
                    assert_eq!(error.map(|error| error.to_string()), Some(text));
                }
                // The flags of a metadata value are the length of its key.
                Op::Meta { .. } => {}
                _ => assert_eq!(error, Some(DecodeError::Reserved { at })),
            }
        }
    }

    #[test]
    fn a_key_has_one_to_twenty_four_bytes_and_nothing_behind_them() {
        let raw = |length: u8, words: [u64; 3], count: u32| {
            let [a, b, c] = words.map(U64::new);
            let group = U64::new(1);
            RawOp { kind: METADATA, flags: length, reserved: 0.into(), count: count.into(), group, a, b, c }
                .decode(0)
        };
        let key = |bytes: &[u8]| MetaKey::new(bytes).expect("a key");
        assert_eq!(raw(2, [0x0201, 0, 0], 1), Ok(Op::Meta { key: key(&[1, 2]), removes: false }));
        assert_eq!(raw(3, [0x0201, 0, 0], 0), Ok(Op::Meta { key: key(&[1, 2, 0]), removes: true }));
        assert_eq!(raw(24, [u64::MAX; 3], 1), Ok(Op::Meta { key: key(&[0xff; 24]), removes: false }));
        for (length, words) in [(0, [0; 3]), (25, [1; 3]), (255, [1; 3]), (1, [0x0201, 0, 0]), (8, [0, 0, 1])]
        {
            assert_eq!(raw(length, words, 1), Err(DecodeError::Reserved { at: 0 }), "{length} {words:?}");
        }
        assert_eq!(raw(1, [1, 0, 0], 2), Err(DecodeError::Count { at: 0, count: 2 }));
        assert_eq!(MetaKey::new(&[]), None);
        assert_eq!(MetaKey::new(&[1; 25]), None);
        assert!(key(b"a") < key(b"a\0") && key(b"a\0") < key(b"ab"));
    }

    #[test]
    fn a_count_of_millions_allocates_nothing() {
        let mut ops = Vec::new();
        let meta = [1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(decode(&meta, 0, &mut ops), Err(DecodeError::Length { .. })));
        assert_eq!(ops.capacity(), 0);
    }
}
