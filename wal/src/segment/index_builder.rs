//! The interface through which the user of the log builds the index in each segment's footer.
//!
//! The log does not know what records mean, so it cannot build the index itself.

use crate::format::PartInfo;
use crate::types::Lsn;

/// Receives every record in log order when it is enqueued, and builds the index for the footer of each segment.
///
/// The log calls it while it holds its lock: an implementation does no I/O and does not call into the log.
pub trait SegmentIndexBuilder: Send {
    /// A record was placed at `lsn`. `meta` and `parts` are those of the record.
    fn record(&mut self, lsn: Lsn, meta: &[u8], parts: &mut dyn Iterator<Item = PartInfo>);

    /// Writes the index of `segment`, which is being sealed, to `out`, and forgets the segment. The index may have at
    /// most as many bytes as the footer bytes of its records sum to; a longer one may be left out. An empty index means
    /// no footer.
    fn seal(&mut self, segment: u32, out: &mut Vec<u8>);
}
