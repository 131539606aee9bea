//! Encodes and decodes the engine's index of one segment, which is written after the last record when the segment is
//! sealed.
//!
//! An open replays the index instead of the records. The operations of each group are adjacent and in log order, and
//! lead to the same state as the records. Decoding accepts any bytes without a panic (INV-9). If an index cannot be
//! decoded, the records are read.

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::columns::Run;
use super::op::{GroupOp, OP_BYTES, RawOp};
use crate::types::{GroupId, Location};

pub(super) const VERSION: u32 = 3;

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

/// Size of the index's header in bytes.
pub(crate) const FOOTER_HEADER_BYTES: usize = size_of::<FooterHeader>();
/// Largest number of bytes that an operation adds to the index of its segment.
pub(crate) const FOOTER_OP_BYTES: usize = OP_BYTES;
const _: () = assert!(FOOTER_HEADER_BYTES == 16);

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
    /// The places of the operations' parts, in order.
    places: &'a [u8],
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
    /// Decodes the index of `segment`, whose records end at or before offset `end`. `None` unless all of `bytes`
    /// decodes, each value has its one encoding, and every place is below `end`.
    pub(crate) fn decode(bytes: &'a [u8], segment: u32, end: u32) -> Option<Footer<'a>> {
        let (header, rest) = FooterHeader::read_from_prefix(bytes).ok()?;
        if header.version.get() != VERSION {
            return None;
        }
        let count = usize::try_from(header.ops.get()).ok()?;
        let (ops, places) = <[RawOp]>::ref_from_prefix_with_elems(rest, count).ok()?;
        let footer = Footer { segment, records: u64::from(header.records.get()), ops, places };
        let (mut rest, mut covered) = (places, 0);
        for (at, raw) in ops.iter().enumerate() {
            let FooterOp { op, conf } = FooterOp::decode(raw, segment, at)?;
            if conf.is_some_and(|at| at.offset.checked_add(at.length).is_none_or(|after| after > end)) {
                return None;
            }
            let (run, after) = Run::split(op.op.first_entry(), op.op.places(), rest)?;
            if !run.is_valid(end) {
                return None;
            }
            covered += u64::from(run.count());
            rest = after;
        }
        (rest.is_empty() && covered == u64::from(header.places.get())).then_some(footer)
    }

    /// The groups in the index, in order.
    pub(crate) fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.ops.chunk_by(|a, b| a.group == b.group).filter_map(|ops| Some(ops.first()?.group.get()))
    }

    /// The operations by group, each with the places of its parts; those of one group are in log order. The run of a
    /// metadata value has one place, that of a conf state none.
    pub(crate) fn ops(&self) -> impl Iterator<Item = (FooterOp, Run<'a>)> {
        let mut rest = self.places;
        // All of them were decoded before.
        self.ops.iter().enumerate().map_while(move |(at, raw)| {
            let op = FooterOp::decode(raw, self.segment, at)?;
            let (run, after) = Run::split(op.op.op.first_entry(), op.op.op.places(), rest)?;
            rest = after;
            Some((op, run))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Op, Place, encode_frame};
    use crate::types::{CompactionPoint, HardState, MetaKey};

    /// Where the records of the segment end.
    const END: u32 = 5000;

    /// An index with `ops` and these `places`.
    fn bytes(ops: &[FooterOp], places: &[&[Place]]) -> Vec<u8> {
        let count = places.iter().map(|places| places.len()).sum();
        let mut out = FooterHeader::new(7, ops.len(), count).as_bytes().to_vec();
        ops.iter().for_each(|op| out.extend_from_slice(op.encode().as_bytes()));
        places.iter().for_each(|places| encode_frame(places, &mut out).expect("they follow each other"));
        out
    }

    fn place(offset: u32, length: u32) -> Place {
        Place { offset: offset.into(), length: length.into(), crc: (!offset).into() }
    }

    fn two() -> [Place; 2] {
        [place(100, 0), place(101, 1)]
    }

    /// The places of [`sample`].
    fn many() -> Vec<Place> {
        (0..6).map(|i| place(1000 + 600 * i, 500 + i % 2)).collect()
    }

    fn index() -> Vec<u8> {
        bytes(&sample(), &[&two(), &[place(300, 9)], &many()])
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
            op(8, Op::Meta { key: MetaKey::new(b"key").expect("a key"), removes: false }),
            op(9, Op::Entries { first: 10, term: 9, count: 6, truncates: false, packed: true }),
        ]
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let out = index();
        let footer = Footer::decode(&out, 3, END).expect("an index");
        assert_eq!(footer.ops().map(|(op, _)| op).collect::<Vec<_>>(), sample());
        assert_eq!(footer.records, 7);
        let frames = footer.ops().flat_map(|(_, run)| run.frames());
        let places: Vec<_> = frames.flat_map(|frame| frame.places(0)).collect();
        assert_eq!(places, [&two()[..], &[place(300, 9)], &many()].concat());
        assert_eq!(footer.ops().filter_map(|(_, run)| run.single()).collect::<Vec<_>>(), [place(300, 9)]);
        assert!(Footer::decode(&bytes(&[], &[]), 3, END).is_some());
    }

    #[test]
    fn other_bytes_are_no_index() {
        let out = index();
        for len in 0..out.len() {
            assert!(Footer::decode(&out[..len], 3, END).is_none(), "{len} bytes");
        }
        for word in 0..4 {
            let mut other = out.clone();
            other[4 * word..4 * word + 4].fill(0xff);
            assert_eq!(Footer::decode(&other, 3, END).is_some(), word == 1, "word {word}");
        }
        for bit in 16 * 8..out.len() * 8 {
            let mut other = out.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let Some(footer) = Footer::decode(&other, 3, END) else { continue };
            let ops: Vec<_> = footer.ops().map(|(op, _)| op).collect();
            let frames = footer.ops().flat_map(|(_, run)| run.frames());
            let places: Vec<Vec<_>> = frames.map(|frame| frame.places(0).collect()).collect();
            let again = bytes(&ops, &places.iter().map(|places| &places[..]).collect::<Vec<_>>());
            assert_eq!(again, other, "bit {bit}: one encoding per index");
        }
    }

    #[test]
    fn another_version_is_no_index() {
        let mut out = index();
        for version in [0, 1, 2, 4] {
            out[0] = version;
            assert!(Footer::decode(&out, 3, END).is_none(), "version {version}");
        }
    }

    #[test]
    fn places_beyond_the_records_are_no_index() {
        let last = many().last().map_or(0, |place| place.offset.get() + place.length.get());
        assert!(Footer::decode(&index(), 3, last).is_some());
        assert!(Footer::decode(&index(), 3, last - 1).is_none());
        let conf =
            |offset, length| FooterOp { conf: Some(Location::plain(3, offset, length, 0)), ..sample()[3] };
        for (offset, length, inside) in [(40, 60, true), (40, 61, false), (u32::MAX, 2, false)] {
            let out = bytes(&[conf(offset, length)], &[]);
            assert_eq!(Footer::decode(&out, 3, 100).is_some(), inside, "{length} bytes at {offset}");
        }
        for (offset, length, inside) in [(40, 60, true), (40, 61, false), (u32::MAX, 2, false)] {
            let out = bytes(&[sample()[6]], &[&[place(offset, length)]]);
            assert_eq!(Footer::decode(&out, 3, 100).is_some(), inside, "{length} bytes at {offset}");
        }
    }
}
