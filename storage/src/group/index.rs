//! Where each live entry of one group lies: a contiguous run of 16-byte locations.
//! Place on the data's way: filled when a record is enqueued or replayed, read by every entry read.
//! Invariants: `first <= index < end` has exactly one location; memory grows and shrinks by chunks, so a
//! long log never doubles. Cannot fail; an index outside the run has no location.

use std::collections::VecDeque;

use crate::types::Location;

/// Locations per chunk: 2 KiB, the price of a group with a short log.
const CHUNK: usize = 128;

/// The locations of the entries `first..end`.
#[derive(Debug, Default)]
pub(super) struct LogIndex {
    first: u64,
    /// Slots of the front chunk before that of `first`; `< CHUNK`.
    skip: usize,
    len: usize,
    chunks: VecDeque<Box<[Location; CHUNK]>>,
}

impl LogIndex {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Index of the first entry; meaningless while empty.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Index behind the last entry.
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
        self.chunks.get(slot / CHUNK)?.get(slot % CHUNK).copied()
    }

    /// Adds the locations of the entries from `end()` on.
    pub(super) fn extend(&mut self, mut locations: &[Location]) {
        while !locations.is_empty() {
            let slot = self.skip + self.len;
            if slot / CHUNK == self.chunks.len() {
                self.chunks.push_back(Box::new([Location::default(); CHUNK]));
            }
            let free = self.chunks.get_mut(slot / CHUNK).and_then(|chunk| chunk.get_mut(slot % CHUNK..));
            let Some(free) = free else { return };
            let (now, rest) = locations.split_at(free.len().min(locations.len()));
            if let Some(places) = free.get_mut(..now.len()) {
                places.copy_from_slice(now);
            }
            self.len += now.len();
            locations = rest;
        }
    }

    /// Drops entries from `index` on, telling `dropped` where each was.
    pub(super) fn truncate(&mut self, index: u64, mut dropped: impl FnMut(Location)) {
        for gone in index.max(self.first)..self.end() {
            if let Some(location) = self.get(gone) {
                dropped(location);
            }
        }
        let keep = usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.len = self.len.min(keep);
        self.chunks.truncate((self.skip + self.len).div_ceil(CHUNK));
    }

    /// Drops entries below `index`, telling `dropped` where each was.
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

    /// Makes an emptied run start at `index`.
    pub(super) fn restart(&mut self, index: u64) {
        *self = LogIndex { first: index, ..LogIndex::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Location {
        Location { offset: u32::try_from(offset).expect("small"), ..Location::default() }
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
}
