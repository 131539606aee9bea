//! Reads payloads from memory-mapped sealed segments, without a copy.

use bytes::Bytes;
use seawall_wal::Wal;

use super::locate::PayloadLocation;

/// Mapped sealed segments; the one that was used last is kept at hand.
pub(crate) struct Maps<'a> {
    wal: &'a Wal,
    last: Option<(u32, Option<Bytes>)>,
}

impl Maps<'_> {
    /// The mapped segments of `wal`.
    pub(crate) fn new(wal: &Wal) -> Maps<'_> {
        Maps { wal, last: None }
    }

    /// The bytes of the whole segment that holds `place`, not checked; `None` if it is not mapped.
    pub(super) fn segment(&mut self, place: &PayloadLocation) -> Option<Bytes> {
        let segment = place.at.segment;
        if self.last.as_ref().is_none_or(|(last, _)| *last != segment) {
            self.last = Some((segment, self.wal.mapped(segment).map(Bytes::from_owner)));
        }
        self.last.as_ref()?.1.clone()
    }
}
