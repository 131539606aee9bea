//! Makes the logs whose bits are flipped, and says what each of their bytes is for.
//!
//! The purpose of a byte follows from how the log was made, not from what recovery concludes about a damaged
//! log.

use crate::harness::{SixteenBytes, ids, record, stepped};
use seawall_wal::disk::sim::{SimDisk, SimOptions};
use seawall_wal::inspect::{GroupHead, GroupKind, PriorContents, SegmentScan, Verdict, decide, inspect};
use seawall_wal::testing::stepper::Stepper;
use seawall_wal::{Durability, Error, Lsn, Options, UnexplainedTail, Wal};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const BLOCK: u32 = 4096;

pub fn name(segment: u32) -> String {
    format!("{segment:08x}.wal")
}

/// All files except the lock, which every open writes.
pub fn contents(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let names = disk.names().into_iter().filter(|name| name != "LOCK");
    names.map(|name| (name.clone(), disk.read_file(&name))).collect()
}

/// The purpose of a byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Block 0 of a live segment or a spare.
    Header,
    /// A group below the largest watermark.
    Known,
    /// The mark that ends the log. Only `CLOSED` says that it was durable.
    Last,
    /// The same in a recycled file, in which a torn write may have left any bytes.
    LastStale,
    /// The first sector after the end of the log, or of the groups of the next segment, in a file prepared
    /// with zeros.
    After,
    /// Not a part of what is kept, with the reason.
    Unused(&'static str),
}

impl Place {
    /// Whether open refuses a log with a flipped bit there.
    pub fn refused(self) -> bool {
        !matches!(self, Place::Unused(_))
    }
}

/// A sound log that was closed.
pub struct Log {
    pub name: &'static str,
    pub disk: Arc<SimDisk>,
    pub options: Options,
    pub scans: Vec<SegmentScan>,
    /// The verdict without `CLOSED`.
    pub verdict: Verdict,
    /// The end that `CLOSED` names.
    pub closed: Lsn,
    pub ids: Vec<u64>,
}

impl Log {
    /// Three segments of 64 KiB with groups of one block and of several, of one record and of several.
    pub fn plain() -> Log {
        Log::make("three segments of 64 KiB", 64 << 10, |wal| fill(wal, 0, 3, 0))
    }

    /// The same with footers, in segments of 32 KiB.
    pub fn with_footers() -> Log {
        Log::make("three segments with footers", 32 << 10, |wal| {
            wal.set_index_builder(Box::<SixteenBytes>::default()).unwrap();
            fill(wal, 0, 3, 16);
        })
    }

    /// The first files are released and recycled, so that spares hold old groups.
    pub fn released() -> Log {
        Log::make("released files used again", 24 << 10, |wal| {
            let next = fill(wal, 0, 3, 0);
            wal.release(3).unwrap();
            wal.append(&record(next, 100), Durability::Sync).unwrap().wait().unwrap();
            let stepper = Stepper::new(wal);
            while stepper.prepare().unwrap() {}
            fill(wal, next + 1, 4, 0);
        })
    }

    /// A crash left a torn group and a whole one after it. The log continued in another segment.
    pub fn after_a_crash() -> Log {
        let options = Options::default().with_segment_bytes(40 << 10).with_group_bytes(4096);
        let disk = SimDisk::new(3, SimOptions::default());
        let wal = Wal::create_in(stepped(&disk), &options).unwrap();
        let next = fill(&wal, 0, 2, 0);
        let tickets = [0, 1, 2].map(|n| wal.append(&record(next + n, 3000), Durability::Sync).unwrap());
        let first = tickets[0].lsn();
        let stepper = Stepper::new(&wal);
        std::iter::from_fn(|| stepper.issue()).for_each(|io| stepper.abandon(&io));
        drop(wal);
        disk.kill();
        let mut bytes = disk.read_file(&name(first.segment()));
        let at = (first.offset() & !(BLOCK - 1)) as usize + 1024;
        bytes[at..at + 512].fill(0);
        disk.write_file(&name(first.segment()), &bytes);
        let (wal, report) = Wal::open_in(stepped(&disk), &options).unwrap();
        assert!(!report.dropped.is_empty());
        fill(&wal, next + 3, first.segment() + 2, 0);
        wal.close().unwrap();
        Log::of("groups dropped after a crash", disk, options)
    }

    fn make<T>(name: &'static str, segment_bytes: u32, fill: impl FnOnce(&Wal) -> T) -> Log {
        let options = Options::default().with_segment_bytes(segment_bytes);
        let disk = SimDisk::new(3, SimOptions::default());
        let wal = Wal::create_in(stepped(&disk), &options).unwrap();
        fill(&wal);
        wal.close().unwrap();
        Log::of(name, disk, options)
    }

    fn of(name: &'static str, disk: Arc<SimDisk>, options: Options) -> Log {
        disk.kill();
        let found = inspect(&*disk).unwrap();
        let verdict = decide(&found.segments, BLOCK, UnexplainedTail::Refuse).unwrap();
        let closed = found.witness.durable();
        assert_eq!(verdict.end, closed);
        let mut log = Log { name, disk, options, scans: found.segments, verdict, closed, ids: Vec::new() };
        log.ids = ids(&log.open_on(&log.disk.fork(0), true).unwrap());
        log
    }

    /// Opens the log. With `verify_on_open` the open reads everything, otherwise it accepts sealed segments
    /// by their footers.
    pub fn open_on(&self, disk: &Arc<SimDisk>, verify_on_open: bool) -> Result<Wal, Error> {
        let options = self.options.clone().with_verify_on_open(verify_on_open);
        Wal::open_in(stepped(disk), &options).map(|(wal, _)| wal)
    }

    /// A disk with the identity and only this segment.
    pub fn alone(&self, segment: u32) -> Arc<SimDisk> {
        let disk = SimDisk::new(0, SimOptions::default());
        for file in ["IDENTITY".to_owned(), name(segment)] {
            disk.write_file(&file, &self.disk.read_file(&file));
        }
        disk
    }

    fn kept_heads<'a>(
        scans: &'a [SegmentScan],
        verdict: &'a Verdict,
    ) -> impl Iterator<Item = (u32, GroupHead)> + 'a {
        verdict.kept.iter().flat_map(|kept| {
            let heads = scans.iter().filter(|f| f.sequence == kept.segment).flat_map(|f| &f.heads);
            heads.filter(|h| h.offset < kept.end).map(|h| (kept.segment, *h))
        })
    }

    /// Whether `verdict` keeps every group with records of the sound log, as it was, and no other.
    pub fn same_records(&self, scans: &[SegmentScan], verdict: &Verdict) -> bool {
        let records = |h: &(u32, GroupHead)| h.1.record_count > 0;
        let sound = Log::kept_heads(&self.scans, &self.verdict).filter(records);
        sound.eq(Log::kept_heads(scans, verdict).filter(records))
    }

    /// The purpose of byte `at` of a segment.
    pub fn place(&self, segment: &SegmentScan, at: u32) -> Place {
        let n = segment.sequence;
        let header = segment.header.unwrap();
        if n < self.verdict.first_live {
            return Place::Unused("released file: nothing happens");
        }
        if at < BLOCK {
            return Place::Header;
        }
        let end = self.verdict.end;
        let zeros = header.prior == PriorContents::Zeros;
        let kept = self.verdict.kept.iter().find(|kept| kept.segment == n);
        if kept.is_some_and(|kept| at < kept.end) {
            let last = Lsn::new(n, at) >= self.verdict.watermark;
            let head = segment.heads.iter().find(|h| h.offset <= at && at < h.end).unwrap();
            assert!(!last || head.kind == GroupKind::Mark, "the log was closed");
            return match last {
                false => Place::Known,
                true if zeros => Place::Last,
                true => Place::LastStale,
            };
        }
        if n == end.segment() && zeros && (end.offset()..end.offset() + 512).contains(&at) {
            return Place::After;
        }
        // The next group would be here, had it not fit into the segment in use.
        if n == end.segment() + 1 && zeros && at < BLOCK + 512 {
            return Place::After;
        }
        Place::Unused(match (kept.is_some(), segment.heads.iter().any(|h| h.offset <= at && at < h.end)) {
            (_, true) => "group dropped before: nothing happens",
            (true, false) => "after the segment's groups: nothing happens",
            (false, false) if zeros => "spare, zeros: nothing happens",
            (false, false) => "spare, stale bytes: nothing happens",
        })
    }
}

/// Appends records, each group durable before the next, until a record lies at least two blocks into
/// `segment`. Returns the number of the next record.
fn fill(wal: &Wal, mut id: u64, segment: u32, footer_bytes: u32) -> u64 {
    loop {
        let mut last = Lsn::ZERO;
        for n in 0..=id % 3 {
            let bytes = [700, 3900, 20, 5000, 1][usize::try_from((id + n) % 5).unwrap()];
            let mut batch = record(id + n, bytes);
            batch.set_footer_bytes(footer_bytes);
            last = wal.append(&batch, Durability::Lazy).unwrap().lsn();
        }
        id += id % 3 + 1;
        wal.flush().unwrap();
        if last > Lsn::new(segment, 2 * BLOCK) {
            return id;
        }
    }
}
