//! What a scan saw of a segment's records: everything but their payloads, to be shown to a sealer once it is known
//! which of them are kept.
//!
//! Place on the data's way: at open, between the scan and the maker of footers, who would otherwise read the segment
//! in use once more. Fails never.

use crate::format::{PartInfo, RecordRef};
use crate::segment::index_builder::SegmentIndexBuilder;
use crate::types::Lsn;

/// The records of one segment in log order.
#[derive(Debug, Default)]
pub(crate) struct RecordFeed {
    /// Place, bytes of `meta` and number of `parts`, of each.
    records: Vec<(Lsn, usize, usize)>,
    meta: Vec<u8>,
    parts: Vec<PartInfo>,
}

impl RecordFeed {
    /// Adds the next ones.
    pub(crate) fn add<'a>(&mut self, records: impl Iterator<Item = RecordRef<'a>>) {
        for record in records {
            self.records.push((record.lsn(), record.meta().len(), record.part_count()));
            self.meta.extend_from_slice(record.meta());
            self.parts.extend(record.part_infos());
        }
    }

    /// Shows `sealer` those below `end`.
    pub(crate) fn show(&self, sealer: &mut dyn SegmentIndexBuilder, end: Lsn) {
        let (mut meta, mut parts) = (&self.meta[..], &self.parts[..]);
        for &(lsn, meta_bytes, part_count) in self.records.iter().take_while(|(lsn, ..)| *lsn < end) {
            let (own_meta, own_parts);
            (own_meta, meta) = meta.split_at(meta_bytes.min(meta.len()));
            (own_parts, parts) = parts.split_at(part_count.min(parts.len()));
            sealer.record(lsn, own_meta, &mut own_parts.iter().copied());
        }
    }
}
