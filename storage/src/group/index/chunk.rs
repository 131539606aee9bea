//! The locations of the entries whose indexes have the same quotient by 64.
//!
//! The chunk that is being filled is a plain list. When it is full it is sealed: encoded as frames, which are
//! immutable. A change in the middle makes a plain list of the chunk again.

use std::slice;

use super::plain::Plain;
use super::sealed::Sealed;
use crate::format::FRAME;
use crate::types::Location;

/// Locations of up to 64 adjacent entries.
#[derive(Debug)]
pub(super) enum Chunk {
    Plain(Box<Plain>),
    Sealed(Sealed),
    /// More than one frame, in order.
    Pieces(Box<[Sealed]>),
}

const _: () = assert!(size_of::<Chunk>() == 24);

impl Chunk {
    /// An empty chunk whose first location is at slot `from`.
    pub(super) fn new(from: usize) -> Chunk {
        Chunk::Plain(Box::new(Plain::new(from)))
    }

    /// One past the last slot.
    pub(super) fn end(&self) -> usize {
        match self {
            Chunk::Plain(plain) => plain.end(),
            Chunk::Sealed(sealed) => sealed.end(),
            Chunk::Pieces(pieces) => pieces.last().map_or(0, Sealed::end),
        }
    }

    /// Whether one of the locations is in a segment up to `segment`.
    pub(super) fn reaches(&self, segment: u32) -> bool {
        let (plain, sealed) = self.forms();
        plain.is_some_and(|plain| plain.segments().any(|at| at <= segment))
            || sealed.iter().any(|piece| piece.segment() <= segment)
    }

    /// A value that depends on the memory that an append changes.
    pub(super) fn glance(&self) -> u64 {
        let (plain, sealed) = self.forms();
        plain.map_or(0, Plain::glance) ^ sealed.last().map_or(0, Sealed::glance)
    }

    /// The location at `slot`.
    pub(super) fn get(&self, slot: usize) -> Option<Location> {
        match self {
            Chunk::Plain(plain) => plain.get(slot),
            Chunk::Sealed(sealed) => sealed.get(slot),
            Chunk::Pieces(pieces) => {
                pieces.get(pieces.partition_point(|piece| piece.end() <= slot))?.get(slot)
            }
        }
    }

    /// The locations from `slot` on.
    pub(super) fn since(&self, slot: usize) -> impl Iterator<Item = Location> + use<'_> {
        let (plain, sealed) = self.forms();
        let plain = plain.into_iter().flat_map(move |plain| plain.since(slot));
        plain.chain(sealed.iter().flat_map(move |piece| piece.since(slot)))
    }

    /// Adds as many of `locations` as fit; returns the others. A chunk that is full now is sealed.
    pub(super) fn fill<'a>(&mut self, locations: &'a [Location], loading: bool) -> &'a [Location] {
        let rest = self.change(|plain| plain.fill(locations, loading));
        if self.end() == FRAME {
            self.seal();
        }
        rest
    }

    /// Sets the location at `slot`.
    pub(super) fn replace(&mut self, slot: usize, location: Location) {
        self.change(|plain| plain.replace(slot, location));
    }

    /// Drops the locations from `slot` on.
    pub(super) fn truncate(&mut self, slot: usize) {
        if slot < self.end() {
            self.change(|plain| plain.truncate(slot));
        }
    }

    /// Encodes the locations, if that takes less memory.
    pub(super) fn seal(&mut self) {
        let Chunk::Plain(plain) = self else { return };
        let Some(mut pieces) = plain.sealed() else { return };
        *self = match pieces.pop() {
            Some(only) if pieces.is_empty() => Chunk::Sealed(only),
            last => Chunk::Pieces(pieces.into_iter().chain(last).collect()),
        };
    }

    /// Frees the spare capacity that loading left.
    pub(super) fn shrink(&mut self) {
        if let Chunk::Plain(plain) = self {
            plain.shrink();
        }
    }

    /// Applies `change` to the locations as a plain list, which the chunk is from then on.
    fn change<R>(&mut self, change: impl FnOnce(&mut Plain) -> R) -> R {
        if let Chunk::Plain(plain) = self {
            return change(plain);
        }
        let (_, sealed) = self.forms();
        let mut plain = Box::new(Plain::new(sealed.first().map_or(0, Sealed::from)));
        let locations: Vec<Location> = self.since(0).collect();
        plain.fill(&locations, false);
        let result = change(&mut plain);
        *self = Chunk::Plain(plain);
        result
    }

    /// Bytes of memory outside of the chunk. An allocation costs 16 bytes in the allocator.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        match self {
            Chunk::Plain(plain) => plain.memory() + size_of::<Plain>() + 16,
            Chunk::Sealed(sealed) => sealed.memory() - size_of::<Sealed>(),
            Chunk::Pieces(pieces) => pieces.iter().map(Sealed::memory).sum::<usize>() + 16,
        }
    }

    fn forms(&self) -> (Option<&Plain>, &[Sealed]) {
        match self {
            Chunk::Plain(plain) => (Some(plain), &[]),
            Chunk::Sealed(sealed) => (None, slice::from_ref(sealed)),
            Chunk::Pieces(pieces) => (None, pieces),
        }
    }
}
