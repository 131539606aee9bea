//! The location of each live entry of one group, in little more than 12 bytes per entry.
//!
//! Every index with `first <= index < end` has exactly one location. Memory grows in small steps and is freed chunk
//! by chunk, so appending to a long log never reallocates all of it.

use std::collections::VecDeque;

use crate::types::Location;

/// Locations per chunk.
const CHUNK: usize = 128;

/// Number of locations by which the capacity of a chunk grows: 192 bytes, the cost of a group with a short log.
const STEP: usize = 16;

/// The locations of the entries `first..end`.
#[derive(Debug, Default)]
pub(super) struct LogIndex {
    first: u64,
    /// Slots of the front chunk before that of `first`; less than `CHUNK`.
    skip: usize,
    len: usize,
    /// All but the last are full.
    chunks: VecDeque<Chunk>,
    /// Whether many more entries are expected soon (replay). The capacity of chunks then grows by doubling.
    loading: bool,
}

/// Up to [`CHUNK`] locations. Adjacent entries of a group mostly are in the same segment, so the segment is stored
/// once for each run of such entries.
#[derive(Debug, Default)]
struct Chunk {
    places: Vec<Place>,
    /// First slot and segment of each run, ascending by slot.
    runs: Vec<(u32, u32)>,
    /// One bit per slot: whether the payload is compressed.
    packed: u128,
}

/// A location without its segment.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u32,
    length: u32,
    crc: u32,
}

const _: () = assert!(CHUNK == 128, "a chunk has one bit per slot");

/// The bit of `slot`, which is below `CHUNK`.
fn bit(slot: usize) -> u128 {
    1 << (slot % CHUNK)
}

// The memory for a live entry. With its share of the chunk, it stays below 16 bytes.
const _: () = assert!(size_of::<Place>() == 12);

impl Chunk {
    fn get(&self, slot: usize) -> Option<Location> {
        let Place { offset, length, crc } = *self.places.get(slot)?;
        let run = self.runs.partition_point(|(first, _)| *first as usize <= slot).checked_sub(1)?;
        let segment = self.runs.get(run)?.1;
        Some(Location { segment, offset, length, crc, packed: self.packed & bit(slot) != 0 })
    }

    /// The locations from `slot` on.
    fn since(&self, slot: usize) -> impl Iterator<Item = Location> {
        let (mut runs, mut segment) = (self.runs.iter().peekable(), 0);
        self.places.iter().enumerate().skip(slot).map(move |(slot, place)| {
            while let Some((_, next)) = runs.next_if(|(first, _)| *first as usize <= slot) {
                segment = *next;
            }
            let Place { offset, length, crc } = *place;
            Location { segment, offset, length, crc, packed: self.packed & bit(slot) != 0 }
        })
    }

    /// Adds as many of `locations` as fit; returns the others.
    fn fill<'a>(&mut self, locations: &'a [Location], loading: bool) -> &'a [Location] {
        let (now, rest) = locations.split_at((CHUNK - self.places.len()).min(locations.len()));
        let len = self.places.len() + now.len();
        if len > self.places.capacity() {
            let room = if loading { len.next_power_of_two().max(STEP) } else { len.next_multiple_of(STEP) };
            self.places.reserve_exact(room - self.places.len());
        }
        for run in now.chunk_by(|a, b| a.segment == b.segment) {
            let segment = run.first().map_or(0, |at| at.segment);
            if self.runs.last().is_none_or(|(_, last)| *last != segment) {
                if !loading {
                    self.runs.reserve_exact(1);
                }
                // At most `CHUNK`.
                self.runs.push((u32::try_from(self.places.len()).unwrap_or(u32::MAX), segment));
            }
            for (slot, at) in (self.places.len()..).zip(run) {
                self.set_packed(slot, at.packed);
            }
            let place = |at: &Location| Place { offset: at.offset, length: at.length, crc: at.crc };
            self.places.extend(run.iter().map(place));
        }
        rest
    }

    fn replace(&mut self, slot: usize, location: Location) {
        let segments =
            |chunk: &Chunk| (0..chunk.places.len()).filter_map(|i| Some(chunk.get(i)?.segment)).collect();
        let mut segments: Vec<u32> = segments(self);
        if let (Some(place), Some(segment)) = (self.places.get_mut(slot), segments.get_mut(slot)) {
            *place = Place { offset: location.offset, length: location.length, crc: location.crc };
            self.packed = self.packed & !bit(slot) | if location.packed { bit(slot) } else { 0 };
            if std::mem::replace(segment, location.segment) == location.segment {
                return;
            }
        }
        let runs = segments.chunk_by(|a, b| a == b).scan(0, |next, run| {
            let first = *next;
            *next += run.len();
            // At most `CHUNK`.
            Some((u32::try_from(first).unwrap_or(u32::MAX), *run.first()?))
        });
        self.runs = runs.collect();
        self.runs.shrink_to_fit();
    }

    fn set_packed(&mut self, slot: usize, packed: bool) {
        self.packed = self.packed & !bit(slot) | if packed { bit(slot) } else { 0 };
    }

    fn truncate(&mut self, slots: usize) {
        self.places.truncate(slots);
        self.runs.retain(|(first, _)| (*first as usize) < slots);
    }
}

impl LogIndex {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// An empty index that will get many entries in many pieces, until [`LogIndex::loaded`] is called.
    pub(super) fn loading() -> LogIndex {
        LogIndex { loading: true, ..LogIndex::default() }
    }

    /// Frees the spare capacity that loading left.
    pub(super) fn loaded(&mut self) {
        self.loading = false;
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.places.shrink_to(chunk.places.len().next_multiple_of(STEP));
        }
        self.chunks.iter_mut().for_each(|chunk| chunk.runs.shrink_to_fit());
    }

    /// A value that depends on the memory that an append changes; reading it brings that memory into the cache.
    pub(super) fn glance(&self) -> u64 {
        let Some(Chunk { places, runs, .. }) = self.chunks.back() else { return self.first };
        let end = places.last().map_or(0, |place| place.offset);
        u64::from(end) ^ runs.last().map_or(0, |run| u64::from(run.1))
    }

    /// Index of the first entry; meaningless if there is none.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// One past the index of the last entry.
    pub(super) fn end(&self) -> u64 {
        self.first + self.len as u64
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, index: u64) -> Option<Location> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        if at >= self.len {
            return None;
        }
        let slot = self.skip + at;
        self.chunks.get(slot / CHUNK)?.get(slot % CHUNK)
    }

    /// The locations of the entries from `index` on, which must not be below the first.
    pub(super) fn since(&self, index: u64) -> impl Iterator<Item = Location> {
        let at = usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let slot = self.skip.saturating_add(at);
        let chunks = self.chunks.iter().skip(slot / CHUNK).enumerate();
        chunks.flat_map(move |(i, chunk)| chunk.since(if i == 0 { slot % CHUNK } else { 0 }))
    }

    /// Adds the locations of the entries from `end()` on.
    pub(super) fn extend(&mut self, mut locations: &[Location]) {
        self.len += locations.len();
        while !locations.is_empty() {
            if self.chunks.back().is_none_or(|chunk| chunk.places.len() == CHUNK) {
                self.chunks.push_back(Chunk::default());
            }
            let Some(chunk) = self.chunks.back_mut() else { return };
            locations = chunk.fill(locations, self.loading);
        }
    }

    /// Sets a new location of entry `index`, if it is in the index; returns the old one.
    pub(super) fn replace(&mut self, index: u64, location: Location) -> Option<Location> {
        let before = self.get(index)?;
        let slot = self.skip + usize::try_from(index - self.first).ok()?;
        self.chunks.get_mut(slot / CHUNK)?.replace(slot % CHUNK, location);
        Some(before)
    }

    /// The entries in segments up to `segment`, ascending: index and location.
    pub(super) fn up_to(&self, segment: u32) -> impl Iterator<Item = (u64, Location)> {
        let old = move |chunk: &&(usize, &Chunk)| chunk.1.runs.iter().any(|(_, at)| *at <= segment);
        let slots = |(at, chunk): (usize, &Chunk)| at * CHUNK..at * CHUNK + chunk.places.len();
        let chunks = self.chunks.iter().enumerate().filter(move |chunk| old(&chunk));
        chunks
            .flat_map(slots)
            .filter_map(|slot| {
                let index = self.first + u64::try_from(slot.checked_sub(self.skip)?).ok()?;
                Some((index, self.get(index)?))
            })
            .filter(move |(_, at)| at.segment <= segment)
    }

    /// Drops the entries from `index` on; calls `dropped` with the location of each.
    pub(super) fn truncate(&mut self, index: u64, mut dropped: impl FnMut(Location)) {
        for gone in index.max(self.first)..self.end() {
            if let Some(location) = self.get(gone) {
                dropped(location);
            }
        }
        let keep = usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.len = self.len.min(keep);
        if self.len == 0 {
            return self.restart(self.first);
        }
        let slots = self.skip + self.len;
        self.chunks.truncate(slots.div_ceil(CHUNK));
        if let Some(last) = self.chunks.back_mut() {
            last.truncate((slots - 1) % CHUNK + 1);
        }
    }

    /// Drops the entries below `index`; calls `dropped` with the location of each.
    pub(super) fn advance(&mut self, index: u64, mut dropped: impl FnMut(Location)) {
        let index = index.clamp(self.first, self.end());
        for gone in self.first..index {
            if let Some(location) = self.get(gone) {
                dropped(location);
            }
        }
        let count = usize::try_from(index - self.first).unwrap_or(self.len);
        self.first = index;
        self.len -= count;
        let slots = self.skip + count;
        self.chunks.drain(..(slots / CHUNK).min(self.chunks.len()));
        self.skip = slots % CHUNK;
        if self.len == 0 {
            self.restart(index);
        }
    }

    /// Empties the index; the next entry has `index`.
    pub(super) fn restart(&mut self, index: u64) {
        *self = LogIndex { first: index, loading: self.loading, ..LogIndex::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A location; each segment has seven entries.
    fn at(i: u64) -> Location {
        let i = u32::try_from(i).expect("small");
        Location { packed: i % 5 == 0, ..Location::plain(1 + i / 7, i, i + 1, i + 2) }
    }

    #[test]
    fn an_entry_costs_less_than_sixteen_bytes() {
        // An allocation costs 16 more bytes in the allocator.
        let heap = |bytes: usize| if bytes == 0 { 0 } else { bytes + 16 };
        for per_segment in [20, 300] {
            let mut index = LogIndex::default();
            for i in 0..20_000u32 {
                index.extend(&[Location { segment: i / per_segment, ..Location::default() }]);
                let of = |chunk: &Chunk| heap(chunk.places.capacity() * 12) + heap(chunk.runs.capacity() * 8);
                let chunks = heap(index.chunks.capacity() * size_of::<Chunk>());
                let bytes = index.chunks.iter().map(of).sum::<usize>() + chunks + size_of::<LogIndex>();
                assert!(i < 200 || bytes <= 16 * index.len(), "{bytes} bytes for {}", index.len());
            }
        }
    }

    #[test]
    fn runs_of_any_length_are_added_whole() {
        for skip in [0, 1, 127, 128, 200] {
            for len in [0, 1, 127, 128, 129, 500] {
                let mut index = LogIndex::default();
                index.restart(10);
                index.extend(&(0..300).map(at).collect::<Vec<_>>());
                index.advance(10 + skip, |_| {});
                index.extend(&(300..300 + len).map(at).collect::<Vec<_>>());
                assert_eq!(index.end(), 310 + len);
                assert!((10 + skip..310 + len).all(|i| index.get(i) == Some(at(i - 10))), "{skip}, {len}");
            }
        }
    }

    #[test]
    fn memory_follows_the_length_in_chunks() {
        let mut index = LogIndex::default();
        index.restart(1000);
        for i in 0..1000 {
            index.extend(&[at(i)]);
            assert_eq!(index.chunks.len(), (index.len() - 1) / CHUNK + 1);
            let room: usize = index.chunks.iter().map(|chunk| chunk.places.capacity()).sum();
            assert!(room < index.len() + STEP);
        }
        index.advance(1000 + 500, |_| {});
        assert!(index.chunks.len() <= 500 / CHUNK + 2);
        index.truncate(1000 + 510, |_| {});
        assert_eq!((index.first(), index.end(), index.len()), (1500, 1510, 10));
        assert!(index.chunks.len() <= 2);
        for i in 1490..1520 {
            assert_eq!(index.get(i), (1500..1510).contains(&i).then(|| at(i - 1000)));
        }
        index.advance(u64::MAX, |_| {});
        assert!(index.is_empty() && index.chunks.is_empty());
        assert_eq!(index.end(), 1510);
    }

    #[test]
    fn entries_that_moved_are_found_where_they_are_now() {
        let mut index = LogIndex::default();
        index.restart(1);
        index.extend(&(0..400).map(at).collect::<Vec<_>>());
        index.advance(31, |_| {});
        let mut expected: Vec<Location> = (0..400).map(at).collect();
        for i in (30..400u64).step_by(3).chain(120..135) {
            let place = &mut expected[usize::try_from(i).expect("small")];
            let now = Location { segment: 900 + u32::try_from(i % 2).expect("small"), ..at(i + 1000) };
            assert_eq!(index.replace(i + 1, now), Some(std::mem::replace(place, now)));
        }
        assert_eq!(index.replace(30, at(0)), None);
        assert!((30..400).all(|i| index.get(i + 1) == Some(expected[usize::try_from(i).expect("small")])));
        for segment in [0, 4, 5, 20, 57, 900] {
            let old = (31..).zip(&expected[30..]).filter(|(_, at)| at.segment <= segment);
            let old: Vec<(u64, Location)> = old.map(|(i, at)| (i, *at)).collect();
            assert_eq!(index.up_to(segment).collect::<Vec<_>>(), old, "{segment}");
        }
        for from in [31, 32, 127, 128, 129, 130, 255, 256, 300, 400, 401] {
            let rest = &expected[usize::try_from(from - 1).expect("small")..];
            assert_eq!(index.since(from).collect::<Vec<_>>(), rest, "from {from}");
        }
    }

    #[test]
    fn every_cut_leaves_the_rest_as_it_was() {
        for low in (0..300).step_by(13) {
            for high in (low..300).step_by(29) {
                let mut index = LogIndex::default();
                index.extend(&(0..300).map(at).collect::<Vec<_>>());
                let (mut front, mut back) = (Vec::new(), Vec::new());
                index.truncate(high, |location| back.push(location));
                index.advance(low, |location| front.push(location));
                assert_eq!(front, (0..low).map(at).collect::<Vec<_>>());
                assert_eq!(back, (high..300).map(at).collect::<Vec<_>>());
                index.extend(&(high..high + 200).map(|i| at(i + 500)).collect::<Vec<_>>());
                for i in 0..high + 200 {
                    let expected = if i < high { at(i) } else { at(i + 500) };
                    assert_eq!(index.get(i), (i >= low).then_some(expected), "{low} {high} {i}");
                }
            }
        }
    }
}
