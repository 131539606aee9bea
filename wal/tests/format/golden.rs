//! Tests that this build reads the golden log, which an earlier build wrote in format version 1, and that the
//! bytes of a log depend only on its disk, clock, random numbers and calls.
//!
//! `SEAWALL_GOLDEN=write cargo test -p seawall-wal --test format golden::` writes `fixtures/v1` anew, which
//! is right only together with a new format version.

use crate::golden_files::{self, env, fixture};

use seawall_wal::disk::PosixDisk;
use seawall_wal::inspect::{DropReason, GroupKind, inspect};
use seawall_wal::{Durability, Lsn, Options, PartInfo, RecordBuilder, Wal, segments::SegmentIndexBuilder};
use std::fs;
use std::path::Path;

const BLOCK: u32 = 4096;

/// An index builder whose index is the positions of the segment's records.
#[derive(Default)]
struct Positions(Vec<u8>);

impl SegmentIndexBuilder for Positions {
    fn record(&mut self, lsn: Lsn, _: &[u8], _: &mut dyn Iterator<Item = PartInfo>) {
        self.0.extend(lsn.as_u64().to_le_bytes());
    }

    fn seal(&mut self, _: u32, out: &mut Vec<u8>) {
        out.append(&mut self.0);
    }
}

fn options() -> Options {
    Options::default().with_segment_bytes(8 * BLOCK)
}

/// The meta and the two parts of record `n` of the golden log.
fn content(n: u8) -> (Vec<u8>, [Vec<u8>; 2]) {
    (vec![n; 5], [vec![n ^ 0xFF; usize::from(n) * 97], vec![n; 3]])
}

/// Writes the golden log: 30 records over several segments with footers. A lazy record shares a group with
/// the record after it.
fn write(dir: &Path) {
    let wal = Wal::create_in(env(dir), &options()).unwrap();
    wal.set_index_builder(Box::<Positions>::default()).unwrap();
    for n in 0..30 {
        let (meta, parts) = content(n);
        let mut batch = RecordBuilder::new();
        batch.meta().extend(&meta);
        parts.iter().for_each(|part| batch.push_part(part));
        batch.set_footer_bytes(8);
        let class = if n % 7 == 3 { Durability::Lazy } else { Durability::Sync };
        let ticket = wal.append(&batch, class).unwrap();
        if class == Durability::Sync {
            ticket.wait().unwrap();
        }
    }
    wal.close().unwrap();
}

#[test]
fn the_golden_log_opens_and_reads_as_it_was_written() {
    golden_files::rewritten(write);
    let dir = golden_files::copy_of(&fixture());
    let (wal, report) = Wal::open_in(env(dir.path()), &options()).unwrap();
    assert!(report.dropped.is_empty() && report.foreign.is_empty());
    let mut count = 0;
    for (n, record) in (0..).zip(wal.records(Lsn::ZERO)) {
        let record = record.unwrap();
        let (meta, parts) = content(n);
        assert_eq!(record.meta(), meta);
        assert!(record.parts().map(|(_, bytes)| bytes).eq(parts.iter().map(Vec::as_slice)));
        assert_eq!(record.class(), if n % 7 == 3 { Durability::Lazy } else { Durability::Sync });
        count += 1;
    }
    assert_eq!(count, 30);
}

#[test]
fn the_same_steps_write_the_same_bytes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(one.path());
    write(two.path());
    let mut compared = 0;
    for entry in fs::read_dir(one.path()).unwrap() {
        let name = entry.unwrap().file_name();
        let read = |dir: &Path| fs::read(dir.join(&name)).unwrap();
        assert!(read(one.path()) == read(two.path()), "{}", name.display());
        compared += 1;
    }
    assert!(compared > 4);
}

#[test]
fn the_golden_log_has_one_of_everything() {
    let disk = PosixDisk::open(&fixture(), None).unwrap();
    let look = inspect(&disk).unwrap();
    let verdict = look.verdict.unwrap();
    assert!(!verdict.dropped.iter().any(|d| d.why != DropReason::Void));
    let heads = || look.segments.iter().flat_map(|s| &s.heads);
    for kind in [GroupKind::Data, GroupKind::Mark, GroupKind::Footer] {
        assert!(heads().any(|h| h.kind == kind), "{kind:?}");
    }
    assert!(heads().any(|h| h.record_count > 1), "a lazy record shares a group with another");
    assert!(verdict.kept.len() > 2);
}
