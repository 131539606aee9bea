//! Maps a sealed segment into memory, for readers that need no copy.

use crate::segment::Segment;
use seawall_disk::Map;
use std::sync::Arc;

/// The bytes of a sealed segment's file, mapped into memory; index them by [`Lsn::offset`](crate::Lsn::offset). Cheap
/// to clone.
#[derive(Clone, Debug)]
pub struct Mapped {
    /// Keeps the segment alive: its file is not recycled while this exists.
    segment: Arc<Segment>,
}

impl Mapped {
    /// The map of `segment`; `None` if it was not read often enough or cannot be mapped.
    pub(crate) fn of(segment: Arc<Segment>) -> Option<Mapped> {
        let has_map = segment.mapped().is_some();
        has_map.then_some(Mapped { segment })
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self.segment.mapped().map_or(&[], |map: &Map| map)
    }
}
