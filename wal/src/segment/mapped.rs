//! A sealed segment as memory, for readers that need no copy.

use crate::disk::Map;
use crate::segment::Segment;
use std::sync::Arc;

/// The bytes of a sealed segment's file; offsets are those that positions have. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mapped {
    /// Holds the segment: its file is not used again as long as somebody may read it.
    segment: Arc<Segment>,
}

impl Mapped {
    /// The segment's map, if it has one or should have.
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
