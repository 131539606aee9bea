//! Tests recovery of a valid, closed log of three segments that a fuzzer damaged.
//!
//! The test knows what was written, and so gives a second opinion. Either open shows the known records up to some
//! point at or after every watermark left intact (INV-5, INV-6), or it refuses with an error that names damage, and
//! then nothing but `LOCK` changed. A further open agrees. `inspect` agrees with open and changes nothing (INV-10).
//! Panics with the finding otherwise.

use super::choices::Choices;
use super::damage::{BLOCK, append, contents, damage, env, is_typed, looked_at, read, read_past_damage};
use crate::commit::Ticket;
use crate::damage::{Damage, DamageKind};
use crate::error::Error;
use crate::format::HeaderFault;
use crate::format::layout::{GROUP_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use crate::options::{OpenMode, Options, UnexplainedTail};
use crate::recovery::RecoveryReport;
use crate::recovery::inspect::{Inspection, inspect};
use crate::segment::names::file_name;
use crate::testing::stepper::Stepper;
use crate::types::{Durability, Lsn};
use crate::wal::Wal;
use seawall_disk::Mode;
use seawall_disk::sim::{SimDisk, SimOptions};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

const SEGMENT_BYTES: u32 = 10 * BLOCK;

/// Largest number of changes of one input.
const CHANGES: u32 = 16;

/// A closed log, and what is known of it.
struct Base {
    disk: Arc<SimDisk>,
    /// All records, in order; each was acknowledged.
    known: Vec<(Lsn, u64)>,
    /// Lowest live segment.
    live: u32,
    /// Contents of the files.
    files: BTreeMap<String, Vec<u8>>,
    /// Position and watermark of every head.
    heads: Vec<(Lsn, Lsn)>,
}

/// Damages a log as `data` determines, and opens it.
pub fn recovery(data: &[u8]) {
    static BASES: OnceLock<[Base; 3]> = OnceLock::new();
    let bases = BASES.get_or_init(|| [base(straight()), base(after_a_crash()), base(released())]);
    let mut choices = Choices::from_bytes(data);
    let base = &bases[choices.index(bases.len())];
    let suspect = if choices.chance(25) { UnexplainedTail::Drop } else { UnexplainedTail::Refuse };
    let disk = base.disk.fork(0);
    let names: Vec<&String> = base.files.keys().collect();
    for _ in 0..CHANGES {
        if choices.spent() {
            break;
        }
        let name = names[choices.index(names.len())];
        damage(&mut choices, &disk, name, SEGMENT_BYTES as usize);
    }
    check(base, &disk, suspect);
}

fn check(base: &Base, disk: &Arc<SimDisk>, suspect: UnexplainedTail) {
    let before = contents(disk);
    let operations = disk.operations();
    let looked = inspect(&*looked_at(disk));
    assert!(contents(disk) == before && disk.operations() == operations, "looking changed something");
    let opened = open(disk, suspect);
    if suspect == UnexplainedTail::Refuse {
        compare(&looked, &opened);
    }
    let shown = match opened {
        Ok((wal, report)) => {
            let shown = read(&wal).expect("what open kept");
            base.check(&shown, &before, &report);
            shown
        }
        Err(error) => {
            assert!(is_typed(&error), "{error}");
            assert!(before != base.files, "a sound log is refused: {error}");
            assert!(contents(disk) == before, "a refusal changed something");
            let again = open(disk, suspect).map(|_| ()).expect_err("refused before");
            assert_eq!(format!("{again:?}"), format!("{error:?}"), "two refusals");
            base.other_modes(disk, suspect);
            return;
        }
    };
    // Records that were shown are promised, whatever crash follows, and the log continues.
    disk.crash();
    let (wal, _) = open(disk, UnexplainedTail::Refuse).expect("opened before");
    assert!(read(&wal).expect("what open kept") == shown, "another log");
    let next = (append(&wal, 1000).expect("space"), 1000);
    wal.close().expect("closed");
    let (wal, report) = open(disk, UnexplainedTail::Refuse).expect("closed before");
    assert!(next.0 < report.watermark, "closed, and not everything is known durable");
    let all = read(&wal).expect("what open kept");
    assert!(all.split_last() == Some((&next, &shown[..])), "another log");
}

fn open(disk: &SimDisk, suspect: UnexplainedTail) -> Result<(Wal, RecoveryReport), Error> {
    Wal::open_in(env(disk), &Options { unexplained_tail: suspect, ..options() })
}

fn options() -> Options {
    Options { segment_bytes: SEGMENT_BYTES, group_bytes: 4096, ..Options::default() }
}

/// Compares the result of `inspect` with that of open.
fn compare(looked: &Result<Inspection, Error>, opened: &Result<(Wal, RecoveryReport), Error>) {
    let damaged = |found: &Inspection| found.verdict.clone().err();
    match (looked, opened) {
        (Ok(found), Ok((_, report))) => {
            let verdict = found.verdict.as_ref().expect("open found the log sound");
            assert_eq!((verdict.end, verdict.watermark), (report.end, report.watermark));
            assert_eq!((verdict.first_live, &verdict.dropped), (report.first_live, &report.dropped));
            let read = verdict.kept.iter().filter(|k| !report.by_footer.contains(&k.segment));
            assert_eq!(read.filter_map(|k| k.groups).map(u64::from).sum::<u64>(), report.groups);
            assert_eq!((found.identity.uuid, &found.foreign), (report.uuid, &report.foreign));
        }
        (Ok(found), Err(Error::Corrupt { damage, .. })) => {
            assert_eq!(damaged(found).as_deref(), Some(&damage[..]));
        }
        (Ok(found), Err(Error::UnsupportedVersion { found: version, .. })) => {
            let named = |d: &Damage| d.what == DamageKind::Header(HeaderFault::Version(*version));
            assert!(damaged(found).is_some_and(|damage| damage.iter().any(named)));
        }
        (Err(looked), Err(opened)) => assert_eq!(format!("{looked:?}"), format!("{opened:?}")),
        (looked, opened) => panic!("{looked:?}, but open: {:?}", opened.as_ref().map(|(_, report)| report)),
    }
}

impl Base {
    /// Checks that an open of `files` may show the records `shown`.
    fn check(&self, shown: &[(Lsn, u64)], files: &BTreeMap<String, Vec<u8>>, report: &RecoveryReport) {
        let live_from = self.known.partition_point(|(lsn, _)| lsn.segment() < self.live);
        let start = match shown.first() {
            Some(first) => self.known.iter().position(|k| k == first).expect("a record that was appended"),
            None => live_from,
        };
        assert!(start <= live_from, "live records gone from the front");
        let end = start + shown.len();
        assert!(self.known.get(start..end) == Some(shown), "another log");
        // A second opinion on the watermark, by comparing bytes: every head that is unchanged.
        let same = |lsn: Lsn| {
            self.unchanged(files, Lsn::new(lsn.segment(), 0), SEGMENT_HEADER_BYTES)
                && self.unchanged(files, lsn, GROUP_HEADER_BYTES)
        };
        let intact = self.heads.iter().filter(|(lsn, _)| same(*lsn));
        let watermark = intact.map(|(_, watermark)| *watermark).max().unwrap_or(Lsn::ZERO);
        assert!(report.watermark >= watermark, "{} read as {}", watermark, report.watermark);
        if let Some((lost, _)) = self.known[end..].first() {
            assert!(*lost >= watermark, "{lost} is gone, and was acknowledged below {watermark}");
        }
        if *files == self.files {
            assert_eq!((start, end), (live_from.min(start), self.known.len()), "a sound log");
        }
        let kept = |lsn: &Lsn| report.dropped.iter().all(|d| *lsn < d.from || *lsn >= d.to);
        assert!(shown.iter().all(|(lsn, _)| kept(lsn)), "dropped and shown: {:?}", report.dropped);
    }

    /// Opens a log that strict mode refuses in the other modes. Salvage changes nothing. Degraded shows only known
    /// records, and all of those below its end that are in none of the ranges it names.
    fn other_modes(&self, disk: &Arc<SimDisk>, suspect: UnexplainedTail) {
        let open = |mode| Wal::open_in(env(disk), &Options { mode, unexplained_tail: suspect, ..options() });
        let (before, operations) = (contents(disk), disk.operations());
        match open(OpenMode::Salvage) {
            Ok((wal, report)) => {
                let (_, places) = read_past_damage(&wal);
                assert_eq!(places, report.damaged, "places met, places reported");
                assert!(matches!(wal.flush(), Err(Error::ReadOnly)), "a flush of what is only read");
            }
            Err(error) => assert!(is_typed(&error), "{error}"),
        }
        assert!(contents(disk) == before && disk.operations() == operations, "salvage changed something");
        match open(OpenMode::Degraded) {
            Ok((wal, report)) => {
                let (shown, places) = read_past_damage(&wal);
                assert_eq!(places, report.damaged, "places met, places reported");
                assert!(shown.iter().all(|record| self.known.contains(record)), "never written");
                let live = |lsn: Lsn| lsn.segment() >= report.first_live && lsn < report.end;
                let named = |lsn| report.damaged.iter().any(|d| d.from <= lsn && lsn < d.to);
                let mut due = self.known.iter().filter(|(lsn, _)| live(*lsn) && !named(*lsn));
                assert!(due.all(|record| shown.contains(record)), "lost, and not named");
                assert!(report.watermark <= report.end, "acknowledged beyond the end");
            }
            Err(error) => {
                assert!(is_typed(&error), "{error}");
                assert!(contents(disk) == before, "a refusal changed something");
            }
        }
    }

    /// Whether the `len` bytes at `at` are those that were written, in a file of the same length.
    fn unchanged(&self, files: &BTreeMap<String, Vec<u8>>, at: Lsn, len: usize) -> bool {
        let name = file_name(at.segment());
        let range = at.offset() as usize..at.offset() as usize + len;
        files.get(&name).is_some_and(|now| {
            let then = &self.files[&name];
            now.len() == then.len() && now[range.clone()] == then[range]
        })
    }
}

fn base(disk: Arc<SimDisk>) -> Base {
    // Opened once, to inspect it: that repeats no mark and changes no group.
    let (wal, _) = open(&disk, UnexplainedTail::Refuse).expect("closed");
    let (known, live) = (read(&wal).expect("sound"), wal.first_segment());
    drop(wal);
    disk.crash();
    let found = inspect(&*looked_at(&disk)).expect("a log");
    let of = |s: &crate::recovery::evidence::SegmentScan| {
        let sequence = s.sequence;
        s.heads.iter().map(move |h| (Lsn::new(sequence, h.offset), h.watermark)).collect::<Vec<_>>()
    };
    let heads: Vec<_> = found.segments.iter().flat_map(of).collect();
    let files = contents(&disk);
    Base { disk, known, live, files, heads }
}

fn create(mode: Mode) -> (Arc<SimDisk>, Wal) {
    let disk = SimDisk::new(0, SimOptions { mode, ..SimOptions::default() });
    let wal = Wal::create_in(env(&disk), &options()).expect("created");
    (disk, wal)
}

/// Appends records, each durable before the next, until the log is in `segment`.
fn fill(wal: &Wal, id: &mut u64, segment: u32) {
    while append(wal, *id).expect("space").segment() < segment {
        *id += 1;
    }
    *id += 1;
}

/// A log over three segments whose records were written one after the other.
fn straight() -> Arc<SimDisk> {
    let (disk, wal) = create(Mode::Direct);
    let mut id = 0;
    fill(&wal, &mut id, 3);
    (0..3).for_each(|n| _ = append(&wal, id + n).expect("space"));
    wal.close().expect("closed");
    disk
}

/// A log with several groups in flight at a time, and a crash that left some of them after a hole, so that the log
/// continues in a later segment.
fn after_a_crash() -> Arc<SimDisk> {
    for seed in 0.. {
        let (disk, wal) = create(Mode::Buffered);
        let mut id = 0;
        fill(&wal, &mut id, 2);
        let tickets: Vec<Ticket> = (0..6)
            .map(|n| wal.append(&super::damage::record(id + n), Durability::Sync).expect("space"))
            .collect();
        let stepper = Stepper::new(&wal);
        let flying: Vec<_> = std::iter::from_fn(|| stepper.issue()).collect();
        flying.iter().for_each(|io| stepper.abandon(io));
        drop((tickets, flying));
        drop(wal);
        let disk = {
            let fork = disk.fork(seed);
            fork.crash();
            fork
        };
        let (wal, report) = open(&disk, UnexplainedTail::Refuse).expect("only a crash");
        if report.dropped.is_empty() {
            continue;
        }
        id += 6;
        fill(&wal, &mut id, 3);
        (0..3).for_each(|n| _ = append(&wal, id + n).expect("space"));
        wal.close().expect("closed");
        return disk;
    }
    unreachable!("some seed leaves a hole")
}

/// A log whose first segment is released, and whose file is about to be reused.
fn released() -> Arc<SimDisk> {
    let (disk, wal) = create(Mode::Direct);
    let mut id = 0;
    fill(&wal, &mut id, 3);
    wal.release(2).expect("released");
    fill(&wal, &mut id, 4);
    while Stepper::new(&wal).prepare().expect("prepared") {}
    append(&wal, id).expect("space");
    wal.close().expect("closed");
    disk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_have_what_they_are_for() {
        let [straight, crashed, released] = [base(straight()), base(after_a_crash()), base(released())];
        for (base, live) in [(&straight, 1), (&crashed, 1), (&released, 2)] {
            let segments: Vec<u32> = base.known.iter().map(|(lsn, _)| lsn.segment()).collect();
            assert!(segments.len() > 7, "{segments:?}");
            assert_eq!(base.live, live);
            let mut touched = segments.clone();
            touched.dedup();
            assert!(touched.len() == 3 || base.live == 2, "{touched:?}");
            assert!(base.files.len() > 4 && base.heads.len() > segments.len() / 2);
            check(base, &base.disk.fork(1), UnexplainedTail::Refuse);
        }
        let found = inspect(&*looked_at(&crashed.disk)).expect("a log");
        assert!(!found.verdict.expect("sound").dropped.is_empty(), "nothing was left after a hole");
        assert!(!released.files.contains_key("00000001.wal"), "the first file is used again");
    }
}
