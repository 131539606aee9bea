//! Keeps what a scan saw of a segment's records, without payloads, until the verdict knows which of them are kept.
//!
//! The index builder then gets the records from here, so that open does not read the segment in use twice.

use crate::format::{PartInfo, RecordRef};
use crate::segment::index_builder::SegmentIndexBuilder;
use crate::types::Lsn;

/// The records of one segment in log order, without payloads.
#[derive(Debug, Default)]
pub(crate) struct RecordFeed {
    /// Position, bytes of `meta` and number of `parts` of each record.
    records: Vec<(Lsn, usize, usize)>,
    meta: Vec<u8>,
    parts: Vec<PartInfo>,
}

impl RecordFeed {
    /// Adds the records of the next group.
    pub(crate) fn add<'a>(&mut self, records: impl Iterator<Item = RecordRef<'a>>) {
        for record in records {
            self.records.push((record.lsn(), record.meta().len(), record.part_count()));
            self.meta.extend_from_slice(record.meta());
            self.parts.extend(record.part_infos());
        }
    }

    /// Shows `index_builder` the records below `end`.
    pub(crate) fn show(&self, index_builder: &mut dyn SegmentIndexBuilder, end: Lsn) {
        let (mut meta, mut parts) = (&self.meta[..], &self.parts[..]);
        for &(lsn, meta_bytes, part_count) in self.records.iter().take_while(|(lsn, ..)| *lsn < end) {
            let (own_meta, own_parts);
            (own_meta, meta) = meta.split_at(meta_bytes.min(meta.len()));
            (own_parts, parts) = parts.split_at(part_count.min(parts.len()));
            index_builder.record(lsn, own_meta, &mut own_parts.iter().copied());
        }
    }
}
