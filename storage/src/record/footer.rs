//! The engine's index of one segment, written when the segment is sealed.
//! Place on the data's way: behind the last record of a sealed segment; read by tools, later by open.
//! Layout: a header of 16 bytes; entries of 40 bytes sorted by (group, index), equal ones in log order;
//! small-state operations of 48 bytes in log order. All fixed width, so it can be searched where it is mapped.

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::op::{GroupOp, Op, RawOp};
use crate::types::{GroupId, Location};

pub(super) const VERSION: u32 = 1;

/// The first bytes of a footer.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(crate) struct FooterHeader {
    pub(super) version: U32,
    /// Bytes per entry, so that a later version may widen it.
    pub(super) entry_bytes: U32,
    pub(super) entries: U32,
    /// Small-state operations behind the entries.
    pub(super) states: U32,
}

/// One entry of the segment.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(crate) struct FooterEntry {
    pub(super) group: U64,
    pub(super) index: U64,
    pub(super) term: U64,
    /// Of the payload, in the segment file.
    pub(super) offset: U32,
    pub(super) length: U32,
    pub(super) crc: U32,
    /// Kind of the operation it came with; bit 8: the first of a run that truncated.
    pub(super) kind: U32,
}

/// One small-state operation of the segment and the LSN of its record. A conf state's `a`, `b`, `c` are
/// offset, length and CRC-32C of its part, since the bytes themselves stay in the record.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(crate) struct FooterState {
    pub(super) lsn: U64,
    pub(super) op: RawOp,
}

/// Bytes of the footer's header.
pub(crate) const FOOTER_HEADER_BYTES: usize = size_of::<FooterHeader>();
/// Bytes that an entry adds to its segment's footer.
pub(crate) const FOOTER_ENTRY_BYTES: usize = size_of::<FooterEntry>();
/// Bytes that a small-state operation adds to its segment's footer.
pub(crate) const FOOTER_STATE_BYTES: usize = size_of::<FooterState>();
const _: () = assert!(FOOTER_HEADER_BYTES == 16 && FOOTER_ENTRY_BYTES == 40 && FOOTER_STATE_BYTES == 48);

const KIND_ENTRY: u32 = 1;
const KIND_TRUNCATES: u32 = 1 << 8;

impl FooterHeader {
    /// The header of a footer with so many entries and small-state operations.
    pub(crate) fn new(entries: usize, states: usize) -> FooterHeader {
        let narrow = |n: usize| U32::new(u32::try_from(n).unwrap_or(u32::MAX));
        FooterHeader {
            version: VERSION.into(),
            entry_bytes: narrow(FOOTER_ENTRY_BYTES),
            entries: narrow(entries),
            states: narrow(states),
        }
    }
}

impl FooterEntry {
    /// The footer's line for one entry.
    pub(crate) fn new(group: GroupId, index: u64, term: u64, at: Location, truncates: bool) -> FooterEntry {
        FooterEntry {
            group: group.into(),
            index: index.into(),
            term: term.into(),
            offset: at.offset.into(),
            length: at.length.into(),
            crc: at.crc.into(),
            kind: (KIND_ENTRY | if truncates { KIND_TRUNCATES } else { 0 }).into(),
        }
    }

    /// The index, by which entries of one group are sorted.
    pub(crate) fn index(&self) -> u64 {
        self.index.get()
    }
}

impl FooterState {
    /// The footer's line for an operation that is not entries; `part` is where a conf state's bytes are.
    pub(crate) fn new(lsn: u64, op: &GroupOp, part: Option<Location>) -> FooterState {
        let mut raw = RawOp::from(op);
        if let (Op::ConfState, Some(at)) = (op.op, part) {
            raw.a = u64::from(at.offset).into();
            raw.b = u64::from(at.length).into();
            raw.c = u64::from(at.crc).into();
        }
        FooterState { lsn: lsn.into(), op: raw }
    }
}
