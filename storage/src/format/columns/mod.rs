//! Encodes and decodes the places of payloads as columns, which take about a third of the bytes of a list.
//!
//! A run is the places of one operation, whose indexes follow each other. It is cut into frames where the index is a
//! multiple of 64, so a frame on disk covers the same entries as a chunk of a group's index in memory. Each frame
//! stores the offset of its first payload. Decoding accepts any bytes without a panic and allocates nothing (INV-9).

mod column;
mod frame;
mod place;
#[cfg(test)]
#[path = "columns_tests.rs"]
mod tests;

#[cfg(test)]
pub(super) use frame::FrameHeader;
pub(crate) use frame::{Frame, encode_frame};
pub(crate) use place::{FRAME, PLACE_BYTES, Place};

/// The places of the entries of one operation, in encoded form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    first: u64,
    count: u32,
    bytes: &'a [u8],
}

impl<'a> Run<'a> {
    /// Splits the places of `count` entries from index `first` on off `bytes`; `None` if they are too short.
    pub(crate) fn split(first: u64, count: u32, bytes: &'a [u8]) -> Option<(Run<'a>, &'a [u8])> {
        let mut rest = bytes;
        for len in frame_lengths(first, count) {
            (_, rest) = Frame::split(len, rest)?;
        }
        let bytes = bytes.get(..bytes.len() - rest.len())?;
        Some((Run { first, count, bytes }, rest))
    }

    /// Whether the payloads follow each other and end at or before `end`, and this is the one encoding of their
    /// places.
    pub(crate) fn is_valid(&self, end: u32) -> bool {
        self.frames().try_fold(0, |from, frame| frame.checked_end(from, end)).is_some()
    }

    /// Number of places.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The frames in order. Those after the first begin at indexes that are multiples of [`FRAME`].
    pub(crate) fn frames(&self) -> impl Iterator<Item = Frame<'a>> + use<'a> {
        self.encoded_frames().map(|(frame, _)| frame)
    }

    /// The frames with their bytes.
    pub(crate) fn encoded_frames(&self) -> impl Iterator<Item = (Frame<'a>, &'a [u8])> + use<'a> {
        let mut bytes = self.bytes;
        frame_lengths(self.first, self.count).map_while(move |len| {
            let (frame, rest) = Frame::split(len, bytes)?;
            let own = bytes.get(..bytes.len() - rest.len())?;
            bytes = rest;
            Some((frame, own))
        })
    }

    /// The only place of a run of one.
    pub(crate) fn single(&self) -> Option<Place> {
        self.frames().next()?.get(0).filter(|_| self.count == 1)
    }
}

/// Number of places in each frame of a run.
fn frame_lengths(first: u64, count: u32) -> impl Iterator<Item = usize> {
    // Below `FRAME`.
    let skipped = usize::try_from(first % FRAME as u64).unwrap_or(0);
    let mut left = usize::try_from(count).unwrap_or(usize::MAX);
    let mut room = FRAME - skipped;
    std::iter::from_fn(move || {
        let len = left.min(room);
        (left, room) = (left - len, FRAME);
        (len > 0).then_some(len)
    })
}
