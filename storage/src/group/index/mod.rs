//! The location of each live entry of one group, in 4 to 8 bytes per entry of a long log.
//!
//! Every index with `first <= index < end` has exactly one location. Locations are in chunks of 64. Memory is allocated
//! and freed chunk by chunk, so appending to a long log never reallocates all of it. A full chunk is sealed: encoded in
//! columns, as the index of a segment is. Replay copies whole frames of such an index.

mod chunk;
mod parts;
mod plain;
mod sealed;
#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;

use std::collections::VecDeque;
use std::ops::Range;

use chunk::Chunk;
use sealed::Sealed;

pub(crate) use parts::{Parts, SegmentRun};

use crate::format::FRAME;
use crate::types::Location;

/// The locations of the entries `first..end`.
#[derive(Debug, Default)]
pub(super) struct LogIndex {
    first: u64,
    len: usize,
    /// The first has the entry `first`. The slot of an entry in its chunk is its index modulo 64.
    chunks: VecDeque<Chunk>,
    /// Whether many more entries are expected soon (replay). The capacity of chunks then grows by doubling.
    loading: bool,
}

/// Slot of entry `index` in its chunk.
fn slot(index: u64) -> usize {
    // Below `FRAME`.
    usize::try_from(index % FRAME as u64).unwrap_or(0)
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
            chunk.shrink();
        }
    }

    /// A value that depends on the memory that an append changes; reading it brings that memory into the cache.
    pub(super) fn glance(&self) -> u64 {
        self.chunks.back().map_or(self.first, Chunk::glance)
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

    /// Whether entry `index` is in the index.
    pub(super) fn has(&self, index: u64) -> bool {
        (self.first..self.end()).contains(&index)
    }

    pub(super) fn get(&self, index: u64) -> Option<Location> {
        self.chunks.get(self.chunk_of(index)?)?.get(slot(index))
    }

    /// The locations of the entries from `index` on, which must not be below the first.
    pub(super) fn since(&self, index: u64) -> impl Iterator<Item = Location> {
        let chunk = self.chunk_of(index).unwrap_or(self.chunks.len());
        let chunks = self.chunks.iter().skip(chunk).enumerate();
        chunks.flat_map(move |(i, chunk)| chunk.since(if i == 0 { slot(index) } else { 0 }))
    }

    /// Adds the locations of the entries from `end()` on.
    pub(super) fn extend(&mut self, parts: &Parts<'_>) {
        let SegmentRun { run, segment, packed } = match parts {
            Parts::List(locations) => return self.extend_list(locations),
            Parts::Run(run) => *run,
        };
        for (frame, bytes) in run.encoded_frames() {
            let whole = frame.len() == FRAME && slot(self.end()) == 0;
            let sealed = Sealed::copied(bytes, (0, FRAME), (segment, packed)).filter(|_| whole);
            if let Some(sealed) = sealed {
                self.chunks.push_back(Chunk::Sealed(sealed));
                self.len += FRAME;
            } else {
                let places = frame.places(0).map(|place| place.location(segment, packed));
                self.extend_list(&places.collect::<Vec<_>>());
            }
        }
    }

    fn extend_list(&mut self, mut locations: &[Location]) {
        while !locations.is_empty() {
            let slot = slot(self.end());
            if self.chunks.is_empty() || slot == 0 {
                self.chunks.push_back(Chunk::new(slot));
            }
            let Some(chunk) = self.chunks.back_mut() else { return };
            let rest = chunk.fill(locations, self.loading);
            self.len += locations.len() - rest.len();
            locations = rest;
        }
    }

    /// Sets a new location of entry `index`, if it is in the index; returns the old one. Its chunk is not encoded
    /// again until [`LogIndex::replaced`] is called.
    pub(super) fn replace(&mut self, index: u64, location: Location) -> Option<Location> {
        let before = self.get(index)?;
        let chunk = self.chunk_of(index)?;
        self.chunks.get_mut(chunk)?.replace(slot(index), location);
        Some(before)
    }

    /// Seals the full chunks of which the last location was replaced, all by entries of `range`. Locations are replaced
    /// in ascending order, so each chunk is encoded once.
    pub(super) fn replaced(&mut self, range: Range<u64>) {
        let chunk = |index: u64| index / FRAME as u64;
        for ended in chunk(range.start)..chunk(range.end) {
            let last = ended.saturating_mul(FRAME as u64).saturating_add(FRAME as u64 - 1);
            if let Some(chunk) = self.chunk_of(last).and_then(|chunk| self.chunks.get_mut(chunk)) {
                chunk.seal();
            }
        }
    }

    /// The entries in segments up to `segment`, ascending: index and location.
    pub(super) fn up_to(&self, segment: u32) -> impl Iterator<Item = (u64, Location)> {
        let base = self.first - slot(self.first) as u64;
        let firsts = (0..).map(move |chunk: u64| self.first.max(base.saturating_add(chunk * FRAME as u64)));
        let old = firsts.zip(&self.chunks).filter(move |(_, chunk)| chunk.reaches(segment));
        let entries = old.flat_map(|(first, chunk)| chunk.since(slot(first)).zip(first..));
        entries.filter(move |(at, _)| at.segment <= segment).map(|(at, index)| (index, at))
    }

    /// Drops the entries from `index` on; calls `dropped` with the location of each.
    pub(super) fn truncate(&mut self, index: u64, dropped: impl FnMut(Location)) {
        let index = index.max(self.first);
        if index >= self.end() {
            return;
        }
        self.since(index).for_each(dropped);
        self.len = usize::try_from(index - self.first).unwrap_or(self.len);
        let Some(last) = self.chunk_of(index.saturating_sub(1)) else { return self.restart(self.first) };
        self.chunks.truncate(last + 1);
        if let Some(chunk) = self.chunks.back_mut().filter(|_| slot(index) > 0) {
            chunk.truncate(slot(index));
        }
    }

    /// Drops the entries below `index`; calls `dropped` with the location of each.
    pub(super) fn advance(&mut self, index: u64, dropped: impl FnMut(Location)) {
        let index = index.clamp(self.first, self.end());
        let count = usize::try_from(index - self.first).unwrap_or(self.len);
        self.since(self.first).take(count).for_each(dropped);
        let Some(chunk) = self.chunk_of(index) else { return self.restart(index) };
        self.chunks.drain(..chunk.min(self.chunks.len()));
        (self.first, self.len) = (index, self.len - count);
    }

    /// Empties the index; the next entry has `index`.
    pub(super) fn restart(&mut self, index: u64) {
        *self = LogIndex { first: index, loading: self.loading, ..LogIndex::default() };
    }

    /// Position of the chunk that has entry `index`; `None` if the index does not have the entry.
    fn chunk_of(&self, index: u64) -> Option<usize> {
        if !self.has(index) {
            return None;
        }
        usize::try_from(index / FRAME as u64 - self.first / FRAME as u64).ok()
    }
}
