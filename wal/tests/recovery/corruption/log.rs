//! Makes a log of 200 acknowledged records of each kind, and checks every damaged copy of it.

use super::media::{Media, Place};
use super::table::{Found, Table};
use crate::harness::{ids, record, stepped, try_ids};
use seawall_wal::disk::sim::{SimDisk, SimOptions};
use seawall_wal::inspect::{
    Damage, DropReason, GroupHead, GroupKind, Inspection, PriorContents, SegmentHeader, inspect,
};
use seawall_wal::testing::stepper::Stepper;
use seawall_wal::{Backend, Durability, Error, Lsn, Options, RecoveryReport, Ticket, UnexplainedTail, Wal};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const RECORDS: u64 = 200;
pub const BLOCK: usize = 4096;

pub fn name(segment: u32) -> String {
    format!("{segment:08x}.wal")
}

/// The kind of a log: where the damage is, what the blocks held before, and where the files are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Kind {
    /// Whether the damage is in a segment that the log has left, rather than in the one in use.
    pub sealed: bool,
    /// Whether the files are recycled and hold old bytes.
    pub stale: bool,
    pub place: Place,
}

impl Kind {
    /// The kinds to test at `place`. On the simulated disk these are all four. On a directory, where an open
    /// waits for the device, they are two, so that the direct and the sync strategy of one backend together
    /// have all four.
    pub fn of(place: Place) -> Vec<Kind> {
        let all = [(false, false), (true, true), (false, true), (true, false)];
        let some = match place {
            Place::Simulated => &all[..],
            Place::PosixDirect | Place::RingSync => &all[..2],
            Place::PosixSync | Place::RingDirect => &all[2..],
        };
        some.iter().map(|&(sealed, stale)| Kind { sealed, stale, place }).collect()
    }

    /// Options for a segment that holds everything, or a third of it. The log writes no marks except those of
    /// an open and a close.
    pub fn options(self) -> Options {
        let (segment_bytes, spares) = if self.sealed { (256 << 10, 6) } else { (900 << 10, 3) };
        let (idle_ms, backend) = (60_000, self.place.backend());
        Options::default()
            .with_segment_bytes(segment_bytes)
            .with_spare_segments(spares)
            .with_group_bytes(4096)
            .with_idle_ms(idle_ms)
            .with_backend(backend)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |yes, a, b| if yes { a } else { b };
        write!(f, "{} {}", of(self.sealed, "sealed", "tail"), of(self.stale, "stale", "zeros"))
    }
}

/// The logs of one kind, which are made once and copied for each case.
pub struct Logs {
    pub kind: Kind,
    /// The directory in which copies are made.
    pub root: PathBuf,
    closed: Log,
    killed: Log,
}

impl Logs {
    pub fn new(kind: Kind, root: &Path) -> Logs {
        let [closed, killed] = [true, false].map(|close| Log::make(kind, close, root));
        Logs { kind, root: root.to_owned(), closed, killed }
    }

    /// A copy of the log that was closed cleanly, so that a mark covers everything.
    pub fn closed(&self) -> Log {
        self.closed.copy()
    }

    /// A copy of the log that was killed, so that nothing covers the last record.
    pub fn killed(&self) -> Log {
        self.killed.copy()
    }

    /// A killed log on the simulated disk, where it can be stopped in the middle of an operation, after
    /// `then` has run on it. Its files are then copied to the place of this kind.
    pub fn killed_after(&self, then: impl FnOnce(&Log, &Arc<SimDisk>)) -> Log {
        let kind = Kind { place: Place::Simulated, ..self.kind };
        let log = Log::make(kind, false, &self.root);
        let Media::Simulated(disk) = &log.disk else { unreachable!("asked for") };
        then(&log, disk);
        let groups = kept_groups(&inspect(&**disk).unwrap());
        let disk = Media::placed(disk, self.kind.place, &self.root);
        Log { kind: self.kind, disk, groups, ..log }
    }
}

/// A log of 200 acknowledged records, or more in some rows.
pub struct Log {
    pub kind: Kind,
    pub disk: Media,
    /// The groups of the records, in order, with their segments. Each record has its own group.
    pub groups: Vec<(u32, GroupHead)>,
    /// The segments that hold the records.
    pub live: Vec<u32>,
    /// All live segments and spares, with their headers.
    pub headers: Vec<(u32, SegmentHeader)>,
}

/// The outcome that a case must have.
#[derive(Clone, Copy, Debug)]
pub enum Due<'a> {
    /// Every open, under either policy, refuses the log, names damage that covers this place, and changes
    /// nothing.
    Refusal(Lsn),
    /// The same, with damage at any place.
    AnyRefusal,
    /// Every open, with the default policy, shows exactly this number of records and accepts more. The first
    /// open reports that it dropped groups for these reasons.
    Kept(u64, &'a [DropReason]),
}

impl Log {
    /// Makes the log. All but the last eight records are written on the simulated disk, which can recycle
    /// files quickly. The backend under test writes the last eight, most of them together.
    fn make(kind: Kind, close: bool, root: &Path) -> Log {
        let disk = SimDisk::new(5, SimOptions::default());
        let wal = Wal::create_in(stepped(&disk), &kind.options()).unwrap();
        let append = |wal: &Wal, id| wal.append(&record(id, 3900), Durability::Sync).unwrap();
        let wait = |ticket: Ticket| {
            ticket.wait().unwrap();
            ticket.lsn().segment()
        };
        wait(append(&wal, 0));
        if kind.stale {
            use_up(&wal, &disk, || wait(append(&wal, 0)));
        }
        (1..RECORDS - 8).for_each(|id| _ = wait(append(&wal, id)));
        while Stepper::new(&wal).prepare().unwrap() {}
        wal.close().unwrap();
        disk.kill();
        let media = Media::placed(&disk, kind.place, root);
        let (wal, _) = Wal::open_in(media.env(), &kind.options()).unwrap();
        let backend = if kind.place.backend() == Backend::IoUring { "io_uring" } else { "posix" };
        assert_eq!(wal.stats().backend, backend);
        let several: Vec<Ticket> = (RECORDS - 8..RECORDS - 1).map(|id| append(&wal, id)).collect();
        several.into_iter().for_each(|ticket| _ = wait(ticket));
        wait(append(&wal, RECORDS - 1));
        if close {
            wal.close().unwrap();
        } else {
            drop(wal);
        }
        disk.kill();
        Log::of(kind, media.keep())
    }

    /// Describes the sound log in `disk`.
    fn of(kind: Kind, disk: Media) -> Log {
        let found = inspect(&*disk.disk()).unwrap();
        let groups = kept_groups(&found);
        let verdict = found.verdict.unwrap();
        let live: Vec<u32> = verdict.kept.iter().map(|kept| kept.segment).collect();
        let headers = found.segments.iter().filter(|s| s.sequence >= verdict.first_live);
        let headers: Vec<_> = headers.map(|s| (s.sequence, s.header.unwrap())).collect();
        assert_eq!(groups.len() as u64, RECORDS);
        assert_eq!(live.len() > 2, kind.sealed, "{live:?}");
        let used = headers.iter().filter(|(n, _)| live.contains(n));
        assert!(used.into_iter().all(|(_, h)| (h.prior == PriorContents::Stale) == kind.stale));
        Log { kind, disk, groups, live, headers }
    }

    pub fn copy(&self) -> Log {
        let (groups, live, headers) = (self.groups.clone(), self.live.clone(), self.headers.clone());
        Log { kind: self.kind, disk: self.disk.copy(), groups, live, headers }
    }

    pub fn look(&self) -> Result<Inspection, Error> {
        inspect(&*self.disk.disk())
    }

    pub fn lsn(&self, n: usize) -> Lsn {
        Lsn::new(self.groups[n].0, self.groups[n].1.offset)
    }

    /// The segment of the last record.
    pub fn tail(&self) -> u32 {
        self.lsn(199).segment()
    }

    /// Changes the bytes of group `n`.
    pub fn damage(&self, n: usize, f: impl FnOnce(&mut [u8])) {
        let at = self.lsn(n);
        self.disk.corrupt(&name(at.segment()), at.offset() as usize, |bytes| f(&mut bytes[..BLOCK]));
    }

    pub fn group(&self, n: usize) -> Vec<u8> {
        let at = self.lsn(n).offset() as usize;
        self.disk.read_file(&name(self.lsn(n).segment()))[at..at + BLOCK].to_vec()
    }

    pub fn open_with(&self, suspect: UnexplainedTail) -> Result<(Wal, RecoveryReport), Error> {
        Wal::open_in(self.disk.env(), &self.kind.options().with_unexplained_tail(suspect))
    }

    /// Runs one case: damages a copy and inspects, opens and reads it, and damages another copy while it is
    /// open.
    #[track_caller]
    pub fn case(&self, table: &mut Table, row: (u8, &str), what: &str, damage: &dyn Fn(&Log), due: Due<'_>) {
        if !table.runs(row, self.kind) {
            return;
        }
        let what = &format!("{} {}, {} on {}: {what}", row.0, row.1, self.kind, self.kind.place);
        let copy = self.copy();
        damage(&copy);
        let covers = |found: &[Damage]| match due {
            Due::Refusal(place) => found.iter().any(|d| d.from <= place && place < d.to),
            _ => true,
        };
        let verify = match copy.look().map(|found| found.verdict) {
            Ok(Ok(_)) => "sound",
            Ok(Err(found)) => {
                assert!(covers(&found), "{what}: {found:?}");
                "error"
            }
            Err(_) => "error",
        };
        copy.prepares(what);
        let mut modes = ("-", "-");
        let open = match due {
            Due::Refusal(_) | Due::AnyRefusal => {
                copy.refuses(what, &covers);
                modes = copy.other_modes(what);
                "error"
            }
            Due::Kept(keep, dropped) => {
                copy.keeps(what, keep, dropped);
                match (dropped.is_empty(), keep < RECORDS) {
                    (false, _) => "dropped, reported",
                    // Open has seen no group, so it names none. Only the end of the log shows the loss.
                    (true, true) => "dropped, end reported",
                    (true, false) => "as before",
                }
            }
        };
        assert_eq!(verify == "error", open == "error", "{what}");
        let read = self.read_after(what, damage);
        let (degraded, salvage) = modes;
        table.note(row.0, row.1, self.kind, Found { open, read, verify, degraded, salvage });
    }

    /// Reads a log that is open when the damage happens. Returns what the reader says, and fails if it shows
    /// a wrong record.
    #[track_caller]
    pub fn read_after(&self, what: &str, damage: &dyn Fn(&Log)) -> &'static str {
        let copy = self.copy();
        let (wal, _) = copy.open_with(UnexplainedTail::Refuse).unwrap();
        let before = ids(&wal);
        damage(&copy);
        let mut records = wal.records(Lsn::ZERO);
        for id in before {
            match records.next() {
                Some(Ok(record)) => assert_eq!(record.meta(), id.to_le_bytes(), "{what}"),
                Some(Err(_)) => {
                    assert!(records.next().is_none(), "{what}: records after an error");
                    return "error";
                }
                None => panic!("{what}: no record {id}, and no error"),
            }
        }
        assert!(records.next().is_none());
        "as before"
    }

    #[track_caller]
    fn refuses(&self, what: &str, covers: &dyn Fn(&[Damage]) -> bool) {
        let before = self.disk.files();
        for suspect in [UnexplainedTail::Refuse, UnexplainedTail::Drop] {
            match self.open_with(suspect) {
                Err(Error::Corrupt { damage, .. }) => {
                    assert!(covers(&damage), "{what}: {damage:?}");
                    let text = Error::Corrupt { path: "p".into(), damage: damage.clone() }.to_string();
                    assert!(text.contains(&name(damage[0].from.segment())), "{what}: {text}");
                }
                Err(Error::NotALog { .. } | Error::UnsupportedVersion { supported: 1, .. }) => {}
                Err(error) => panic!("{what}: {error}"),
                Ok((wal, report)) => panic!("{what}: opened with {:?}, {report:?}", try_ids(&wal)),
            }
            self.disk.crash();
        }
        assert!(before == self.disk.files(), "{what}: a refused open changed something");
    }

    /// Checks [`Due::Kept`].
    #[track_caller]
    pub fn keeps(&self, what: &str, keep: u64, dropped: &[DropReason]) {
        let mut expected: Vec<u64> = (0..keep).collect();
        for n in 0..3 {
            let (wal, report) =
                self.open_with(UnexplainedTail::Refuse).unwrap_or_else(|e| panic!("{what}: {e}"));
            let reasons: Vec<DropReason> = report.dropped.iter().map(|d| d.why).collect();
            assert!(n > 0 || reasons == dropped, "{what}: {:?}", report.dropped);
            assert_eq!(ids(&wal), expected, "{what}");
            wal.append(&record(900 + n, 3900), Durability::Sync).unwrap().wait().unwrap();
            expected.push(900 + n);
            drop(wal);
            self.disk.crash();
        }
    }
}

/// The groups with records that a sound log keeps.
fn kept_groups(found: &Inspection) -> Vec<(u32, GroupHead)> {
    let verdict = found.verdict.as_ref().unwrap();
    let ends: BTreeMap<u32, u32> = verdict.kept.iter().map(|kept| (kept.segment, kept.end)).collect();
    let heads = found.segments.iter().flat_map(|s| s.heads.iter().map(|h| (s.sequence, *h)));
    let kept = |(segment, h): &(u32, GroupHead)| ends.get(segment).is_some_and(|end| h.end <= *end);
    heads.filter(|head| kept(head) && head.1.kind == GroupKind::Data).collect()
}

/// Appends and releases everything, until a record is the first one in a recycled file and all spares are
/// recycled files. That record is the first of the log.
fn use_up(wal: &Wal, disk: &SimDisk, mut append: impl FnMut() -> u32) {
    let mut segment = append();
    for _ in 0..10_000 {
        let next = append();
        if next == segment {
            continue;
        }
        segment = next;
        wal.release(segment).unwrap();
        let found = inspect(disk).unwrap();
        let mut coming = found.segments.iter().filter(|s| s.sequence >= segment);
        if coming.all(|s| s.header.unwrap().prior == PriorContents::Stale) {
            return;
        }
        append();
        let stepper = Stepper::new(wal);
        while stepper.prepare().unwrap() {}
    }
    panic!("no file is used again");
}

/// Flips bit `bit` of `bytes`.
pub fn flip(bytes: &mut [u8], bit: usize) {
    bytes[bit / 8] ^= 1 << (bit % 8);
}
