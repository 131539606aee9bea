//! Encodes and decodes a frame: the places of up to 64 payloads that follow each other in one segment.
//!
//! A frame of fewer than 4 places is a list of them. A longer one is a header, the CRCs, a column of lengths and a
//! column of gaps. The offset of a place is that of the first plus all lengths and gaps before it.
//! [`Columns::offset`] derives it, for checks and reads alike.

use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::column::{self, Column, Shape};
use super::place::{FRAME, Place};

/// Smallest number of places that are stored as columns. With fewer, the header takes more than the columns save.
const COLUMNS_FROM: usize = 4;

/// The first bytes of a frame that has columns.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(in crate::format) struct FrameHeader {
    pub(in crate::format) offset: U32,
    pub(in crate::format) length_base: U32,
    pub(in crate::format) gap_base: U32,
    pub(in crate::format) length_width: u8,
    pub(in crate::format) length_exceptions: u8,
    pub(in crate::format) gap_width: u8,
    pub(in crate::format) gap_exceptions: u8,
}

const _: () = assert!(size_of::<FrameHeader>() == 16);

/// A frame in encoded form.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Frame<'a> {
    Places(&'a [Place]),
    Columns(Columns<'a>),
}

/// The columns of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns<'a> {
    offset: u32,
    crcs: &'a [U32],
    lengths: Column<'a>,
    /// Bytes between a payload and the next one: one number fewer than there are places.
    gaps: Column<'a>,
}

/// Appends the frame of `places`, at most [`FRAME`], to `out`; `None`, and nothing is appended, unless each place
/// begins at or after the end of the one before.
pub(crate) fn encode_frame(places: &[Place], out: &mut Vec<u8>) -> Option<()> {
    let (mut lengths, mut gaps) = ([0; FRAME], [0; FRAME]);
    let (lengths, gaps) = (lengths.get_mut(..places.len())?, gaps.get_mut(..places.len().saturating_sub(1))?);
    for (length, place) in lengths.iter_mut().zip(places) {
        *length = place.length.get();
    }
    for (gap, pair) in gaps.iter_mut().zip(places.windows(2)) {
        let [before, after] = pair else { return None };
        let end = before.offset.get().checked_add(before.length.get())?;
        *gap = after.offset.get().checked_sub(end)?;
    }
    if places.len() < COLUMNS_FROM {
        out.extend_from_slice(places.as_bytes());
        return Some(());
    }
    let header_at = out.len();
    out.extend_from_slice(&[0; size_of::<FrameHeader>()]);
    places.iter().for_each(|place| out.extend_from_slice(place.crc.as_bytes()));
    let lengths = column::encode(lengths, out);
    let gaps = column::encode(gaps, out);
    let header = FrameHeader {
        offset: places.first()?.offset,
        length_base: lengths.base.into(),
        gap_base: gaps.base.into(),
        length_width: lengths.width,
        length_exceptions: lengths.exceptions,
        gap_width: gaps.width,
        gap_exceptions: gaps.exceptions,
    };
    out.get_mut(header_at..)?.get_mut(..size_of::<FrameHeader>())?.copy_from_slice(header.as_bytes());
    Some(())
}

impl<'a> Frame<'a> {
    /// Splits the frame of `len` places off `bytes`; `None` if they are too short. Allocates nothing.
    pub(crate) fn split(len: usize, bytes: &'a [u8]) -> Option<(Frame<'a>, &'a [u8])> {
        if len < COLUMNS_FROM {
            let (places, rest) = <[Place]>::ref_from_prefix_with_elems(bytes, len).ok()?;
            return Some((Frame::Places(places), rest));
        }
        let (header, rest) = FrameHeader::ref_from_prefix(bytes).ok()?;
        let (crcs, rest) = <[U32]>::ref_from_prefix_with_elems(rest, len).ok()?;
        let shape = |base: U32, width, exceptions| Shape { base: base.get(), width, exceptions };
        let lengths = shape(header.length_base, header.length_width, header.length_exceptions);
        let (lengths, rest) = Column::split(lengths, len, rest)?;
        let gaps = shape(header.gap_base, header.gap_width, header.gap_exceptions);
        let (gaps, rest) = Column::split(gaps, len - 1, rest)?;
        Some((Frame::Columns(Columns { offset: header.offset.get(), crcs, lengths, gaps }), rest))
    }

    /// Where the last payload ends; `None` unless all payloads are at or after `from`, follow each other, end at or
    /// before `end`, and this is the one encoding of their places.
    pub(super) fn checked_end(&self, from: u32, end: u32) -> Option<u32> {
        let after = match self {
            Frame::Places(places) => places.iter().try_fold(from, |from, place| {
                (place.offset.get() >= from).then(|| place.offset.get().checked_add(place.length.get()))?
            })?,
            Frame::Columns(columns) => {
                let Columns { offset, lengths, gaps, .. } = columns;
                if *offset < from {
                    return None;
                }
                if !lengths.is_valid() || !gaps.is_valid() {
                    return None;
                }
                u32::try_from(columns.end()).ok()?
            }
        };
        (after <= end).then_some(after)
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Frame::Places(places) => places.len(),
            Frame::Columns(columns) => columns.crcs.len(),
        }
    }

    /// The place at `slot`.
    pub(crate) fn get(&self, slot: usize) -> Option<Place> {
        match self {
            Frame::Places(places) => places.get(slot).copied(),
            Frame::Columns(columns) => columns.place(slot, columns.offset(slot)),
        }
    }

    /// Sum of the lengths of all payloads.
    pub(crate) fn payload_bytes(&self) -> u64 {
        match self {
            Frame::Places(places) => places.iter().map(|place| u64::from(place.length.get())).sum(),
            Frame::Columns(columns) => columns.lengths.sum(columns.crcs.len()),
        }
    }

    /// The places from `slot` on.
    pub(crate) fn places(self, slot: usize) -> Places<'a> {
        let offset = match &self {
            Frame::Places(_) => 0,
            Frame::Columns(columns) => columns.offset(slot),
        };
        Places { frame: self, slot, offset }
    }
}

impl Columns<'_> {
    /// Offset of the place at `slot`: a sum of at most 128 numbers, each below 2^33.
    fn offset(&self, slot: usize) -> u64 {
        u64::from(self.offset) + self.lengths.sum(slot) + self.gaps.sum(slot)
    }

    /// Where the last payload ends.
    fn end(&self) -> u64 {
        let last = self.crcs.len().saturating_sub(1);
        self.offset(last) + self.lengths.get(last)
    }

    /// The place at `slot`, whose offset is `offset`.
    fn place(&self, slot: usize, offset: u64) -> Option<Place> {
        // Offsets and lengths of a checked frame fit into 32 bits.
        let narrow = |n: u64| U32::new(u32::try_from(n).unwrap_or(u32::MAX));
        let (length, crc) = (narrow(self.lengths.get(slot)), *self.crcs.get(slot)?);
        Some(Place { offset: narrow(offset), length, crc })
    }
}

/// Iterator over the places of a frame.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    frame: Frame<'a>,
    slot: usize,
    /// Offset of the place at `slot`; not used for a list.
    offset: u64,
}

impl Iterator for Places<'_> {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        let slot = self.slot;
        let place = match &self.frame {
            Frame::Places(places) => *places.get(slot)?,
            Frame::Columns(columns) => {
                let place = columns.place(slot, self.offset)?;
                self.offset += u64::from(place.length.get()) + columns.gaps.get(slot);
                place
            }
        };
        self.slot += 1;
        Some(place)
    }
}
