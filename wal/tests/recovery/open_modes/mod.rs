//! Tests the table of open modes in `docs/durability.md`, row by row, on the simulated disk and in a real
//! directory.
//!
//! An open that refuses the log, or that only reads it, must leave every byte and name as it was (INV-5,
//! INV-10).

mod closed;

use seawall_wal::disk::sim::{SimDisk, SimOptions};
use seawall_wal::inspect::{GroupHead, GroupKind, inspect};
use seawall_wal::{Durability, Env, Error, Lsn, OpenMode, Options, RecoveryReport, UnexplainedTail, Wal};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::harness;

use harness::{fill, record, stepped};

const BLOCK: usize = 4096;
const RECORDS: u64 = 40;

/// A place for a log's files, and access to them.
trait Medium {
    fn open(&self, options: &Options) -> Result<(Wal, RecoveryReport), Error>;
    fn files(&self) -> BTreeMap<String, Vec<u8>>;
    fn write(&self, name: &str, bytes: &[u8]);
    fn remove(&self, name: &str);
}

impl Medium for Arc<SimDisk> {
    fn open(&self, options: &Options) -> Result<(Wal, RecoveryReport), Error> {
        Wal::open_in(stepped(self), options)
    }
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.names().into_iter().map(|name| (name.clone(), self.read_file(&name))).collect()
    }
    fn write(&self, name: &str, bytes: &[u8]) {
        self.write_file(name, bytes);
    }
    fn remove(&self, name: &str) {
        self.remove_file(name);
    }
}

impl Medium for &Path {
    fn open(&self, options: &Options) -> Result<(Wal, RecoveryReport), Error> {
        Wal::open(self, options)
    }
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let files = fs::read_dir(self).unwrap().map(|entry| entry.unwrap());
        files.map(|f| (f.file_name().into_string().unwrap(), fs::read(f.path()).unwrap())).collect()
    }
    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.join(name), bytes).unwrap();
    }
    fn remove(&self, name: &str) {
        fs::remove_file(self.join(name)).unwrap();
    }
}

fn options(mode: OpenMode, suspect: UnexplainedTail) -> Options {
    Options::default().with_mode(mode).with_unexplained_tail(suspect).with_segment_bytes(64 << 10)
}

fn name(segment: u32) -> String {
    format!("{segment:08x}.wal")
}

/// Writes 40 records over three segments, each in its own group, and closes the log.
fn fill_log(wal: Wal) {
    for id in 0..RECORDS {
        wal.append(&record(id, 3900), Durability::Sync).unwrap().wait().unwrap();
    }
    wal.close().unwrap();
}

/// The outcome of an open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Refused,
    Quarantined,
    ReadOnly,
    Dropped,
}

use Outcome::{Dropped, Quarantined, ReadOnly, Refused};

/// A row: the damage, a function that does it, and the outcomes. First those of strict, degraded and salvage
/// mode, then those of degraded and salvage mode if suspect bytes are dropped.
type Row = (&'static str, fn(&dyn Medium, &Places), [Outcome; 5]);

/// Positions in the undamaged log.
struct Places {
    /// Groups with records, in order.
    groups: Vec<(u32, GroupHead)>,
    /// The numbers of the log's segments.
    live: Vec<u32>,
    /// Segment and offset of the mark that ends the log.
    mark: (u32, u32),
}

impl Places {
    fn of(disk: &dyn seawall_wal::disk::Disk) -> Places {
        let found = inspect(disk).unwrap();
        let live: Vec<u32> = found.verdict.unwrap().kept.iter().map(|k| k.segment).collect();
        let all = found.segments.iter().flat_map(|s| s.heads.iter().map(|h| (s.sequence, *h)));
        let groups: Vec<_> = all.clone().filter(|(_, h)| h.kind == GroupKind::Data).collect();
        let last = all.last().unwrap();
        assert_eq!((groups.len() as u64, live.len(), last.1.kind), (RECORDS, 3, GroupKind::Mark));
        Places { groups, live, mark: (last.0, last.1.offset) }
    }

    /// Indexes of the first and the last group of the segment in the middle.
    fn border(&self) -> (usize, usize) {
        let inside = |(n, _): &(u32, GroupHead)| *n == self.live[1];
        (self.groups.iter().position(inside).unwrap(), self.groups.iter().rposition(inside).unwrap())
    }
}

fn change(medium: &dyn Medium, segment: u32, f: impl FnOnce(&mut [u8])) {
    let mut bytes = medium.files().remove(&name(segment)).unwrap();
    f(&mut bytes);
    medium.write(&name(segment), &bytes);
}

fn group(medium: &dyn Medium, places: &Places, n: usize, f: impl FnOnce(&mut [u8])) {
    let (segment, head) = places.groups[n];
    change(medium, segment, |bytes| f(&mut bytes[head.offset as usize..head.end as usize]));
}

const ROWS: [Row; 15] = [
    (
        "a payload",
        |m, p| group(m, p, 20, |b| b[2000] ^= 1),
        [Refused, Quarantined, ReadOnly, Quarantined, ReadOnly],
    ),
    (
        "a group's header",
        |m, p| group(m, p, 20, |b| b[20] ^= 1),
        [Refused, Quarantined, ReadOnly, Quarantined, ReadOnly],
    ),
    (
        "two groups side by side",
        |m, p| (20..22).for_each(|n| group(m, p, n, |b| b.fill(0))),
        [Refused, Quarantined, ReadOnly, Quarantined, ReadOnly],
    ),
    (
        "the first group of a segment",
        |m, p| group(m, p, p.border().0, |b| b.fill(0)),
        [Refused, Quarantined, ReadOnly, Quarantined, ReadOnly],
    ),
    (
        "the last group of a segment",
        |m, p| group(m, p, p.border().1, |b| b.fill(0)),
        [Refused, Quarantined, ReadOnly, Quarantined, ReadOnly],
    ),
    (
        "the last record",
        |m, p| group(m, p, 39, |b| b[2000] ^= 1),
        [Refused, Quarantined, ReadOnly, Quarantined, ReadOnly],
    ),
    (
        "every group of a segment",
        |m, p| change(m, p.live[1], |b| b[BLOCK..].fill(0)),
        [Refused, Refused, ReadOnly, Refused, ReadOnly],
    ),
    (
        "a segment's header",
        |m, p| change(m, p.live[1], |b| b[40] ^= 1),
        [Refused, Refused, ReadOnly, Refused, ReadOnly],
    ),
    (
        "a segment that is gone",
        |m, p| m.remove(&name(p.live[1])),
        [Refused, Refused, ReadOnly, Refused, ReadOnly],
    ),
    (
        "the first segment gone",
        |m, p| m.remove(&name(p.live[0])),
        [Refused, Refused, ReadOnly, Refused, ReadOnly],
    ),
    (
        "the last segment gone",
        |m, p| m.remove(&name(p.live[2])),
        [Refused, Refused, ReadOnly, Refused, ReadOnly],
    ),
    // Only the file `CLOSED` says that the last mark was durable.
    (
        "the last mark",
        |m, p| change(m, p.mark.0, |b| b[p.mark.1 as usize + 20] ^= 1),
        [Refused, Refused, ReadOnly, Refused, ReadOnly],
    ),
    (
        "the last record and the last mark",
        |m, p| {
            let (segment, head) = p.groups[39];
            change(m, segment, |b| b[head.offset as usize..p.mark.1 as usize + BLOCK].fill(0));
        },
        [Refused, Refused, ReadOnly, Refused, ReadOnly],
    ),
    (
        "suspect bytes at the end",
        |m, p| {
            change(m, p.mark.0, |b| b[p.mark.1 as usize + 20] ^= 1);
            m.remove("CLOSED");
        },
        [Refused, Refused, ReadOnly, Dropped, Dropped],
    ),
    (
        "the identity",
        |m, _| {
            let mut bytes = m.files().remove("IDENTITY").unwrap();
            bytes[40] ^= 1;
            m.write("IDENTITY", &bytes);
        },
        [Refused; 5],
    ),
];

/// Asserts that each mode opens the damaged `medium` with the outcome that its row expects.
fn check(what: &str, medium: &dyn Medium, places: &Places, expected: [Outcome; 5]) {
    let modes = [
        (OpenMode::Strict, UnexplainedTail::Refuse),
        (OpenMode::Salvage, UnexplainedTail::Refuse),
        (OpenMode::Salvage, UnexplainedTail::Drop),
        (OpenMode::Degraded, UnexplainedTail::Refuse),
        (OpenMode::Degraded, UnexplainedTail::Drop),
        (OpenMode::Degraded, UnexplainedTail::Drop),
    ];
    let mut appended = Vec::new();
    for (mode, suspect) in modes {
        let expected = match (mode, suspect) {
            (OpenMode::Strict, _) => expected[0],
            (OpenMode::Degraded, UnexplainedTail::Refuse) => expected[1],
            (OpenMode::Salvage, UnexplainedTail::Refuse) => expected[2],
            (OpenMode::Degraded, UnexplainedTail::Drop) => expected[3],
            (OpenMode::Salvage, UnexplainedTail::Drop) => expected[4],
            other => panic!("{other:?}"),
        };
        let what = &format!("{what}, {mode:?}, {suspect:?}");
        let before = without_lock(medium.files());
        let opened = medium.open(&options(mode, suspect));
        let (wal, report) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                assert!(matches!(error, Error::Corrupt { .. } | Error::Identity { .. }), "{what}: {error}");
                assert_eq!(expected, Refused, "{what}: {error}");
                assert!(before == without_lock(medium.files()), "{what}: a refusal changed something");
                continue;
            }
        };
        assert_eq!(report.mode, mode);
        let outcome = match (mode, report.damaged.is_empty()) {
            (OpenMode::Degraded, false) => Quarantined,
            (OpenMode::Salvage, false) => ReadOnly,
            _ => Dropped,
        };
        assert_eq!(outcome, expected, "{what}: {report:?}");
        holds(what, &wal, &report, places, &appended);
        if mode == OpenMode::Salvage {
            let refused = wal.append(&record(0, 10), Durability::Sync).map(drop);
            assert!(matches!(refused, Err(Error::ReadOnly)), "{what}: {refused:?}");
            wal.close().unwrap();
            assert!(before == without_lock(medium.files()), "{what}: salvage mode changed something");
        } else {
            let id = 900 + appended.len() as u64;
            let ticket = wal.append(&record(id, 3900), Durability::Sync).unwrap();
            ticket.wait().unwrap();
            appended.push((id, ticket.lsn()));
            drop(wal);
        }
    }
}

fn without_lock(mut files: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    files.remove("LOCK");
    files
}

/// Asserts that every record is read as it was, in its place, or that the iterator and the report both name
/// that place.
fn holds(what: &str, wal: &Wal, report: &RecoveryReport, places: &Places, appended: &[(u64, Lsn)]) {
    let written = (0..).zip(&places.groups).map(|(id, (n, h))| (id, Lsn::new(*n, h.offset + 64)));
    let mut written: BTreeMap<Lsn, u64> =
        written.chain(appended.iter().copied()).map(|(id, lsn)| (lsn, id)).collect();
    let mut named = Vec::new();
    for item in wal.records(Lsn::ZERO) {
        match item {
            Ok(record) => {
                let id = written.remove(&record.lsn()).unwrap_or_else(|| panic!("{what}: {}", record.lsn()));
                assert_eq!(record.meta(), id.to_le_bytes(), "{what}");
                let (info, part) = record.parts().next().unwrap();
                assert!(part.iter().all(|&b| b == fill(id)), "{what}");
                let mut again = vec![0; part.len()];
                wal.read_at(Lsn::new(record.lsn().segment(), info.offset), &mut again).unwrap();
                assert!(again == part, "{what}");
            }
            Err(Error::Corrupt { damage, .. }) => named.extend(damage.iter().copied()),
            Err(error) => panic!("{what}: {error}"),
        }
    }
    assert_eq!(named, report.damaged, "{what}");
    assert_eq!(wal.damaged(), report.damaged, "{what}");
    for lsn in written.into_keys() {
        assert!(report.damaged.iter().any(|d| d.from <= lsn && lsn < d.to), "{what}: {lsn} is lost");
        let read = wal.read_at(lsn, &mut [0; 100]);
        assert!(matches!(read, Err(Error::Corrupt { .. })), "{what}: {read:?}");
    }
}

#[test]
fn every_row_on_the_simulated_disk() {
    let disk = SimDisk::new(3, SimOptions::default());
    fill_log(Wal::create_in(stepped(&disk), &options(OpenMode::Strict, UnexplainedTail::Refuse)).unwrap());
    let places = Places::of(&*disk);
    for (what, damage, expected) in ROWS {
        let copy = disk.fork(1);
        damage(&copy, &places);
        check(what, &copy, &places, expected);
    }
}

#[test]
fn every_row_in_a_real_directory() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("log");
    fill_log(Wal::create(&dir, &options(OpenMode::Strict, UnexplainedTail::Refuse)).unwrap());
    let places = Places::of(&seawall_wal::disk::PosixDisk::open(&dir, None).unwrap());
    for (i, (what, damage, expected)) in ROWS.into_iter().enumerate() {
        let copy = parent.path().join(i.to_string());
        fs::create_dir(&copy).unwrap();
        for (name, bytes) in (&*dir).files() {
            fs::write(copy.join(name), bytes).unwrap();
        }
        damage(&&*copy, &places);
        check(what, &&*copy, &places, expected);
    }
}

/// A new log can be written to, whatever the mode says.
#[test]
fn the_mode_does_not_matter_to_a_new_log() {
    for mode in [OpenMode::Degraded, OpenMode::Salvage] {
        let disk = SimDisk::new(3, SimOptions::default());
        fill_log(Wal::create_in(stepped(&disk), &options(mode, UnexplainedTail::Refuse)).unwrap());
        disk.crash();
        let (wal, report) = disk.open(&options(OpenMode::Strict, UnexplainedTail::Refuse)).unwrap();
        assert_eq!((harness::ids(&wal).len() as u64, report.mode), (RECORDS, OpenMode::Strict));
    }
}

/// A log in salvage mode keeps writers out, and a writer keeps salvage mode out. Without a `LOCK` file
/// salvage mode locks the directory itself, and makes no such file.
#[test]
fn salvage_and_the_lock() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("log");
    let (strict, salvage) = (
        options(OpenMode::Strict, UnexplainedTail::Refuse),
        options(OpenMode::Salvage, UnexplainedTail::Refuse),
    );
    let wal = Wal::create(&dir, &strict).unwrap();
    assert!(matches!(Wal::open(&dir, &salvage), Err(Error::Locked { .. })));
    fill_log(wal);
    let before = (&*dir).files();
    let (first, report) = Wal::open(&dir, &salvage).unwrap();
    let (second, _) = Wal::open(&dir, &salvage).expect("another reader");
    assert!(report.locked && report.damaged.is_empty());
    assert!(matches!(Wal::open(&dir, &strict), Err(Error::Locked { .. })));
    drop((first, second));
    assert!(before == (&*dir).files());
    fs::remove_file(dir.join("LOCK")).unwrap();
    let (wal, report) = Wal::open(&dir, &salvage).unwrap();
    assert!(report.locked, "the directory itself is locked");
    assert!(matches!(Wal::open(&dir, &strict), Err(Error::Locked { .. })));
    drop(wal);
    assert!(!dir.join("LOCK").exists());
    drop(Wal::open(&dir, &strict).unwrap());
}

/// A prepared log is locked, and nothing in the directory has changed: even an unfinished spare is still
/// there.
#[test]
fn a_prepared_log_is_locked_and_as_it_was() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("log");
    let strict = options(OpenMode::Strict, UnexplainedTail::Refuse);
    fill_log(Wal::create(&dir, &strict).unwrap());
    fs::write(dir.join("000000ff.new"), [1; BLOCK]).unwrap();
    let before = (&*dir).files();
    let prepare = || Wal::prepare(Env::posix(&dir, &strict).unwrap(), &strict, None);
    let prepared = prepare().unwrap();
    assert_eq!(prepared.records(Lsn::ZERO).count() as u64, RECORDS);
    assert!(matches!(prepare(), Err(Error::Locked { .. })));
    drop(prepared);
    assert!(before == (&*dir).files(), "a log that was not started has changed");
    let (wal, report) = prepare().unwrap().start(None).unwrap();
    assert_eq!(harness::ids(&wal).len() as u64, RECORDS);
    // Closing may have left another, if it came while a spare was made.
    assert!(report.removed.contains(&"000000ff.new".to_owned()), "{:?}", report.removed);
    assert!(!dir.join("000000ff.new").exists());
}
