//! Who makes the footers: the seam between the log, which knows nothing of what records mean, and its user.
//!
//! Place on the data's way: beside the spine, and at open beside the scan. Fails never.

use crate::format::PartInfo;
use crate::types::Lsn;

/// Sees every record in log order as it is enqueued, and makes the footers.
///
/// Called under the log's lock: no I/O and no calls into the log.
pub trait SegmentIndexBuilder: Send {
    /// A record was placed at `lsn`.
    fn record(&mut self, lsn: Lsn, meta: &[u8], parts: &mut dyn Iterator<Item = PartInfo>);

    /// `segment` is being sealed: writes its index into `out`, at most as many bytes as its records'
    /// footer bytes sum to, and forgets the segment.
    fn seal(&mut self, segment: u32, out: &mut Vec<u8>);
}
