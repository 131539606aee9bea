//! Payloads from maps of sealed segments, without a copy.

use bytes::Bytes;
use seawall_wal::Wal;

use super::PayloadLocation;

/// Sealed segments as memory, the one that was read last at hand.
pub(crate) struct Maps<'a> {
    wal: &'a Wal,
    last: Option<(u32, Option<Bytes>)>,
}

impl Maps<'_> {
    /// Those of `wal`.
    pub(crate) fn new(wal: &Wal) -> Maps<'_> {
        Maps { wal, last: None }
    }

    /// All of the segment that `place` is in, unchecked, if it is mapped.
    pub(super) fn segment(&mut self, place: &PayloadLocation) -> Option<Bytes> {
        let segment = place.at.segment;
        if self.last.as_ref().is_none_or(|(last, _)| *last != segment) {
            self.last = Some((segment, self.wal.mapped(segment).map(Bytes::from_owner)));
        }
        self.last.as_ref()?.1.clone()
    }
}
