//! Encodes and decodes the engine's index of one segment, which is written after the last record when the segment is
//! sealed.
//!
//! An open replays the index instead of the records. The operations of each group are adjacent and in log order, and
//! lead to the same state as the records. Decoding accepts any bytes without a panic (INV-9). If an index cannot be
//! decoded, the records are read.

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::op::{GroupOp, OP_BYTES, RawOp};
use crate::types::{GroupId, Location};

pub(super) const VERSION: u32 = 2;

/// The first bytes of an index.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(crate) struct FooterHeader {
    pub(super) version: U32,
    /// Number of records in the segment.
    pub(super) records: U32,
    pub(super) ops: U32,
    pub(super) places: U32,
}

/// Location of the payload of one entry, or of one metadata value, in the segment.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(crate) struct FooterPlace {
    pub(super) offset: U32,
    pub(super) length: U32,
    pub(super) crc: U32,
}

/// Size of the index's header in bytes.
pub(crate) const FOOTER_HEADER_BYTES: usize = size_of::<FooterHeader>();
/// Largest number of bytes that an operation adds to the index of its segment.
pub(crate) const FOOTER_OP_BYTES: usize = OP_BYTES;
/// Bytes that an entry or a metadata value adds in addition to its operation.
pub(crate) const FOOTER_PLACE_BYTES: usize = size_of::<FooterPlace>();
const _: () = assert!(FOOTER_HEADER_BYTES == 16 && FOOTER_PLACE_BYTES == 12);

/// One operation of an index. For a conf state, `conf` is the location of its bytes, which are only in the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FooterOp {
    pub(crate) op: GroupOp,
    pub(crate) conf: Option<Location>,
}

/// A decoded index.
pub(crate) struct Footer<'a> {
    segment: u32,
    /// Number of records in the segment.
    pub(crate) records: u64,
    ops: &'a [RawOp],
    places: &'a [FooterPlace],
}

impl FooterHeader {
    pub(crate) fn new(records: u32, ops: usize, places: usize) -> FooterHeader {
        let narrow = |n: usize| U32::new(u32::try_from(n).unwrap_or(u32::MAX));
        FooterHeader {
            version: VERSION.into(),
            records: records.into(),
            ops: narrow(ops),
            places: narrow(places),
        }
    }
}

impl From<Location> for FooterPlace {
    fn from(at: Location) -> FooterPlace {
        FooterPlace { offset: at.offset.into(), length: at.length.into(), crc: at.crc.into() }
    }
}

impl FooterOp {
    /// Encodes the operation.
    pub(crate) fn encode(&self) -> RawOp {
        let mut raw = RawOp::from(&self.op);
        if let Some(at) = self.conf {
            [raw.a, raw.b, raw.c] = [at.offset, at.length, at.crc].map(|n| U64::new(u64::from(n)));
        }
        raw
    }

    fn decode(raw: &RawOp, segment: u32, at: usize) -> Option<FooterOp> {
        let (mut plain, mut conf) = (*raw, None);
        if RawOp::is_conf_state(raw) {
            let [offset, length, crc] = [raw.a, raw.b, raw.c].map(|n| u32::try_from(n.get()).ok());
            conf = Some(Location::plain(segment, offset?, length?, crc?));
            [plain.a, plain.b, plain.c] = [U64::new(0); 3];
        }
        let group: GroupId = raw.group.get();
        let op = plain.decode(at).ok()?;
        Some(FooterOp { op: GroupOp { group, op }, conf })
    }
}

impl<'a> Footer<'a> {
    /// Decodes the index of `segment`; `None` unless all of `bytes` decodes and the operations cover the places
    /// exactly.
    pub(crate) fn decode(bytes: &'a [u8], segment: u32) -> Option<Footer<'a>> {
        let (header, rest) = FooterHeader::read_from_prefix(bytes).ok()?;
        if header.version.get() != VERSION {
            return None;
        }
        let count = |n: U32| usize::try_from(n.get()).ok();
        let (ops, rest) = <[RawOp]>::ref_from_prefix_with_elems(rest, count(header.ops)?).ok()?;
        let (places, rest) = <[FooterPlace]>::ref_from_prefix_with_elems(rest, count(header.places)?).ok()?;
        let footer = Footer { segment, records: u64::from(header.records.get()), ops, places };
        let mut covered: u64 = 0;
        for (at, raw) in ops.iter().enumerate() {
            let op = FooterOp::decode(raw, segment, at)?.op.op;
            covered += u64::from(op.places());
        }
        (rest.is_empty() && covered == places.len() as u64).then_some(footer)
    }

    /// The groups in the index, in order.
    pub(crate) fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.ops.chunk_by(|a, b| a.group == b.group).filter_map(|ops| Some(ops.first()?.group.get()))
    }

    /// The operations by group; those of one group are in log order.
    pub(crate) fn ops(&self) -> impl Iterator<Item = FooterOp> {
        // All of them were decoded before.
        self.ops.iter().enumerate().filter_map(|(at, raw)| FooterOp::decode(raw, self.segment, at))
    }

    /// Locations of the entries' payloads and of the metadata values, in the order of the operations.
    pub(crate) fn locations(&self) -> impl Iterator<Item = Location> {
        let segment = self.segment;
        self.places.iter().map(move |place| {
            Location::plain(segment, place.offset.get(), place.length.get(), place.crc.get())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Op;
    use crate::types::{CompactionPoint, HardState};

    fn bytes(ops: &[FooterOp], places: u32) -> Vec<u8> {
        let mut out = FooterHeader::new(7, ops.len(), places as usize).as_bytes().to_vec();
        ops.iter().for_each(|op| out.extend_from_slice(op.encode().as_bytes()));
        for n in 0..places {
            let at = Location::plain(3, 100 + n, n, !n);
            out.extend_from_slice(FooterPlace::from(at).as_bytes());
        }
        out
    }

    fn sample() -> Vec<FooterOp> {
        let op = |group, op| FooterOp { op: GroupOp { group, op }, conf: None };
        let part = Location::plain(3, 9, 40, u32::MAX);
        vec![
            op(1, Op::Entries { first: 4, term: 2, count: 2, truncates: true, packed: false }),
            op(1, Op::Compact(CompactionPoint { index: 4, term: 2 })),
            op(1, Op::HardState(HardState { term: 2, vote: 1, commit: 5 })),
            FooterOp { conf: Some(part), ..op(2, Op::ConfState) },
            op(8, Op::Remove),
            op(8, Op::Start(CompactionPoint { index: 9, term: 9 })),
            op(8, Op::Entries { first: 10, term: 9, count: 1, truncates: false, packed: false }),
        ]
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let out = bytes(&sample(), 3);
        let footer = Footer::decode(&out, 3).expect("an index");
        assert_eq!(footer.ops().collect::<Vec<_>>(), sample());
        assert_eq!(footer.records, 7);
        let places: Vec<_> = footer.locations().map(|at| (at.segment, at.offset, at.crc)).collect();
        assert_eq!(places, [(3, 100, u32::MAX), (3, 101, u32::MAX - 1), (3, 102, u32::MAX - 2)]);
        assert!(Footer::decode(&bytes(&[], 0), 3).is_some());
    }

    #[test]
    fn other_bytes_are_no_index() {
        let out = bytes(&sample(), 3);
        for len in 0..out.len() {
            assert!(Footer::decode(&out[..len], 3).is_none(), "{len} bytes");
        }
        for places in [0, 2, 4] {
            assert!(Footer::decode(&bytes(&sample(), places), 3).is_none(), "{places} places");
        }
        for word in 0..4 {
            let mut other = out.clone();
            other[4 * word..4 * word + 4].fill(0xff);
            assert_eq!(Footer::decode(&other, 3).is_some(), word == 1, "word {word}");
        }
        let mut first = out.clone();
        first[0] = 1;
        assert!(Footer::decode(&first, 3).is_none(), "an earlier version");
        for bit in 16 * 8..out.len() * 8 {
            let mut other = out.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let Some(footer) = Footer::decode(&other, 3) else { continue };
            let mut again = bytes(&footer.ops().collect::<Vec<_>>(), 0);
            again[12] = 3;
            footer.locations().for_each(|at| again.extend_from_slice(FooterPlace::from(at).as_bytes()));
            assert_eq!(again, other, "bit {bit}: one encoding per index");
        }
    }
}
