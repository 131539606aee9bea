//! Locations of adjacent entries that may still change, in little more than 12 bytes per entry.

use super::sealed::{SEALED_BYTES, Sealed};
use crate::format::{FRAME, PLACE_BYTES, Place};
use crate::types::Location;

/// Number of locations by which the capacity grows: 192 bytes, the cost of a group with a short log.
pub(super) const STEP: usize = 16;

/// Up to 64 locations. Adjacent entries of a group mostly are in the same segment, so the segment is stored once for
/// each stretch of such entries.
#[derive(Debug, Default)]
pub(super) struct Plain {
    places: Vec<Place>,
    /// First position and segment of each stretch, ascending.
    segments: Vec<(u8, u32)>,
    /// One bit per position: whether the payload is compressed.
    packed: u64,
    /// Slot of the first location in the chunk.
    from: u8,
}

const _: () = assert!(FRAME == 64, "a chunk has one bit per location");

impl Plain {
    /// An empty list that begins at slot `from`, which is below 64.
    pub(super) fn new(from: usize) -> Plain {
        Plain { from: u8::try_from(from).unwrap_or(0), ..Plain::default() }
    }

    pub(super) fn from(&self) -> usize {
        usize::from(self.from)
    }

    /// One past the last slot.
    pub(super) fn end(&self) -> usize {
        self.from() + self.places.len()
    }

    /// The segments of the locations.
    pub(super) fn segments(&self) -> impl Iterator<Item = u32> {
        self.segments.iter().map(|(_, segment)| *segment)
    }

    /// A value that depends on the memory that an append changes.
    pub(super) fn glance(&self) -> u64 {
        let end = self.places.last().map_or(0, |place| place.offset.get());
        u64::from(end) ^ self.segments.last().map_or(0, |(_, segment)| u64::from(*segment))
    }

    /// The location at `slot`.
    pub(super) fn get(&self, slot: usize) -> Option<Location> {
        let at = slot.checked_sub(self.from())?;
        let place = self.places.get(at)?;
        let stretch = self.segments.partition_point(|(first, _)| usize::from(*first) <= at).checked_sub(1)?;
        Some(place.location(self.segments.get(stretch)?.1, self.is_packed(at)))
    }

    /// The locations from `slot` on.
    pub(super) fn since(&self, slot: usize) -> impl Iterator<Item = Location> + use<'_> {
        let (mut segments, mut segment) = (self.segments.iter().peekable(), 0);
        let skipped = slot.saturating_sub(self.from());
        self.places.iter().enumerate().skip(skipped).map(move |(at, place)| {
            while let Some((_, next)) = segments.next_if(|(first, _)| usize::from(*first) <= at) {
                segment = *next;
            }
            place.location(segment, self.is_packed(at))
        })
    }

    /// Adds as many of `locations` as fit into the chunk; returns the others. `loading` is whether many more are
    /// expected soon.
    pub(super) fn fill<'a>(&mut self, locations: &'a [Location], loading: bool) -> &'a [Location] {
        let (now, rest) = locations.split_at(FRAME.saturating_sub(self.end()).min(locations.len()));
        let len = self.places.len() + now.len();
        if len > self.places.capacity() {
            let room = if loading { len.next_power_of_two().max(STEP) } else { len.next_multiple_of(STEP) };
            self.places.reserve_exact(room - self.places.len());
        }
        for stretch in now.chunk_by(|a, b| a.segment == b.segment) {
            let segment = stretch.first().map_or(0, |at| at.segment);
            if self.segments.last().is_none_or(|(_, last)| *last != segment) {
                if !loading {
                    self.segments.reserve_exact(1);
                }
                // At most 64.
                self.segments.push((u8::try_from(self.places.len()).unwrap_or(u8::MAX), segment));
            }
            for (at, location) in (self.places.len()..).zip(stretch) {
                self.set_packed(at, location.packed);
            }
            self.places.extend(stretch.iter().map(Place::from));
        }
        rest
    }

    /// Sets the location at `slot`, which must be in the list.
    pub(super) fn replace(&mut self, slot: usize, location: Location) {
        let at = slot.saturating_sub(self.from());
        let Some(place) = self.places.get_mut(at) else { return };
        *place = Place::from(&location);
        self.set_packed(at, location.packed);
        let mut segments = Vec::with_capacity(self.segments.len() + 2);
        let mut push = |first: usize, segment: u32| {
            if segments.last().is_none_or(|(_, last)| *last != segment) {
                // At most 64.
                segments.push((u8::try_from(first).unwrap_or(u8::MAX), segment));
            }
        };
        let ends = self.segments.iter().skip(1).map(|(first, _)| usize::from(*first));
        for ((first, segment), end) in self.segments.iter().zip(ends.chain([self.places.len()])) {
            let first = usize::from(*first);
            if (first..end).contains(&at) {
                if first < at {
                    push(first, *segment);
                }
                push(at, location.segment);
                if at + 1 < end {
                    push(at + 1, *segment);
                }
            } else {
                push(first, *segment);
            }
        }
        segments.shrink_to_fit();
        self.segments = segments;
    }

    /// Drops the locations from `slot` on.
    pub(super) fn truncate(&mut self, slot: usize) {
        let len = slot.saturating_sub(self.from());
        self.places.truncate(len);
        self.segments.retain(|(first, _)| usize::from(*first) < len);
    }

    /// Frees the spare capacity that loading left.
    pub(super) fn shrink(&mut self) {
        self.places.shrink_to(self.places.len().next_multiple_of(STEP));
        self.segments.shrink_to_fit();
    }

    /// The locations as frames, one for each stretch of payloads that follow each other in one segment; `None` if
    /// that takes no less memory.
    pub(super) fn sealed(&self) -> Option<Vec<Sealed>> {
        let mut pieces = Vec::with_capacity(1);
        let mut buffer = Vec::with_capacity(FRAME * PLACE_BYTES);
        let (mut from, mut memory) = (0, 0);
        while from < self.places.len() {
            let (segment, packed) = (self.get(self.from() + from)?.segment, self.is_packed(from));
            let stretches = self.segments.iter().map(|(first, _)| usize::from(*first));
            let most = stretches.filter(|first| *first > from).min().unwrap_or(self.places.len());
            let places = self.places.get(from..most)?;
            let follows = |(at, pair): &(usize, &[Place])| {
                let end = |place: &Place| place.offset.get().saturating_add(place.length.get());
                self.is_packed(from + at + 1) == packed
                    && matches!(pair, [before, after] if after.offset.get() >= end(before))
            };
            let len = 1 + places.windows(2).enumerate().take_while(follows).count();
            let own = places.get(..len)?;
            let piece = Sealed::encoded(own, self.from() + from, (segment, packed), &mut buffer)?;
            memory += piece.memory();
            pieces.push(piece);
            from += len;
        }
        (memory < self.places.len() * PLACE_BYTES + SEALED_BYTES).then_some(pieces)
    }

    /// Bytes of memory outside of the list itself.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let heap = |bytes: usize| if bytes == 0 { 0 } else { bytes + 16 };
        heap(self.places.capacity() * PLACE_BYTES) + heap(self.segments.capacity() * size_of::<(u8, u32)>())
    }

    fn is_packed(&self, at: usize) -> bool {
        self.packed >> (at % FRAME) & 1 == 1
    }

    fn set_packed(&mut self, at: usize, packed: bool) {
        let bit = 1 << (at % FRAME);
        self.packed = self.packed & !bit | if packed { bit } else { 0 };
    }
}
