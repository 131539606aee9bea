//! Immutable locations of adjacent entries in one segment, as a frame of columns.

use crate::format::{Frame, Place, encode_frame};
use crate::types::Location;

/// Locations of up to 64 adjacent entries, in the encoding of a segment's index.
#[derive(Debug)]
pub(super) struct Sealed {
    bytes: Box<[u8]>,
    segment: u32,
    /// Slot of the first entry in its chunk.
    from: u8,
    len: u8,
    /// Whether the payloads are compressed.
    packed: bool,
}

/// Memory for a sealed frame in addition to its bytes. An allocation costs 16 bytes in the allocator.
pub(super) const SEALED_BYTES: usize = size_of::<Sealed>() + 16;
const _: () = assert!(size_of::<Sealed>() == 24);

impl Sealed {
    /// The frame `bytes`, which is valid and whose `len` places begin at slot `from`; `None` if a slot is out of range.
    pub(super) fn copied(bytes: &[u8], (from, len): (usize, usize), at: (u32, bool)) -> Option<Sealed> {
        let ((segment, packed), from, len) = (at, u8::try_from(from).ok()?, u8::try_from(len).ok()?);
        Some(Sealed { bytes: bytes.into(), segment, from, len, packed })
    }

    /// Encodes `places`, which begin at slot `from`; `None` if they do not follow each other.
    pub(super) fn encoded(
        places: &[Place],
        from: usize,
        at: (u32, bool),
        buffer: &mut Vec<u8>,
    ) -> Option<Sealed> {
        buffer.clear();
        encode_frame(places, buffer)?;
        Sealed::copied(buffer, (from, places.len()), at)
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        self.bytes.len() + SEALED_BYTES
    }

    pub(super) fn from(&self) -> usize {
        usize::from(self.from)
    }

    /// One past the last slot.
    pub(super) fn end(&self) -> usize {
        usize::from(self.from) + usize::from(self.len)
    }

    pub(super) fn segment(&self) -> u32 {
        self.segment
    }

    /// A value in the memory of the frame.
    pub(super) fn glance(&self) -> u64 {
        self.bytes.first().map_or(0, |byte| u64::from(*byte))
    }

    /// The location at `slot`.
    pub(super) fn get(&self, slot: usize) -> Option<Location> {
        let place = self.frame()?.get(slot.checked_sub(self.from())?)?;
        Some(place.location(self.segment, self.packed))
    }

    /// The locations from `slot` on.
    pub(super) fn since(&self, slot: usize) -> impl Iterator<Item = Location> + use<'_> {
        let skipped = slot.saturating_sub(self.from());
        let frame = self.frame().filter(|frame| skipped < frame.len());
        let places = frame.into_iter().flat_map(move |frame| frame.places(skipped));
        places.map(|place| place.location(self.segment, self.packed))
    }

    fn frame(&self) -> Option<Frame<'_>> {
        Frame::split(usize::from(self.len), &self.bytes).map(|(frame, _)| frame)
    }
}
